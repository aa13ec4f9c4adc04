"""Crops that a resumed run hears again, validation clips of other recordings, whole clips to score."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from tests import fakes
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.manifest import write_manifest
from tinyclap.data.pipeline import (
    ClipReader,
    CropReader,
    collate_clips,
    crop_dataset,
    fit_length,
    hold_out,
    make_test_set,
    make_training_sets,
    read_items,
)
from tinyclap.errors import AudioError, ManifestError

RATE = 1000


def write_clip(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples, np.float32), rate, subtype="FLOAT")


def ramp(n_samples):
    """Samples that say where they were."""
    return np.arange(n_samples, dtype=np.float32) / 8192


def manifest(folder, items, dataset="toy", split="train"):
    """Write clips and their manifest; `items` is name → (samples, facts)."""
    entries = {}
    for name, (samples, facts) in items.items():
        write_clip(folder / f"{name}.wav", samples)
        entries[name] = {"wav": f"{{data_root}}/{name}.wav", "duration_s": len(samples) / RATE, **facts}
        entries[name] |= {"sample_rate_hz": RATE, "n_channels": 1}
    labels = sorted({facts["label"] for _, facts in items.values() if "label" in facts})
    meta = {"dataset": dataset, "version": "1", "split": split, "classes": labels, "options": {}, "code_version": "1"}
    write_manifest(folder / f"{dataset}_{split}.json", entries, meta)
    return folder / f"{dataset}_{split}.json", folder


def counter(epoch):
    return SimpleNamespace(current=epoch)


def clips(folder, n_clips=4, n_samples=3000, **facts):
    return read_items([manifest(folder, {f"c{i}": (ramp(n_samples) + 0.01 * i, facts) for i in range(n_clips)})])


def crops_of(items, epoch=1, seed=7, in_memory=False, augment=None, clip_s=0.5):
    reader = ClipReader(RATE, in_memory)
    return CropReader(items, reader, clip_s, "tile", seed, None if epoch is None else counter(epoch), augment)


# Items ----------------------------------------------------------------------------------------------------------------


def test_items_of_several_manifests_keep_their_own_names(tmp_path):
    first = manifest(tmp_path / "a", {"x": (ramp(10), {})}, dataset="one")
    second = manifest(tmp_path / "b", {"x": (ramp(20), {"captions": ["a sound"]})}, dataset="two")
    items = read_items([first, second])
    assert list(items) == ["one_train/x", "two_train/x"]
    assert items["two_train/x"]["captions"] == ["a sound"] and items["one_train/x"]["captions"] is None
    assert items["one_train/x"]["group"] != items["two_train/x"]["group"]


def test_no_manifest_at_all_is_an_error():
    with pytest.raises(ManifestError, match="no clips in 0 manifest"):
        read_items([])


def test_clips_of_one_recording_go_to_the_same_side(tmp_path):
    facts = [{"group": f"recording{i // 4}"} for i in range(200)]
    items = read_items([manifest(tmp_path, {f"c{i:03d}": (ramp(4), facts[i]) for i in range(200)})])
    train, held = hold_out(items, 0.3)
    assert len(train) + len(held) == 200 and not set(train) & set(held)
    assert not {item["group"] for item in train.values()} & {item["group"] for item in held.values()}
    assert 30 < len(held) < 90
    assert hold_out(dict(reversed(items.items())), 0.3)[1].keys() == held.keys(), "names decide, not the order"
    assert set(held) <= set(hold_out(items, 0.5)[1]), "a larger share holds the smaller one"


def test_a_freesound_id_is_a_recording_too(tmp_path):
    items = clips(tmp_path, n_clips=6, freesound_id="123")
    assert {item["group"] for item in items.values()} == {"toy/123"}
    assert hold_out(items, 0.0) == (items, {})


# Crops ----------------------------------------------------------------------------------------------------------------


def test_a_crop_is_a_function_of_seed_epoch_and_clip(tmp_path):
    items = clips(tmp_path)
    names = list(items)
    first = {name: crops_of(items)(name) for name in names}
    again = crops_of(items)
    for name in reversed(names):  # a resumed run asks in the middle, and from another process
        assert torch.equal(again(name), first[name])
    for other in (crops_of(items, epoch=2), crops_of(items, seed=8)):
        assert all(not torch.equal(other(name), first[name]) for name in names)
    starts = {name: round(float(first[name][0] - 0.01 * i) * 8192) for i, name in enumerate(names)}
    assert len(set(starts.values())) == len(names), "each clip has its own place"


def test_validation_crops_are_the_same_in_every_epoch(tmp_path):
    items = clips(tmp_path)
    crops = crops_of(items, epoch=None)
    assert torch.equal(crops("toy_train/c0"), crops("toy_train/c0"))


@pytest.mark.parametrize("augment", [None, FunctionMatchingAugment(mix_probability=1.0)])
def test_the_number_of_workers_changes_nothing(tmp_path, augment):
    items = clips(tmp_path, captions=["one", "two", "three", "four"])
    heard = []
    for n_workers in (0, 2):
        loader = DataLoader(
            crop_dataset(items, crops_of(items, augment=augment)), batch_size=None, num_workers=n_workers
        )
        heard.append({item["id"]: (item["wav"], item["caption"]) for item in loader})
    assert heard[0].keys() == heard[1].keys() == items.keys()
    for name, (wav, caption) in heard[0].items():
        assert torch.equal(wav, heard[1][name][0]) and caption == heard[1][name][1]


def test_a_crop_lies_within_its_clip_and_is_as_long_as_asked(tmp_path):
    items = clips(tmp_path, n_clips=1)
    for epoch in range(20):
        crop = crops_of(items, epoch=epoch)("toy_train/c0")
        assert crop.shape == (500,) and crop.dtype == torch.float32
        steps = crop.diff() * 8192
        assert torch.allclose(steps, torch.ones(499), atol=1e-2), "500 neighbouring samples"


@pytest.mark.parametrize(("n_samples", "tail"), [(499, [498, 0]), (500, [498, 499]), (501, None)])
def test_one_sample_more_or_less_than_a_crop(tmp_path, n_samples, tail):
    crop = crops_of(clips(tmp_path, n_clips=1, n_samples=n_samples))("toy_train/c0")
    assert crop.shape == (500,)
    if tail is not None:
        assert (crop[-2:] * 8192).tolist() == tail


def test_short_clips_are_tiled_or_padded():
    wav = np.array([1, 2, 3], np.float32)
    assert fit_length(wav, 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fit_length(wav, 5, "pad").tolist() == [1, 2, 3, 0, 0]
    assert fit_length(wav, 2).tolist() == fit_length(wav, 2, "pad").tolist() == [1, 2]


def test_clips_in_memory_are_those_on_disk_within_sixteen_bits(tmp_path):
    items = clips(tmp_path)
    for name in items:
        np.testing.assert_allclose(crops_of(items)(name), crops_of(items, in_memory=True)(name), atol=1 / 32767)


def test_a_clip_in_memory_is_decoded_once(tmp_path):
    path = tmp_path / "a.wav"
    write_clip(path, ramp(100))
    reader = ClipReader(RATE, in_memory=True)
    first = reader(path, 0.01, 0.02)
    path.unlink()
    assert np.array_equal(reader(path, 0.01, 0.02), first) and len(first) == 20


def test_augmentation_hears_this_clip_and_others(tmp_path):
    items = clips(tmp_path)
    seen = []

    def augment(crop, another, n_samples, random, note):
        seen.append((crop(n_samples), another(n_samples)))
        return crop(n_samples)

    wav = crops_of(items, augment=augment)("toy_train/c1")
    assert wav.shape == (500,) and len(seen[0][1]) == 500


def test_a_caption_is_chosen_anew_each_epoch_and_repeated_by_a_resumed_one(tmp_path):
    captions = [f"caption {number}" for number in range(20)]
    items = clips(tmp_path, captions=captions)
    chosen = [[item["caption"] for item in crop_dataset(items, crops_of(items, epoch=e))] for e in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


# Sets -----------------------------------------------------------------------------------------------------------------


def toy_corpora(folder, **facts):
    path, root = manifest(folder, {f"c{i:02d}": (ramp(900), facts) for i in range(20)})
    return Corpora([Corpus("toy", root, lambda **_: None, train={"split": "train"})], path.parent)


def test_a_run_s_sets_are_disjoint_and_augment_training_alone(tmp_path):
    corpora = toy_corpora(tmp_path)
    loud = FunctionMatchingAugment(
        **{f"{n}_probability": 0.0 for n in ("speed", "eq", "mix", "splice", "noise")}, level_db=(-6.0, -6.0)
    )
    sets = make_training_sets(corpora, RATE, 0.5, 7, counter(1), augment=loud, valid_fraction=0.3)
    assert len(sets["train"]) + len(sets["valid"]) == 20 and len(sets["valid"]) > 1
    assert not set(sets["train"].data_ids) & set(sets["valid"].data_ids)
    assert {round(float(item["wav"].square().mean().sqrt()), 2) for item in sets["train"]} == {0.5}
    assert all(item["wav"].square().mean().sqrt() < 0.2 for item in sets["valid"])


def test_a_run_without_validation_clips_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="20 training and 0 validation clips"):
        make_training_sets(toy_corpora(tmp_path), RATE, 0.5, 7, counter(1))


def to_score(folder, split="test"):
    """The corpus of :func:`manifest` with one or more splits as its test part."""
    return Corpora([Corpus("toy", folder, lambda **_: None, test={"split": split})], folder)


def test_clips_to_score_are_whole_mono_and_at_their_own_rate(tmp_path):
    _, root = manifest(tmp_path, {"a": (ramp(30), {"label": "x"}), "b": (ramp(700), {"label": "y"})}, split="test")
    fakes.write_audio(root / "b.wav", 0.1, rate=4000, channels=2)
    dataset, meta = make_test_set(to_score(root))
    batch = collate_clips([dataset[0], dataset[1]])
    assert meta["classes"] == ["x", "y"] and batch["id"] == ["a", "b"] and batch["rate"] == [RATE, 4000]
    assert [wav.shape for wav in batch["wav"]] == [(30,), (400,)]
    assert batch["wav"][0].dtype == torch.float32 and [item["label"] for item in batch["item"]] == ["x", "y"]


def test_a_broken_recording_is_named_when_it_is_read(tmp_path):
    _, root = manifest(tmp_path, {"a": (ramp(30), {"label": "x"})}, split="test")
    (root / "a.wav").write_bytes(b"not audio")
    dataset, _ = make_test_set(to_score(root))
    with pytest.raises(AudioError, match=r"a\.wav"):
        dataset[0]


def test_several_splits_are_scored_as_one_set(tmp_path):
    manifest(tmp_path, {"a": (ramp(30), {"captions": ["rain"]})}, split="val")
    manifest(tmp_path, {"b": (ramp(40), {"captions": ["wind"]})}, split="test")
    dataset, meta = make_test_set(to_score(tmp_path, ["val", "test"]))
    assert [len(clip["wav"]) for clip in dataset] == [30, 40]
    assert (meta["dataset"], meta["split"], meta["classes"]) == ("toy", "val+test", [])
    assert meta["options"] == {"toy val": {}, "toy test": {}}


def test_splits_that_share_a_clip_or_differ_in_classes_are_not_scored_together(tmp_path):
    manifest(tmp_path, {"a": (ramp(30), {"captions": ["rain"]})}, split="val")
    manifest(tmp_path, {"a": (ramp(40), {"captions": ["wind"]})}, split="test")
    with pytest.raises(ManifestError, match=r"toy val, toy test\) cannot be scored together"):
        make_test_set(to_score(tmp_path, ["val", "test"]))
    manifest(tmp_path, {"b": (ramp(40), {"label": "x"})}, split="test")
    with pytest.raises(ManifestError, match="the same classes"):
        make_test_set(to_score(tmp_path, ["val", "test"]))
    with pytest.raises(ManifestError, match=r"test parts \(none\)"):
        make_test_set(to_score(tmp_path, []))
