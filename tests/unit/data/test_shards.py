"""A shard is written atomically, says when it is no longer what was written, and is an Arrow file to others."""

import json
import os
import pickle
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tinyclap.data import shards
from tinyclap.data.shards import Shard, ShardReader, check_shard, is_whole, list_shards, to_batch, write_shard
from tinyclap.decoding.beam_search import WordChoices
from tinyclap.errors import CheckpointError, ConfigError, ManifestError

KEYS = [("ä/1", "c0"), ("ä/1", "c1"), ("b", "v")]
NOTES = [{"with": ["ü"]}, {}, {}]
RANDOM = np.random.default_rng(0)
CHOICES = WordChoices(
    torch.tensor([[4, 5, 2], [2, 2, 2], [6, 2, 2]]),
    torch.from_numpy(RANDOM.integers(0, 9, (3, 3, 2))),
    torch.from_numpy(RANDOM.normal(size=(3, 3, 2)).astype(np.float16)),
    torch.tensor([3, 1, 2]),
)
COLUMNS = {
    "clip": torch.from_numpy(RANDOM.normal(size=(3, 5)).astype(np.float16)),
    "middle": torch.from_numpy(RANDOM.normal(size=(3, 2, 3, 4)).astype(np.float16)),
    "caption": ["ein Vögelchen", "", "rain"],
    "token_choices": CHOICES,
}


@pytest.fixture
def path(tmp_path):
    path = Shard("train", 0, 3).path(tmp_path)
    write_shard(path, [to_batch(KEYS, NOTES, COLUMNS)])
    return path


def reader_of(path, **changes):
    options = {"keys": {"train": KEYS}, "shard_size": 4, "columns": tuple(COLUMNS), **changes}
    return ShardReader(path.parent, **options)


def test_a_shard_is_read_as_it_was_written(path):
    reader = reader_of(path)
    assert len(reader) == 3
    for row, key in enumerate(KEYS):
        for name in ("clip", "middle"):
            value = reader.at(reader.row(*key))[name]
            np.testing.assert_array_equal(value, COLUMNS[name][row])
            value += 1  # the reader's own copy stays
            assert value.dtype == np.float16 and np.array_equal(reader.at(reader.row(*key))[name], COLUMNS[name][row])
        assert reader.at(reader.row(*key))["caption"] == COLUMNS["caption"][row]
    for row, choices in enumerate(reader.values("token_choices")):
        assert choices.n_words == CHOICES.n_words[row]
        for name in ("words", "ids", "log_probs"):
            np.testing.assert_array_equal(getattr(choices, name), getattr(CHOICES, name)[row][: choices.n_words])


def test_pandas_and_pyarrow_read_a_shard(path):
    table = pd.read_feather(path)
    assert list(table) == ["clip_id", "view", "note", *COLUMNS]
    assert list(zip(table.clip_id, table.view, strict=True)) == KEYS and list(table.caption) == COLUMNS["caption"]
    np.testing.assert_array_equal(np.stack(table["clip"]), COLUMNS["clip"])
    assert json.loads(table.note[0]) == NOTES[0] and table.note[1] == ""
    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
    assert json.loads(schema.field("middle").metadata[b"shape"]) == [2, 3, 4]


def test_the_same_contents_are_the_same_bytes(path, tmp_path):
    again = tmp_path / "again.arrow"
    parts = slice(0, 2), slice(2, 3)  # in batches of another size
    batches = []
    for part in parts:
        columns = {name: column[part] for name, column in COLUMNS.items() if name != "token_choices"}
        columns["token_choices"] = WordChoices(*(values[part] for values in CHOICES))
        batches.append(to_batch(KEYS[part], NOTES[part], columns))
    write_shard(again, batches)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("shape", [(2, 5), (2, 12), (2, 4, 3)])
def test_rows_of_another_shape_are_refused(tmp_path, shape):
    batches = [to_batch(KEYS[:2], NOTES[:2], {"middle": torch.zeros(each)}) for each in ((2, 3, 4), shape)]
    with pytest.raises(ConfigError, match="middle has several shapes"):
        write_shard(tmp_path / "a.arrow", batches)
    assert not list(tmp_path.iterdir())


def test_views_are_found_across_shards_and_parts(tmp_path):
    keys = {"one": [(f"clip{row // 3}", f"m{row % 3}") for row in range(9)], "two": [("clip1", "w0"), ("other", "v")]}
    rows = {}
    for shard in list_shards(keys, 4):
        own = keys[shard.part][shard.first : shard.first + shard.n_views]
        values = torch.tensor([[float(len(rows) + place)] for place in range(len(own))])
        rows |= {key: value for key, value in zip(own, values[:, 0].tolist(), strict=True)}
        write_shard(shard.path(tmp_path), [to_batch(own, [{}] * len(own), {"clip": values})])
    reader = ShardReader(tmp_path, keys, 4, ("clip",))
    assert len(reader) == 11 and [float(value[0]) for value in reader.values("clip")] == list(range(11))
    assert {key: reader.at(reader.row(*key))["clip"][0] for key in rows} == rows
    sent = pickle.dumps(reader)
    again = pickle.loads(sent)
    assert again.at(again.row("clip2", "m1"))["clip"] == rows["clip2", "m1"] and len(sent) < 3000


@pytest.mark.parametrize(
    ("clip", "view"), [("b", "c0"), ("b", "w0"), ("ä/1", "c2"), ("ä/1", "c"), ("c", "v"), ("b", "")]
)
def test_a_view_that_is_not_there_is_named(path, clip, view):
    with pytest.raises(ManifestError, match=f"no view '{view}' of '{clip}'"):
        reader_of(path).row(clip, view)


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 1])
def test_a_flipped_bit_is_found_and_named(path, place):
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CheckpointError, match=r"train_0000000\.arrow: .* another sha256.*delete train_0000000\.\*"):
        check_shard(path)


def test_a_shard_is_hashed_only_where_size_or_time_differ_or_all_is_verified(path, monkeypatch):
    hashed, sha256_of = [], shards.sha256_of
    monkeypatch.setattr(shards, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    check_shard(path)
    assert not hashed
    check_shard(path, verify=True)
    assert len(hashed) == 1
    os.utime(path, ns=(1, 1))  # copied to another machine
    check_shard(path)
    check_shard(path)
    assert len(hashed) == 2, "the new time is noted"


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_cut_shard_or_checksum_is_named(path, content):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content else content)
    with pytest.raises(CheckpointError, match="damaged"):
        check_shard(path)
    with pytest.raises(CheckpointError, match="damaged"):
        reader_of(path).at(0)
    path.write_bytes(whole)
    path.with_suffix(".sha256").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        check_shard(path)


def test_the_checksum_is_that_of_sha256sum(path):
    listed = subprocess.run(["sha256sum", "-c", f"{path.stem}.sha256"], cwd=path.parent, capture_output=True, text=True)
    assert listed.returncode == 0 and listed.stdout == f"{path.name}: OK\n" and not listed.stderr


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "train_0000000.arrow"
    with pytest.raises((TypeError, pa.ArrowException)):
        write_shard(path, [to_batch(KEYS, NOTES, {"caption": ["a", "b", object()]})])
    assert not is_whole(path) and not list(tmp_path.iterdir())


def test_only_old_temporary_files_are_deleted(tmp_path):
    old, new = tmp_path / ".a.part", tmp_path / ".b.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    shards.remove_stale(tmp_path)
    assert not old.exists() and new.exists(), "another process may be writing the new one"
