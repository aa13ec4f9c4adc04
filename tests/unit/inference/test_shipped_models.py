"""The models that come with the package: whole, small, without paths of anyone's machine, and able to name sounds."""

import re

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the shipped models run on it: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tinyclap.audio.io import read_audio  # noqa: E402
from tinyclap.checkpoints.folder import checked_file, read_export  # noqa: E402
from tinyclap.config.shipped import DEFAULT_CAPTIONER, DEFAULT_MODEL, shipped_folder, shipped_names  # noqa: E402

MEGABYTES = {DEFAULT_MODEL: 30, DEFAULT_CAPTIONER: 6}


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(n_threads=1)


def test_both_come_with_the_package():
    assert set(shipped_names()) >= {DEFAULT_MODEL, DEFAULT_CAPTIONER}


@pytest.mark.parametrize("name", [DEFAULT_MODEL, DEFAULT_CAPTIONER])
def test_every_file_is_the_one_that_was_written(name):
    folder = shipped_folder(name)
    config = read_export(folder)
    for file in config["files"]:
        checked_file(folder, config, file)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1e6 * MEGABYTES[name]
    for path in (*folder.glob("*.json"), *folder.glob("*.onnx")):
        assert not re.search(rb'"/(home|work|root|tmp|Users)/', path.read_bytes()), path.name
    assert config["card"]["licences"] and config["card"]["limits"]


@pytest.mark.parametrize("name", [DEFAULT_MODEL, DEFAULT_CAPTIONER])
def test_this_machine_computes_what_torch_did(name):
    differences = tinyclap.from_pretrained(name, n_threads=1).backend.check()
    # the captioner's weights are stored as int8; its parity.json says what that does on real clips
    assert max(differences.values()) < (1e-3 if name == DEFAULT_MODEL else 0.5)


def test_it_is_made_of_the_released_weights(model):
    config = model.config
    assert config["provenance"]["weights_sha256"].startswith("cb05dcff20d73b6c")
    assert config["calibration"]["fitted_on"] == "esc50, folds 1, 2, 3; urbansound8k, fold 1"
    with np.load(checked_file(shipped_folder(DEFAULT_MODEL), config, config["background"])) as content:
        assert content["rows"].shape == (500, 527) and content["rows"].dtype == np.float16


def test_it_takes_free_text_and_ranks_texts_as_people_would(model):
    rows = model.embed_text(
        ["a barking dog", "dog", "heavy rain", "rainfall", "an ambulance with its siren on", "siren"]
    )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = (unit @ unit.T - 2 * np.eye(6)).argmax(axis=1)
    assert nearest.tolist() == [1, 0, 3, 2, 5, 4]


def test_real_clips_are_named_by_words_that_nobody_trained_it_on(model, shared_dir):
    clips = (
        sorted((shared_dir / "data/esc50/audio").glob("5-*-0.ogg"))[:4]
        + sorted((shared_dir / "data/esc50/audio").glob("5-*-10.ogg"))[:4]
    )
    if len(clips) < 8:
        pytest.skip("needs clips of ESC-50's fold 5")
    names = ["a barking dog", "falling rain", "church bells", "somebody typing"]
    found = [model.classify(clip, names, top=1)[0][0][0] for clip in clips]
    assert found == [names[0]] * 4 + [names[1]] * 4
    shares = model.classify(clips[0], names, top=4)[0]
    assert abs(sum(share for _, share in shares) - 1) < 1e-5 and shares[0][1] > 0.5


def test_the_captioner_says_something_of_a_real_clip(shared_dir):
    clips = sorted((shared_dir / "data/esc50/audio").glob("5-*-0.ogg"))
    if not clips:
        pytest.skip("needs clips of ESC-50's fold 5")
    captioner = tinyclap.from_pretrained(DEFAULT_CAPTIONER, n_threads=1)
    wav, rate_hz = read_audio(clips[0])
    from_file, from_array = captioner.caption(clips[0]), captioner.caption([wav], rate_hz)
    assert from_file == from_array and "dog" in from_file[0].split()
