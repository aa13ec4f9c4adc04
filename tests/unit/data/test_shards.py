"""A shard is there whole or not at all, and says when it is no longer what was written."""

import os
import subprocess
import threading

import numpy as np
import pytest

from tinyclap.data import shards
from tinyclap.data.shards import checked_files, is_whole, shard_path, write_shard
from tinyclap.data.workers import ShardMaker, read_ahead
from tinyclap.errors import CheckpointError

CONTENTS = {"npy": np.arange(6.0).reshape(3, 2), "json": {"keys": ["é"]}, "npz": {"a": np.ones(2)}}


@pytest.fixture
def shard(tmp_path):
    path = shard_path(tmp_path, "train", 40)
    write_shard(path, CONTENTS)
    return path


def test_a_shard_is_read_as_it_was_written_and_by_sha256sum(shard):
    paths = checked_files(shard, CONTENTS)
    np.testing.assert_array_equal(np.load(paths["npy"]), CONTENTS["npy"])
    assert shards.read_json(paths["json"]) == CONTENTS["json"] and np.load(paths["npz"])["a"].tolist() == [1.0, 1.0]
    listed = subprocess.run(["sha256sum", "-c", f"{shard.name}.sha256"], cwd=shard.parent, capture_output=True)
    assert listed.returncode == 0 and listed.stdout.count(b"OK") == 3


@pytest.mark.parametrize("ending", CONTENTS)
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_bit_is_found_and_named(shard, ending, place):
    path = shards.shard_file(shard, ending)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"train_0000040\.{ending} is missing, or has another.*delete train_00"):
        checked_files(shard, CONTENTS)
    checked_files(shard, set(CONTENTS) - {ending})


def test_a_file_that_is_gone_or_was_never_promised_is_named(shard):
    with pytest.raises(CheckpointError, match="tags.npy is missing"):
        checked_files(shard, ["tags.npy"])
    np.save(shards.shard_file(shard, "tags.npy"), np.ones(3))
    with pytest.raises(CheckpointError, match="tags.npy is missing, or has another sha256"):
        checked_files(shard, ["tags.npy"])


def test_a_write_that_fails_leaves_no_shard(tmp_path):
    path = shard_path(tmp_path, "train", 0)
    with pytest.raises(TypeError):
        write_shard(path, {"npy": np.ones(2), "json": {"not": object()}})
    assert not is_whole(path) and not list(tmp_path.glob("train*"))


def test_only_old_parts_are_cleared_away(tmp_path):
    old, new = tmp_path / ".a.npy.host-1.part", tmp_path / ".b.npy.host-2.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    shards.remove_stale(tmp_path)
    assert not old.exists() and new.exists(), "another process may be writing the new one"


def test_reading_ahead_keeps_the_order_and_runs_ahead_by_so_much():
    begun = threading.Event()

    def numbers():
        for number in range(6):
            if number == 3:
                begun.set()
            yield number

    ahead = read_ahead(numbers(), n_ahead=3)
    assert next(ahead) == 0
    assert begun.wait(5), "the fourth is worked out before the second is asked for"
    assert list(ahead) == [1, 2, 3, 4, 5]


def test_an_error_while_reading_ahead_comes_in_its_place():
    def numbers():
        yield 1
        raise ValueError("clip 2")

    ahead = read_ahead(numbers())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="clip 2"):
        next(ahead)


def test_who_stops_asking_stops_the_thread():
    asked = []
    ahead = read_ahead((asked.append(number) or number for number in range(1000)), n_ahead=2)
    next(ahead)
    ahead.close()
    n_threads = [thread for thread in threading.enumerate() if thread.name.endswith("(work)")]
    for thread in n_threads:
        thread.join(5)
    assert len(asked) <= 5


class _Doubling(ShardMaker):
    """Writes what it hears, doubled."""

    def read(self, part, keys):
        """Each view is its own number."""
        return [(np.array([float(key[1][1:])]), {}) for key in keys]

    def keys(self, part, first, n_views):
        """Views of one clip."""
        return [("clip", f"c{place}") for place in range(first, first + n_views)]

    def contents(self, part, keys, batches):
        """The views of all batches in their order."""
        sizes, rows = [], []
        for batch, heard in batches:
            sizes.append(len(batch))
            rows += [2 * wav for wav, _ in heard]
        return {"npy": np.stack(rows), "json": sizes}


def test_shards_are_made_in_batches_that_never_cross_them_and_none_twice(tmp_path):
    maker = _Doubling(tmp_path, None, {}, batch_size=3)
    wanted = [("train", 0, 4), ("train", 4, 4), ("train", 8, 1)]
    write_shard(shard_path(tmp_path, "train", 4), {"npy": np.zeros(1), "json": "made by another process"})
    assert list(maker.make_all(wanted)) == [4, 4, 1]
    assert shards.read_json(shard_path(tmp_path, "train", 0).with_suffix(".json")) == [3, 1]
    assert shards.read_json(shard_path(tmp_path, "train", 4).with_suffix(".json")) == "made by another process"
    assert np.load(shard_path(tmp_path, "train", 8).with_suffix(".npy")).tolist() == [[16.0]]


def test_a_shard_heard_elsewhere_is_the_same(tmp_path):
    shard = ("train", 0, 5)
    here, elsewhere = (_Doubling(tmp_path / name, None, {}, batch_size=2) for name in ("here", "elsewhere"))
    for maker, heard in ((here, None), (elsewhere, here.hear(*shard))):
        maker.folder.mkdir()
        assert maker.make(*shard, heard) == 5
    for path in here.folder.iterdir():
        assert (elsewhere.folder / path.name).read_bytes() == path.read_bytes()
