"""Any folder of recordings becomes a manifest of audio alone."""

import json

import numpy as np
import pytest
import soundfile

from data_prep.audio_folder_prepare import prepare_audio_folder
from tinyclap.errors import ConfigError, DataLayoutError


def write(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(8000 * seconds), dtype=np.float32), 8000)


def test_recordings_in_all_subfolders_are_found_and_bad_ones_left_out(tmp_path):
    write(tmp_path / "audio" / "a.wav")
    write(tmp_path / "audio" / "deep" / "er" / "12345_rain.flac", 2.0)
    write(tmp_path / "audio" / "short.wav", 0.1)
    (tmp_path / "audio" / "broken.ogg").write_bytes(b"not audio")
    (tmp_path / "audio" / "notes.txt").write_text("not audio either")
    prepare_audio_folder(tmp_path / "audio", tmp_path / "manifests")
    manifest = json.loads((tmp_path / "manifests" / "audio_folder_all.json").read_text())
    assert sorted(manifest["items"]) == ["a.wav", "deep/er/12345_rain.flac"]
    assert manifest["items"]["deep/er/12345_rain.flac"]["freesound_id"] == "12345"
    assert (manifest["_meta"]["n_unreadable"], manifest["_meta"]["n_too_short"]) == (1, 1)


def test_a_new_recording_is_seen(tmp_path):
    write(tmp_path / "audio" / "a.wav")
    prepare_audio_folder(tmp_path / "audio", tmp_path / "manifests")
    write(tmp_path / "audio" / "b" / "b.wav")
    prepare_audio_folder(tmp_path / "audio", tmp_path / "manifests")
    assert len(json.loads((tmp_path / "manifests" / "audio_folder_all.json").read_text())["items"]) == 2


@pytest.mark.parametrize("case", ["absent", "empty", "short"])
def test_a_folder_without_audio_is_refused(case, tmp_path):
    if case != "absent":
        (tmp_path / "audio").mkdir()
    if case == "short":
        write(tmp_path / "audio" / "a.wav", 0.1)
    says = {"absent": "does not exist", "empty": "no recording in it", "short": "shorter than 0.5 s"}[case]
    with pytest.raises(DataLayoutError, match=says):
        prepare_audio_folder(tmp_path / "audio", tmp_path / "manifests")


def manifest_of(folder, split):
    prepare_audio_folder(folder, folder.parent / "manifests", split=split)
    return json.loads((folder.parent / "manifests" / f"audio_folder_{split}.json").read_text())["items"]


@pytest.mark.parametrize("n_recordings", [2, 3, 60])
def test_a_folder_has_a_training_and_a_validation_side(n_recordings, tmp_path):
    for index in range(n_recordings):
        write(tmp_path / "audio" / f"r{index}.wav")
    train, valid = manifest_of(tmp_path / "audio", "train"), manifest_of(tmp_path / "audio", "valid")
    assert train and valid and not set(train) & set(valid)
    assert {**train, **valid} == manifest_of(tmp_path / "audio", "all")
    assert len(valid) < len(train) or n_recordings == 2
    for index in range(n_recordings, n_recordings + 5):
        write(tmp_path / "audio" / f"r{index}.wav")
    if n_recordings > 50:  # new recordings move no old one
        assert set(valid) <= set(manifest_of(tmp_path / "audio", "valid"))


def test_recordings_of_one_source_stay_on_one_side(tmp_path):
    for index in range(40):
        write(tmp_path / "audio" / f"{index // 4}_{index}.wav")
    train, valid = manifest_of(tmp_path / "audio", "train"), manifest_of(tmp_path / "audio", "valid")
    assert not {item["freesound_id"] for item in train.values()} & {item["freesound_id"] for item in valid.values()}


def test_one_recording_cannot_be_both_trained_and_validated_on(tmp_path):
    write(tmp_path / "audio" / "a.wav")
    with pytest.raises(DataLayoutError, match="1 recording to train and to validate on; two or more are needed"):
        manifest_of(tmp_path / "audio", "train")
    with pytest.raises(ConfigError, match="valid_fraction is 0"):
        prepare_audio_folder(tmp_path / "audio", tmp_path / "manifests", valid_fraction=0)
