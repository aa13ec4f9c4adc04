"""Whole clips to score, by any number of workers, and the public codes' ways to read them: numbers by hand."""

import numpy as np
import pytest
import soundfile
import torch
from test_distillation import RATE, ramp
from torch.utils.data import DataLoader

from data_prep import esc50_prepare
from tests import fakes
from tinyclap.audio.io import read_channels
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.manifest import write_manifest
from tinyclap.data.scoring import LOADERS, ReferenceLoader, collate_clips, make_test_set, make_training_clips
from tinyclap.errors import AudioError, ConfigError, ManifestError

STEREO = np.array([[1, 2, 3], [10, 20, 30]], np.float32)

# Loaders --------------------------------------------------------------------------------------------------------------


def test_the_official_code_sums_channels_and_appends_zeros():
    assert ReferenceLoader("official", 0).fit(STEREO, 1, "a").tolist() == [11, 22, 33, 0, 0]


def test_msclap_sets_channels_one_after_the_other_and_repeats_the_clip():
    assert ReferenceLoader("msclap", 0).fit(STEREO[:, :2], 1, "a").tolist() == [1, 2, 10, 20, 1]
    # Stereo of three seconds is a clip of six: one of the two places where five of them can begin.
    assert ReferenceLoader("msclap", 0).fit(STEREO, 1, "a").tolist() in ([1, 2, 3, 10, 20], [2, 3, 10, 20, 30])


def test_a_longer_clip_is_cut_at_a_place_that_seed_and_id_alone_decide():
    ramp = np.arange(1000, dtype=np.float32)[None]
    cut = {(seed, name): ReferenceLoader("official", seed).fit(ramp, 10, name) for seed in (1, 2) for name in "ab"}
    assert all(len(part) == 50 and (np.diff(part) == 1).all() for part in cut.values())
    assert len({part[0] for part in cut.values()}) == 4
    assert (ReferenceLoader("official", 2).fit(ramp, 10, "b") == cut[2, "b"]).all()
    starts = [ReferenceLoader("official", 0).fit(ramp, 10, str(index))[0] for index in range(300)]
    assert min(starts) < 50 and max(starts) > 900, "every place can be the one, the last too"


def test_a_clip_of_just_five_seconds_is_left_as_it_is():
    clip = np.arange(5, dtype=np.float32)[None]
    for kind in ("official", "msclap"):
        assert ReferenceLoader(kind, 0).fit(clip, 1, "a").tolist() == clip[0].tolist()


