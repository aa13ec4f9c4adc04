"""A model goes where Python objects go, gives probabilities by default, and refuses arguments that mean nothing."""

import copy
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
import traceback

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tests.unit.small_shipped import small_shipped  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError  # noqa: E402
from tinyclap.text.bank import compile_bank  # noqa: E402

RATE = 16000
CLIPS = np.random.default_rng(0).uniform(-0.3, 0.3, (3, RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(small_shipped(), n_threads=1)


def test_it_is_pickled_copied_and_spawned(model):
    rows = model.embed(CLIPS, RATE)
    content = pickle.dumps(model)
    again = pickle.loads(content)
    assert "backend" not in again.__dict__, "it is opened when it is used"
    for other in (again, copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(again))):
        np.testing.assert_array_equal(other.embed(CLIPS, RATE), rows)
        assert repr(other) == repr(model) and other.labels == model.labels
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(model.embed, (CLIPS, RATE)), rows)


def test_it_goes_through_joblib(model):
    joblib = pytest.importorskip("joblib", reason="scikit-learn is an extra: pip install 'tinyclap[sklearn]'")
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(model.embed)(clip, RATE) for clip in CLIPS)
    np.testing.assert_array_equal(np.concatenate(parts), model.embed(CLIPS, RATE))


def test_a_shipped_name_and_a_cut_model_open_again(tmp_path):
    named = pickle.loads(pickle.dumps(tinyclap.from_pretrained(n_threads=1)))
    assert named.embed(CLIPS[:1], RATE).shape == (1, named.embed_dim)
    folder = shutil.copytree(small_shipped(), tmp_path / "ordered")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "latent": {"order": list(range(527))[::-1]}}), "utf-8")
    cut = tinyclap.from_pretrained(folder, dim=8)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cut)).embed(CLIPS, RATE), cut.embed(CLIPS, RATE))


def test_a_folder_that_is_gone_or_another_model_is_said_at_the_first_use(tmp_path):
    folder = shutil.copytree(small_shipped(), tmp_path / "model")
    content = pickle.dumps(tinyclap.from_pretrained(folder))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "more.txt").write_bytes(b"")
    config["files"]["more.txt"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match="another model"):
        pickle.loads(content).embed(CLIPS, RATE)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="no model"):
        pickle.loads(content).embed(CLIPS, RATE)


def test_probabilities_are_the_default_and_scores_the_switch():
    model, labels = tinyclap.from_pretrained(n_threads=1), ["rain", "dog", "siren"]
    scores = model.scores(CLIPS, labels, sample_rate_hz=RATE)
    probabilities = model.probabilities(scores)
    for clip, best in enumerate(model.classify(CLIPS, labels, sample_rate_hz=RATE)):
        assert dict(best) == pytest.approx(dict(zip(labels, probabilities[clip], strict=True)), rel=1e-6)
        assert sum(value for _, value in best) == pytest.approx(1, abs=1e-6)
    for clip, best in enumerate(model.classify(CLIPS, labels, sample_rate_hz=RATE, scores=True)):
        assert dict(best) == pytest.approx(dict(zip(labels, scores[clip], strict=True)), rel=1e-6)
    ((label, value),) = model.classify(CLIPS[0], ["rain"], sample_rate_hz=RATE)[0]
    assert value == pytest.approx(float(scores[0, 0]), rel=1e-6), "a probability among one would be 1"
    bank = compile_bank(model, labels)
    assert model.classify(CLIPS, bank, sample_rate_hz=RATE) == model.classify(CLIPS, labels, sample_rate_hz=RATE)


def test_without_a_temperature_there_are_scores(model, monkeypatch):
    monkeypatch.setattr(model, "config", {key: model.config[key] for key in model.config if key != "calibration"})
    names = model.labels[:2]
    assert dict(model.classify(CLIPS[0], names, sample_rate_hz=RATE)[0]) == pytest.approx(
        dict(zip(names, model.scores(CLIPS[0], names, sample_rate_hz=RATE)[0], strict=True)), rel=1e-6
    )
    with pytest.raises(ConfigError, match="no temperature"):
        model.probabilities(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("top", [0, -1, 1.5, None, True, "2"])
def test_a_number_of_labels_is_a_whole_one_above_zero(model, top):
    with pytest.raises(ConfigError, match="top="):
        model.classify(CLIPS[0], model.labels[:2], top=top, sample_rate_hz=RATE)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.embed_windows(CLIPS[0]),
        lambda model: model.embed_windows(np.full((1, RATE), np.nan)),
        lambda model: model.score_rows(np.zeros((1, 3)), np.zeros((2, 4))),
        lambda model: model.backend.embed([]),
    ],
)
def test_arrays_of_wrong_shape_or_value_are_refused(model, call):
    with pytest.raises(TinyclapError):
        call(model)


def test_a_captioner_refuses_what_it_cannot_do():
    model = tinyclap.from_pretrained("tinyclap-captioner-mn04", n_threads=1)
    for call, words in (
        (lambda: model.embed(CLIPS, RATE), "captioner"),
        (lambda: model.embed_windows(CLIPS), "captioner"),
        (lambda: model.classify(CLIPS, ["dog"], sample_rate_hz=RATE), "captioner"),
        (lambda: model.caption([]), "no clip"),
        (lambda: model.caption(CLIPS[:1], RATE, max_words=0), "max_words=0"),
        (lambda: model.caption(CLIPS[:1], RATE, beam=1.5), "beam=1.5"),
        (lambda: model.caption(CLIPS[:1], RATE, beams=2), "no option beams; there are: beam, max_words"),
        (lambda: model.caption(""), "an empty path"),
    ):
        with pytest.raises(TinyclapError, match=words):
            call()


@pytest.mark.parametrize("labels", [[None], ["dog", float("nan")], 3, [b"dog"], []])
def test_labels_and_texts_are_texts(model, labels):
    with pytest.raises(ConfigError):
        model.classify(CLIPS[0], labels, sample_rate_hz=RATE)
    if labels:
        with pytest.raises(ConfigError):
            model.embed_text(labels)


@pytest.mark.parametrize("source", [None, 3, "", "x" * 300, "a\0b", "a/b/c", b"model"])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(CheckpointError, match="no model"):
        tinyclap.from_pretrained(source)


@pytest.mark.parametrize("n_clips", [1, 3])
def test_a_call_goes_through_five_frames_of_ours_at_most(model, monkeypatch, n_clips):
    depths, run, ours = [], onnxruntime.InferenceSession.run, tinyclap.__path__[0]

    def counted(self, *arguments):
        waiting = sys._current_frames()[threading.main_thread().ident]
        for stack in (traceback.extract_stack(), traceback.extract_stack(waiting)):
            depths.append(sum(frame.filename.startswith(ours) for frame in stack))
        return run(self, *arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    model.embed(CLIPS[:n_clips], RATE)
    assert depths and max(depths) <= 5


def test_a_checkpoint_without_torch_is_one_line_that_says_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text('{"format": 1, "model": {"type": "AudioStudent"}, "weights_sha256": "0"}')
    code = (
        "import sys; sys.modules['torch'] = None\nimport tinyclap\n"
        f"for call in (lambda: tinyclap.from_pretrained({str(tmp_path)!r}), lambda: tinyclap.load_published('x')):\n"
        "    try: call()\n    except tinyclap.errors.ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("pip install 'tinyclap[train]'" in line for line in lines), done.stderr
