"""A probe is trained, saved with its model, opened again and computed by a graph, with the same numbers everywhere."""

import json

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")
pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'tinyclap[sklearn]'")

import tinyclap  # noqa: E402
from tests.unit.small_export import exported, exported_tagger, run  # noqa: E402
from tests.unit.small_shipped import small_shipped  # noqa: E402
from tinyclap.cli.main import main  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError  # noqa: E402
from tinyclap.inference.probe import Probe, fit_probe, load_probe, train_probe  # noqa: E402
from tinyclap.inference.saved_folders import broken_files  # noqa: E402
from tinyclap.text.scores import audio_side  # noqa: E402

RATE = 16000


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(small_shipped(), n_threads=1)


@pytest.fixture(scope="module")
def clips():
    """Twelve clips of one window, and their names: low, middle and high tones in noise."""
    generator, time_s = np.random.default_rng(0), np.arange(RATE) / RATE
    pitches = [200, 1000, 5000] * 4
    tones = [0.3 * np.sin(2 * np.pi * pitch * time_s) for pitch in pitches]
    wavs = np.stack(tones) + 0.02 * generator.standard_normal((12, RATE))
    return wavs.astype(np.float32), ["low", "middle", "high"] * 4


@pytest.fixture(scope="module")
def probe(model, clips):
    return train_probe(model, *clips, sample_rate_hz=RATE, strength=100.0)


def test_it_learns_what_can_be_heard(probe, clips):
    wavs, names = clips
    assert probe.predict(wavs, RATE) == names and probe.classes == ["high", "low", "middle"]
    shares = probe.predict_proba(wavs, RATE)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    assert probe.classify(wavs[:1], 2, RATE)[0][0] == ("low", pytest.approx(shares[0, 1]))


def test_the_command_names_its_classes(probe, clips, tmp_path, capsys):
    soundfile.write(tmp_path / "middle.wav", clips[0][1], RATE, subtype="FLOAT")
    model = str(probe.save(tmp_path / "probed"))
    words = ["classify", str(tmp_path / "middle.wav"), "--model", model, "--format", "jsonl"]
    assert main([*words, "--probe", "--top", "2"]) == 0
    said = json.loads(capsys.readouterr().out)["labels"]
    shares = probe.predict_proba(clips[0][1], RATE)[0]
    assert said[0] == {"label": "middle", "probability": pytest.approx(shares[2], rel=1e-4)} and len(said) == 2
    assert main([*words, "--probe", "--labels", "dog,rain"]) == 1
    assert "--probe has its own classes" in capsys.readouterr().err


def test_saved_with_an_export_it_is_the_same_and_the_model_too(probe, model, clips, tmp_path):
    folder = probe.save(tmp_path / "probed")
    again = load_probe(folder, n_threads=1)
    np.testing.assert_array_equal(again.predict_proba(clips[0], RATE), probe.predict_proba(clips[0], RATE))
    assert again.note == probe.note and again.classes == probe.classes and not broken_files(folder)
    plain = tinyclap.from_pretrained(folder, n_threads=1)
    np.testing.assert_array_equal(plain.embed(clips[0], RATE), model.embed(clips[0], RATE))
    further = load_probe(plain.save_pretrained(tmp_path / "copied"))
    assert further.predict(clips[0], RATE) == clips[1]


def test_saved_with_a_checkpoint_it_is_the_same(clips, tmp_path):
    trained = train_probe(tinyclap.from_pretrained(run()), *clips, sample_rate_hz=RATE, strength=100.0)
    for _ in range(2):
        again = load_probe(trained.save(tmp_path / "probed"))
        np.testing.assert_array_equal(again.predict_proba(clips[0], RATE), trained.predict_proba(clips[0], RATE))
    assert not broken_files(tmp_path / "probed")


