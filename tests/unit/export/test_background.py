"""What an exported folder knows of training audio: the temperature that fits, and windows at their places."""

import json

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnxruntime", reason="runs the exported graphs")
pytest.importorskip("onnxscript", reason="writes them")

from tests.unit.small_export import LABELS, exported, recordings  # noqa: E402
from tinyclap import from_pretrained  # noqa: E402
from tinyclap.checkpoints.folder import amend, checked_file, read_export  # noqa: E402
from tinyclap.data.manifest import write_manifest  # noqa: E402
from tinyclap.errors import ConfigError  # noqa: E402
from tinyclap.export.background import add_background, add_temperature, best_temperature  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    """A copy of the small export."""
    for path in exported()[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def manifest_of(folder, name="toy_train.json"):
    """A manifest of the small recordings, whose labels go round the three names."""
    items = {
        path.stem: {"wav": f"{{data_root}}/{path.name}", "label": LABELS[index % 3]}
        | {"duration_s": 1.0, "sample_rate_hz": 16000, "n_channels": 1}
        for index, path in enumerate(sorted(recordings().glob("*.wav")))
    }
    meta = {"dataset": "toy", "version": "1", "split": "train", "classes": LABELS, "options": {"folds": [1, 2]}}
    write_manifest(folder / name, items, {**meta, "code_version": "1"})
    return f"{folder / name}@{recordings()}"


def test_the_best_temperature_is_that_of_the_true_probabilities():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4000, 5))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(5, p=row) for row in shares])
    temperature, loss = best_temperature([(4 * logits, truth)])
    assert 3.6 < temperature < 4.4 and 0 < loss < np.log(5)


def test_every_corpus_counts_as_much_as_another():
    sure, unsure = np.array([[2.0, 0.0]] * 10), np.array([[2.0, 0.0]] * 1000)
    right, half = np.zeros(10, int), np.arange(1000) % 2
    both, _ = best_temperature([(sure, right), (unsure, half)])
    pooled, _ = best_temperature([(np.concatenate([sure, unsure]), np.concatenate([right, half]))])
    assert both < pooled / 3


def test_the_temperature_is_noted_with_what_it_was_fitted_on(folder, tmp_path):
    model = from_pretrained(folder)
    about = add_temperature(folder, [manifest_of(tmp_path)], lambda names: model.label_vectors(names)[1])
    config = read_export(folder)
    assert config["calibration"] == about and about["n_clips"] == 6 and about["fitted_on"] == "toy, folds 1, 2"
    shares = from_pretrained(folder).probabilities(np.array([[0.5, 0.1, 0.0]]))
    assert abs(shares.sum() - 1) < 1e-9 and shares[0, 0] > shares[0, 2]
    with pytest.raises(ConfigError, match="no labels; give a manifest of a labelled corpus"):
        add_temperature(folder, [str(recordings())], None)


def test_the_background_is_what_windows_of_the_recordings_embed_to(folder, tmp_path):
    place = tmp_path / "one"
    place.mkdir()
    wav = 0.2 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    soundfile.write(place / "one_window.wav", wav, 16000, subtype="FLOAT")
    rows = add_background(folder, [str(place)], n_windows=3)
    model = from_pretrained(folder)
    np.testing.assert_allclose(rows, np.repeat(model.embed([wav], 16000), 3, axis=0), atol=2e-3)
    with np.load(checked_file(folder, read_export(folder), "background.npz"), allow_pickle=False) as content:
        assert content["rows"].dtype == np.float16 and content["rows"].shape == (3, model.embed_dim)


def test_the_background_is_drawn_alike_from_every_place_and_the_same_again(folder, tmp_path):
    places = [str(recordings()), manifest_of(tmp_path)]
    first = add_background(folder, places, n_windows=9, seed=3)
    np.testing.assert_array_equal(first, add_background(folder, places, n_windows=9, seed=3))
    assert not np.array_equal(first, add_background(folder, places, n_windows=9, seed=4))
    assert read_export(folder)["background_of"] == "recordings; toy, folds 1, 2"


def test_amending_keeps_the_rest_and_knows_the_new_files(folder):
    before = read_export(folder)
    (folder / "notes.txt").write_text("hello")
    amend(folder, ["notes.txt"], card={"summary": "small"})
    after = read_export(folder)
    assert after["card"] == {"summary": "small"} and set(after["files"]) == {*before["files"], "notes.txt"}
    del after["card"], after["files"]["notes.txt"]
    assert after == before and json.loads((folder / "config.json").read_text(encoding="utf-8"))["format"] == 1
