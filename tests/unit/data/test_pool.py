"""A pool is made once: the same bytes however it is made, nothing half-made, and another pool for another option."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_run import CLIP_S, RATE, ToneTeacher, make_corpora, make_features

from tinyclap.config.registry import build
from tinyclap.data import pool as pool_module
from tinyclap.data import workers
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.pipeline import CropReader, hold_out, read_items
from tinyclap.data.pool import PoolBatch, PoolDatasets, TrainingPool, collate_pool
from tinyclap.errors import CheckpointError, ConfigError, ManifestError

OPTIONS = {"n_train": 70, "n_valid": 10, "clip_duration_s": CLIP_S, "seed": 5, "valid_fraction": 0.3}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 40 examples: batches of 32 and 8, and a last shard that is shorter."""
    monkeypatch.setattr(pool_module, "SHARD_SIZE", 40)


@pytest.fixture
def in_threads(monkeypatch, small_shards):
    """Shards made in this process: starting others costs seconds."""
    monkeypatch.setattr(workers, "ProcessPoolExecutor", ThreadPoolExecutor)
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def make(corpora, tmp_path):
    def make_pool(folder="pool", **changes):
        options = {"augment": FunctionMatchingAugment(), **OPTIONS, "n_processes": 1, **changes}
        teacher = options.pop("teacher", None) or ToneTeacher().load()
        return TrainingPool(corpora, teacher, make_features(), tmp_path / folder, **options)

    return make_pool


def digests(pool):
    files = sorted(path for path in pool.folder.iterdir() if path.name != "pool.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_other_processes_make_the_same_bytes_as_this_one(make, small_shards, monkeypatch):
    spawned = make("spawned")
    spawned.load()
    n_threads = torch.get_num_threads()
    monkeypatch.setattr(workers, "ProcessPoolExecutor", ThreadPoolExecutor)
    here = make("here")
    here.load()
    torch.set_num_threads(n_threads)
    assert digests(spawned) == digests(here)
    assert len(digests(here)) == 5 * 3, (
        "log-mel, target, frames, map and checksums of two training shards and one other"
    )


def test_a_pool_that_was_stopped_half_way_ends_in_the_same_bytes(make, in_threads):
    pool = make()
    pool.load()
    whole = digests(pool)
    untouched = pool.folder / "train_0000000.log_mel.npy"
    (pool.folder / "train_0000040.sha256").unlink()  # stopped before the last rename of this shard
    stale = pool.folder / ".train_0000040.log_mel.npy.other-1234.part"
    stale.write_bytes(b"half")
    os.utime(stale, (0, 0))
    (pool.folder / "valid_0000000.target.npy").write_bytes(b"of a stopped run")
    (pool.folder / "valid_0000000.sha256").unlink()
    before = untouched.stat().st_mtime_ns
    make().load()
    assert digests(pool) == whole
    assert untouched.stat().st_mtime_ns == before, "what was whole is not made again"


def test_a_whole_pool_is_not_made_again(make, in_threads, monkeypatch):
    make().load()
    monkeypatch.setattr(pool_module, "_ShardMaker", None)
    make().load()


@pytest.mark.parametrize("kind", PoolBatch._fields)
def test_a_flipped_bit_is_found_when_a_pool_is_opened_and_named(make, in_threads, kind):
    pool = make()
    pool.load()
    path = pool.folder / f"train_0000040.{kind}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path.name} is missing, or has another sha256.*delete train_0000040"):
        PoolDatasets(pool)()


def test_any_changed_option_leads_to_another_folder(make):
    folder = make().folder
    assert make().folder == folder
    changes = [
        {"seed": 6},
        {"n_train": 71},
        {"n_valid": 11},
        {"clip_duration_s": 0.1},
        {"valid_fraction": 0.2},
        {"augment": FunctionMatchingAugment(eq_db=1.0)},
        {"teacher": ToneTeacher(embed_dim=7).load()},
    ]
    others = {make(**change).folder for change in changes}
    assert len(others) == len(changes) and folder not in others


def test_another_front_end_or_manifest_leads_to_another_folder(make, corpora):
    pool = make()
    folder = pool.folder
    pool.features = build({**pool.features.config, "hop_length": 160})
    assert pool.folder != folder
    path, _ = corpora.manifests("train")[0]
    before = path.read_text(encoding="utf-8")
    content = json.loads(before)
    content["items"].popitem()
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        assert make().folder != folder
    finally:
        path.write_text(before, encoding="utf-8")
    assert make().folder == folder


def test_validation_examples_are_made_of_other_recordings(make, in_threads, corpora, monkeypatch):
    heard = {}
    crop = CropReader._crop

    def note(self, name, n_samples, random):
        heard.setdefault(id(self), set()).add(self.items[name]["group"])
        return crop(self, name, n_samples, random)

    monkeypatch.setattr(CropReader, "_crop", note)
    make().load()
    sides = sorted(heard.values(), key=len)
    assert len(sides) == 2 and not sides[0] & sides[1]
    train, valid = hold_out(read_items(corpora.manifests("train")), OPTIONS["valid_fraction"])
    assert sides[1] <= {item["group"] for item in train.values()}
    assert sides[0] <= {item["group"] for item in valid.values()}


def test_examples_are_the_front_end_and_the_teacher_on_one_waveform(make, in_threads):
    pool = make(n_train=3, n_valid=2)
    pool.load()
    sets = PoolDatasets(pool)()
    assert len(sets["train"]) == 3 and len(sets["valid"]) == 2
    train, _ = hold_out(read_items(pool.corpora.manifests("train")), OPTIONS["valid_fraction"])
    crops = CropReader(train, pool_module.ClipReader(RATE, True), CLIP_S, "tile", 5, None, pool.augment)
    for index in range(3):
        random = np.random.default_rng([5, False, index])
        wavs = torch.from_numpy(crops.at(crops.any_name(random), random))[None]
        wanted = (pool.features(wavs), *pool.teacher.teach(wavs, RATE))
        for ours, theirs in zip(sets["train"][index], wanted, strict=True):
            assert ours.dtype == torch.float16
            torch.testing.assert_close(ours.float(), theirs[0], atol=0.05, rtol=2e-3)
    batch = collate_pool([sets["train"][0], sets["train"][2]])
    assert batch.log_mel.shape == (2, 1 + int(RATE * CLIP_S) // 320, 16) and batch.target.shape == (2, 6)


def test_examples_are_found_across_shards(make, in_threads):
    pool = make()
    pool.load()
    train = PoolDatasets(pool)()["train"]
    assert len(train) == 70
    second = np.load(pool.folder / "train_0000040.target.npy")
    assert second.shape[0] == 30
    assert torch.equal(train[41][1], torch.from_numpy(second[1]))
    assert len({tuple(train[index][1].tolist()) for index in range(70)}) > 60, "examples differ"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_pool_without_validation_recordings_is_refused(make, fraction):
    with pytest.raises(ConfigError, match="valid_fraction"):
        make(valid_fraction=fraction)


def test_a_corpus_too_small_to_be_split_is_refused(make, in_threads):
    with pytest.raises(ManifestError, match="0 validation clips; both are needed"):
        make(valid_fraction=1e-9).load()
