"""The scikit-learn manner: clones, pickles, pipelines, searches; and no training where none is needed."""

import json
import pickle
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")
pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'tinyclap[sklearn]'")

from sklearn.base import clone  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

import tinyclap  # noqa: E402
from tests import fakes  # noqa: E402
from tests.unit.small_export import LABELS, exported, run  # noqa: E402
from tinyclap.adapters.sklearn import TinyclapTransformer, ZeroShotClassifier  # noqa: E402
from tinyclap.errors import ConfigError  # noqa: E402


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Eight recordings of two pitches."""
    folder = tmp_path_factory.mktemp("recordings")
    for index in range(8):
        fakes.write_audio(folder / f"{index}.wav", 0.5, 16000, pitch_hz=[300, 3000][index % 2], seed=index)
    return [str(folder / f"{index}.wav") for index in range(8)]


@pytest.fixture
def transformer():
    return TinyclapTransformer(str(exported()[0]), precision="fp32")


@pytest.fixture
def zero_shot():
    return ZeroShotClassifier(LABELS, model=str(exported()[0]), precision="fp32")


def test_rows_are_the_models_whatever_holds_the_names(transformer, paths):
    expected = tinyclap.from_pretrained(exported()[0], precision="fp32").embed(paths)
    for X in (paths, np.array(paths), np.array(paths, object), np.array(paths)[:, None]):
        np.testing.assert_array_equal(transformer.fit_transform(X), expected)
    assert len(transformer.get_feature_names_out()) == expected.shape[1]


def test_tables_of_pandas_are_taken(transformer, paths):
    pandas = pytest.importorskip("pandas", reason="tables are pandas'")
    frame = pandas.DataFrame({"path": paths})
    expected = transformer.transform(paths)
    np.testing.assert_array_equal(transformer.transform(frame["path"]), expected)
    np.testing.assert_array_equal(transformer.transform(frame[["path"]]), expected)


def test_arrays_are_taken_with_their_rate(transformer):
    clips = np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32)
    assert transformer.set_params(sample_rate_hz=8000).transform(clips).shape[0] == 2
    with pytest.raises(ConfigError, match="give sample_rate_hz"):
        transformer.set_params(sample_rate_hz=None).transform(clips)


@pytest.mark.parametrize("maker", [TinyclapTransformer, ZeroShotClassifier])
def test_parameters_are_kept_and_given_as_they_came(maker):
    estimator = maker(model="somewhere", engine="openvino", dim=8)
    assert clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(dim=4).dim == 4
    assert pickle.loads(pickle.dumps(estimator)).get_params() == estimator.get_params()


def test_a_used_estimator_is_pickled_without_its_model(transformer, zero_shot, paths):
    for estimator in (transformer, zero_shot):
        before = (estimator.transform if estimator is transformer else estimator.decision_function)(paths)
        content = pickle.dumps(estimator)
        assert len(content) < 5000
        again = pickle.loads(content)
        after = (again.transform if estimator is transformer else again.decision_function)(paths)
        np.testing.assert_array_equal(before, after)


def test_a_pipeline_learns_and_is_searched(transformer, paths):
    names = np.array(["low", "high"] * 4)
    pipeline = make_pipeline(transformer, LogisticRegression(C=1e6))
    assert pipeline.fit(paths[:6], names[:6]).predict(paths[6:]).tolist() == ["low", "high"]
    search = GridSearchCV(pipeline, {"logisticregression__C": [1.0, 1e6]}, cv=2).fit(paths, names)
    assert search.best_score_ == 1.0


def test_zero_shot_needs_no_fit_and_names_as_the_model_does(zero_shot, paths):
    model = tinyclap.from_pretrained(exported()[0], precision="fp32")
    assert zero_shot.predict(paths).tolist() == [said[0][0] for said in model.classify(paths, LABELS, top=1)]
    assert zero_shot.classes_.tolist() == sorted(LABELS)
    np.testing.assert_allclose(zero_shot.decision_function(paths), model.scores(paths, sorted(LABELS)), atol=1e-6)


def test_columns_follow_the_sorted_names_whatever_their_order(paths):
    folder = str(exported()[0])
    scores = [
        ZeroShotClassifier(labels, model=folder, precision="fp32").decision_function(paths)
        for labels in (LABELS, LABELS[::-1])
    ]
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_two_labels_have_one_score(paths):
    both = ZeroShotClassifier(LABELS[:2], model=str(exported()[0]), precision="fp32")
    margin = both.decision_function(paths)
    assert margin.shape == (8,)
    assert both.predict(paths).tolist() == [both.classes_[int(value > 0)] for value in margin]


def test_shares_need_a_temperature(zero_shot, paths):
    with pytest.raises(ConfigError, match="no temperature is stored"):
        zero_shot.predict_proba(paths)
    shares = zero_shot.set_params(temperature=0.05).predict_proba(paths)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    assert zero_shot.classes_[shares.argmax(axis=1)].tolist() == zero_shot.predict(paths).tolist()


def test_templates_are_searched(paths):
    estimator = ZeroShotClassifier(["dog", "rain"], model=str(run()))
    truth = clone(estimator).set_params(template="the sound of {}").predict(paths)
    search = GridSearchCV(estimator, {"template": ["{}", "the sound of {}"]}, cv=2).fit(paths, truth)
    assert search.best_score_ == 1.0
    assert cross_val_score(search.best_estimator_, paths, truth, cv=2).tolist() == [1.0, 1.0]


def test_labels_are_found_in_y_where_none_are_given(paths):
    estimator = ZeroShotClassifier(model=str(run())).fit(paths[:2], ["rain", "dog"])
    assert estimator.classes_.tolist() == ["dog", "rain"] and set(estimator.predict(paths)) <= {"dog", "rain"}


def test_a_model_that_is_written_again_is_opened_again(tmp_path, paths):
    folder = shutil.copytree(exported()[0], tmp_path / "model")
    transformer = TinyclapTransformer(str(folder), precision="fp32")
    n_dims = transformer.transform(paths[:1]).shape[1]
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "latent": {"order": list(range(n_dims))}}), "utf-8")
    assert transformer.set_params(dim=3).transform(paths[:1]).shape == (1, 3)
    assert "latent" in transformer.set_params(dim=None).open_model().config


def test_an_open_model_is_no_parameter():
    with pytest.raises(ConfigError, match="give a name or a folder"):
        TinyclapTransformer(model=object()).open_model()