@pytest.mark.parametrize(
    "folder",
    [small_shipped, lambda: exported()[0], lambda: exported_tagger()[0]],
    ids=["probabilities", "unit rows", "tags"],
)
def test_the_classifier_graph_gives_the_same_probabilities(folder, tmp_path):
    model = tinyclap.from_pretrained(folder(), precision="fp32")
    n_samples = round(model.config["window"]["window_s"] * model.sample_rate_hz)
    wavs = 0.1 * np.random.default_rng(0).standard_normal((6, n_samples)).astype(np.float32)
    trained = train_probe(model, wavs, ["a", "b", "c"] * 2, model.sample_rate_hz, 100.0)
    session = onnxruntime.InferenceSession(trained.save(tmp_path / "probed") / "classifier.onnx")
    found = session.run(["probabilities"], {"wavs": wavs})[0]
    np.testing.assert_allclose(found, trained.predict_proba(wavs, model.sample_rate_hz), atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == trained.classes


def test_two_classes_are_the_sigmoid_of_one_logit(model):
    features = np.zeros((4, model.embed_dim), np.float32)
    features[:2, 0], features[2:, 1] = 1.0, 1.0
    two = fit_probe(model, features, np.array(["a", "a", "b", "b"]), 1.0)
    logits = two.logits(features)
    assert logits.shape == (4, 2)
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-6)
    assert (logits.argmax(axis=1) == [0, 0, 1, 1]).all()


def test_regularisation_means_the_same_for_features_of_any_size(model):
    generator = np.random.default_rng(0)
    rows = generator.random((30, model.embed_dim)).astype(np.float32)
    names = generator.choice(["a", "b", "c"], 30)
    small, large = (
        fit_probe(model, audio_side(size * rows, model.score_kind), names, 1.0).logits(size * rows)
        for size in (0.01, 100.0)
    )
    np.testing.assert_allclose(small, large, atol=1e-3)


def test_the_strength_is_chosen_with_recordings_kept_together(model, clips):
    groups = np.repeat(np.arange(4), 3)
    chosen = train_probe(model, *clips, sample_rate_hz=RATE, groups=groups)
    assert chosen.note["strength"] in (0.1, 1.0, 10.0, 100.0) and 0 <= chosen.note["cross_validated_accuracy"] <= 1
    alone = train_probe(model, clips[0][:3], clips[1][:3], RATE)
    assert alone.note == {"n_clips": 3, "strength": 1.0}, "one clip of each class cannot be cross-validated"


def test_what_cannot_be_is_said(model, probe, clips, tmp_path):
    with pytest.raises(ConfigError, match="12 clips have 1 names"):
        train_probe(model, clips[0], ["low"], RATE)
    with pytest.raises(ConfigError, match="of 1 classes"):
        train_probe(model, clips[0], ["low"] * 12, RATE)
    with pytest.raises(ConfigError, match="no probe was saved"):
        load_probe(small_shipped())
    with pytest.raises(ConfigError, match="or train again"):
        Probe(model, ["a", "b"], np.zeros((2, 3)), np.zeros(2))
    folder = probe.save(tmp_path / "probed")
    (folder / "probe.npz").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match=r"probe\.npz"):
        load_probe(folder)
    assert broken_files(folder) == ["probe.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["low", float("nan")] * 6}, "name 1 is nan"),
        ({"names": ["low", None] * 6}, "name 1 is None"),
        ({"names": ["low"] * 12}, "of 1 classes"),
        ({"names": ["low", "high"]}, "12 clips have 2 names"),
        ({"strength": 0}, "strength=0"),
        ({"strength": -1.0}, "strength=-1.0"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"strength": "1"}, "strength='1'"),
        ({"groups": [1, 2]}, "12 clips have 2 groups"),
    ],
)
def test_names_and_strengths_that_mean_nothing_are_refused(model, clips, change, message):
    options = {"names": clips[1], "strength": 1.0, **change}
    with pytest.raises(ConfigError, match=message):
        train_probe(model, clips[0], sample_rate_hz=RATE, **options)