def test_channels_are_read_apart_and_broken_samples_are_named(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", STEREO.T / 64, 8000, subtype="FLOAT")
    channels, rate = read_channels(tmp_path / "stereo.wav")
    assert rate == 8000 and (channels * 64 == STEREO).all()
    soundfile.write(tmp_path / "nan.wav", np.array([[0, 0], [0, np.nan]]), 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="1 samples are NaN"):
        read_channels(tmp_path / "nan.wav")


def test_an_unknown_loader_is_refused():
    with pytest.raises(ConfigError, match="'theirs' is unknown; choose one of ours, official, msclap"):
        ReferenceLoader("theirs")


def test_a_test_set_is_read_as_asked_and_says_so(tmp_path):
    root = fakes.esc50(tmp_path, classes=("dog", "pig"), folds=(1,), n_per_fold=1, duration_s=0.3)
    first = sorted((root / "audio").iterdir())[0]
    mono, rate = soundfile.read(first, dtype="float32")
    soundfile.write(first, np.stack([mono, mono / 2], axis=1), rate)
    part = {"split": "test", "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, esc50_prepare.prepare_esc50, test=part)], tmp_path)
    corpora.prepare()
    ours, meta = make_test_set(corpora)
    assert "loader" not in meta["options"]
    official, meta = make_test_set(corpora, ReferenceLoader("official", 7))
    assert (meta["options"]["loader"], meta["options"]["loader_seed"]) == ("official", 7)
    index = [str(example["item"]["wav"]) for example in ours].index(str(first))
    one, other = ours[index]["wav"], official[index]["wav"]
    assert len(other) == 5 * ours[index]["rate"] and not other[len(one) :].any()
    np.testing.assert_allclose(other[: len(one)], 2 * one, atol=1e-6)


# Sets -----------------------------------------------------------------------------------------------------------------


def manifest(folder, items, split="test"):
    """Write clips, name → (samples, facts), and their manifest."""
    entries = {}
    for name, (samples, facts) in items.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
        entries[name] = {"wav": f"{{data_root}}/{name}.wav", "duration_s": len(samples) / RATE, **facts}
        entries[name] |= {"sample_rate_hz": RATE, "n_channels": 1}
    labels = sorted({facts["label"] for _, facts in items.values() if "label" in facts})
    meta = {"dataset": "toy", "version": "1", "split": split, "classes": labels, "options": {}, "code_version": "1"}
    write_manifest(folder / f"toy_{split}.json", entries, meta)


def corpora_of(folder, split="test", part="test"):
    return Corpora([Corpus("toy", folder, print, **{part: {"split": split}})], folder)


def test_clips_to_score_are_whole_mono_and_at_their_own_rate(tmp_path):
    manifest(tmp_path, {"a": (ramp(30), {"label": "x"}), "b": (ramp(700), {"label": "y"})})
    fakes.write_audio(tmp_path / "b.wav", 0.1, rate=4000, channels=2)
    dataset, meta = make_test_set(corpora_of(tmp_path))
    batch = collate_clips([dataset[0], dataset[1]])
    assert meta["classes"] == ["x", "y"] and batch["id"] == ["a", "b"] and batch["rate"] == [RATE, 4000]
    assert [wav.shape for wav in batch["wav"]] == [(30,), (400,)]
    assert batch["wav"][0].dtype == torch.float32 and [item["label"] for item in batch["item"]] == ["x", "y"]


@pytest.mark.parametrize("kind", LOADERS)
def test_loader_workers_change_nothing(tmp_path, kind):
    manifest(tmp_path, {f"c{n}": (ramp(4900 + 50 * n), {"label": "xy"[n % 2]}) for n in range(7)})
    dataset, _ = make_test_set(corpora_of(tmp_path), ReferenceLoader(kind, seed=3))
    read = []
    for n_workers in (0, 2):
        batches = list(DataLoader(dataset, 3, collate_fn=collate_clips, num_workers=n_workers))
        read.append(
            [
                (name, wav.tolist(), item)
                for b in batches
                for name, wav, item in zip(b.id, b["wav"], b["item"], strict=True)
            ]
        )
    assert read[0] == read[1] and len(read[0]) == 7


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_broken_recording_is_named_when_it_is_read(tmp_path, n_workers):
    manifest(tmp_path, {"a": (ramp(30), {"label": "x"})})
    (tmp_path / "a.wav").write_bytes(b"not audio")
    dataset, _ = make_test_set(corpora_of(tmp_path))
    with pytest.raises(AudioError, match=r"^[^\n]*a\.wav[^\n]*$"):
        [batch["wav"] for batch in DataLoader(dataset, 1, collate_fn=collate_clips, num_workers=n_workers)]


def test_several_splits_are_scored_as_one_set(tmp_path):
    manifest(tmp_path, {"a": (ramp(30), {"captions": ["rain"]})}, split="val")
    manifest(tmp_path, {"b": (ramp(40), {"captions": ["wind"]})}, split="test")
    dataset, meta = make_test_set(corpora_of(tmp_path, ["val", "test"]))
    assert [len(clip["wav"]) for clip in dataset] == [30, 40]
    assert (meta["dataset"], meta["split"], meta["classes"]) == ("toy", "val+test", [])
    assert meta["options"] == {"toy val": {}, "toy test": {}}


def test_splits_that_share_a_clip_or_differ_in_classes_are_not_scored_together(tmp_path):
    manifest(tmp_path, {"a": (ramp(30), {"captions": ["rain"]})}, split="val")
    manifest(tmp_path, {"a": (ramp(40), {"captions": ["wind"]})}, split="test")
    with pytest.raises(ManifestError, match=r"toy val, toy test\) cannot be scored together"):
        make_test_set(corpora_of(tmp_path, ["val", "test"]))
    manifest(tmp_path, {"b": (ramp(40), {"label": "x"})}, split="test")
    with pytest.raises(ManifestError, match="the same classes"):
        make_test_set(corpora_of(tmp_path, ["val", "test"]))
    with pytest.raises(ManifestError, match=r"test parts \(none\)"):
        make_test_set(corpora_of(tmp_path, []))


def test_some_training_clips_are_the_same_ones_in_every_run_and_lie_inside_a_larger_sample(tmp_path):
    manifest(tmp_path, {f"c{n}": (ramp(20 + n), {}) for n in range(12)}, split="train")
    corpora = corpora_of(tmp_path, "train", part="train")
    few, more = ({clip["id"] for clip in make_training_clips(corpora, n)[0]} for n in (3, 8))
    assert len(few) == 3 and few < more and few == {clip["id"] for clip in make_training_clips(corpora, 3)[0]}
    whole, meta = make_training_clips(corpora)
    assert len(whole) == 12 and (meta["dataset"], meta["split"], meta["options"]) == ("toy", "train", {"n_clips": None})
    with pytest.raises(ConfigError, match="n_clips is 0"):
        make_training_clips(corpora, 0)
