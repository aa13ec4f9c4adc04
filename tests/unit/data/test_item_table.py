"""A manifest in arrays says what the dict said, and clips decoded once are what decoding gives."""

import pickle

import numpy as np
import pytest
import soundfile

from tinyclap.audio.io import read_audio
from tinyclap.data.decoded_cache import DecodedCache
from tinyclap.data.item_table import ItemTable
from tinyclap.data.pipeline import ClipReader
from tinyclap.errors import ConfigError

ITEMS = {
    "corpus/b": {"wav": "b.wav", "duration_s": 1.25, "captions": None, "group": "g/1"},
    "corpus/ä b": {"wav": "ä.wav", "duration_s": 0.1, "captions": ["Ein Vögelchen.", "two"], "group": "g/2"},
    "corpus/a": {"wav": "a.wav", "duration_s": 3.0, "captions": [], "group": "g/1"},
}


def test_a_table_is_the_dict_in_its_order():
    table = ItemTable(ITEMS)
    assert dict(table) == ITEMS and list(table) == list(ITEMS) and len(table) == 3
    assert table.names[1] == "corpus/ä b" and table.names[-1] == "corpus/a" and table.names[:2] == list(ITEMS)[:2]
    assert dict(pickle.loads(pickle.dumps(table))) == ITEMS


@pytest.mark.parametrize("name", ["corpus/c", "", "corpus", "corpus/ä", None, 3])
def test_a_name_that_is_not_there_is_an_error(name):
    table = ItemTable(ITEMS)
    assert name not in table
    with pytest.raises(KeyError):
        table[name]


def test_a_table_holds_no_object_for_each_item():
    many = {f"corpus/{index}": {"wav": f"{index}.wav", "duration_s": 1.0} for index in range(5000)}
    table = ItemTable(many)
    held = [value for value in vars(table).values() if isinstance(value, np.ndarray)]
    assert len(held) == 5 and not any(array.dtype == object for array in held)
    assert sum(array.nbytes for array in held) < 5000 * 120
    assert all(table[name] == many[name] for name in ("corpus/0", "corpus/4999", "corpus/77"))


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.sin(np.arange(9000) / 9) * 0.5, 9000)
    return path


def test_cached_clips_are_those_on_disk_within_sixteen_bits(clip, tmp_path):
    plain, cached = ClipReader(8000), ClipReader(8000, decoded_cache=tmp_path / "cache")
    for _ in range(2):
        np.testing.assert_allclose(cached(clip), plain(clip), atol=1 / 32767)
        part = cached(clip, 0.25, 0.5)
        np.testing.assert_array_equal(part, cached(clip)[2000:6000])
    (file,) = (tmp_path / "cache").rglob("*.npy")
    assert np.load(file).dtype == np.int16 and plain.seconds > 0 and cached.seconds > 0


def test_a_cached_clip_is_decoded_once_and_again_when_it_changes(clip, tmp_path):
    cache = DecodedCache(tmp_path / "cache", 8000)
    first = np.array(cache.samples(clip))
    stamp = cache.path_of(clip).stat().st_mtime_ns
    cache.samples(clip)
    assert cache.path_of(clip).stat().st_mtime_ns == stamp
    soundfile.write(clip, np.zeros(4500), 9000)
    assert len(cache.samples(clip)) == 4000 and len(first) == len(read_audio(clip, 8000)[0]) * 2
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_another_rate_is_another_file(clip, tmp_path):
    assert DecodedCache(tmp_path, 8000).path_of(clip) != DecodedCache(tmp_path, 16000).path_of(clip)


def test_memory_and_folder_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="in memory or in a folder, not in both"):
        ClipReader(8000, in_memory=True, decoded_cache=tmp_path)
