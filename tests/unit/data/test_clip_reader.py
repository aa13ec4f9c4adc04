"""Clips decoded once are what decoding gives, whoever reads them."""

import multiprocessing
import pickle

import numpy as np
import pytest
import soundfile
from caption_run import RATE, captioned, make_corpora
from torch.utils.data import DataLoader

from tinyclap.audio.io import read_audio
from tinyclap.data import clip_reader
from tinyclap.data.clip_reader import ClipReader, DecodedFolder
from tinyclap.data.distillation import make_distillation_sets
from tinyclap.data.views import Views
from tinyclap.errors import ConfigError


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.sin(np.arange(9000) / 9) * 0.5, 9000)
    return path


@pytest.fixture
def decoded(monkeypatch, tmp_path):
    """Paths decoded so far, by this process and those forked from it."""
    log = tmp_path / "decoded.txt"
    log.write_text("", encoding="utf-8")

    def noted(path, *options):
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{path}\n")
        return read_audio(path, *options)

    monkeypatch.setattr(clip_reader, "read_audio", noted)
    return lambda: log.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("how", ["folder", "memory"])
def test_kept_clips_are_those_on_disk_within_sixteen_bits(clip, tmp_path, how):
    options = {"decoded_cache": tmp_path / "cache"} if how == "folder" else {"in_memory": True}
    plain, kept = ClipReader(8000), ClipReader(8000, **options)
    kept.reserve({"clip": {"wav": str(clip), "duration_s": 1.0}})
    for _ in range(2):
        np.testing.assert_allclose(kept(clip), plain(clip), atol=1 / 32767)
        np.testing.assert_array_equal(kept(clip, 0.25, 0.5), kept(clip)[2000:6000])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept))(clip), kept(clip))


def test_a_clip_in_memory_is_decoded_once(clip):
    reader = ClipReader(8000, in_memory=True)
    reader.reserve({"clip": {"wav": str(clip), "duration_s": 1.0}})
    first = reader(clip, 0.01, 0.02)
    clip.unlink()
    assert np.array_equal(reader(clip, 0.01, 0.02), first) and len(first) == 160


@pytest.mark.parametrize("duration_s", [0.001, 0.5, 1.0])
def test_a_clip_longer_than_its_manifest_says_is_whole_all_the_same(clip, duration_s):
    reader = ClipReader(8000, in_memory=True)
    reader.reserve({"clip": {"wav": str(clip), "duration_s": duration_s}})
    assert len(reader(clip)) == 8000 and len(reader(clip)) == 8000


def test_a_decoded_clip_is_decoded_again_when_it_changes(clip, tmp_path):
    folder = DecodedFolder(tmp_path / "cache", 8000)
    first = np.array(folder.samples(clip))
    stamp = folder.path_of(clip).stat().st_mtime_ns
    folder.samples(clip)
    assert folder.path_of(clip).stat().st_mtime_ns == stamp
    soundfile.write(clip, np.zeros(4500), 9000)
    assert len(folder.samples(clip)) == 4000 and len(first) == 8000 and first.dtype == np.int16
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_clip_in_two_corpora_and_those_after_it_have_places_of_their_own(tmp_path, clip):
    other = tmp_path / "other.wav"
    soundfile.write(other, np.full(9000, 0.25), 9000)
    reader = ClipReader(8000, in_memory=True)
    reader.reserve({name: {"wav": path, "duration_s": 1.0} for name, path in (("a", clip), ("b", clip), ("c", other))})
    for path in (clip, other):
        first = reader(path)
        path.unlink()
        np.testing.assert_array_equal(reader(path), first)
    assert reader(other)[4000] == pytest.approx(0.25, abs=1e-4) and reader(clip).std() > 0.3


@pytest.mark.parametrize("how", ["folder", "memory"])
def test_samples_beyond_full_scale_are_clipped(tmp_path, how):
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.array([0.5, -2.0, 3.0]), 8000, subtype="FLOAT")
    kept = ClipReader(8000, **({"decoded_cache": tmp_path / "cache"} if how == "folder" else {"in_memory": True}))
    kept.reserve({"clip": {"wav": str(path), "duration_s": 1.0}})
    np.testing.assert_allclose(kept(path), [0.5, -1.0, 1.0], atol=1 / 32767)


def test_another_rate_is_another_file(clip, tmp_path):
    assert DecodedFolder(tmp_path, 8000).path_of(clip) != DecodedFolder(tmp_path, 16000).path_of(clip)


def test_memory_and_folder_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="in memory or in a folder, not in both"):
        ClipReader(8000, in_memory=True, decoded_cache=tmp_path)


def test_clips_that_do_not_fit_into_memory_are_refused_with_a_way_out():
    items = {str(number): {"wav": f"{number}.wav", "duration_s": 1e13} for number in range(3)}
    with pytest.raises(ConfigError, match=r"GB of decoded clips do not fit .*--decoded_cache FOLDER"):
        ClipReader(8000, in_memory=True).reserve(items)


@pytest.mark.parametrize("how", ["memory", "folder"])
def test_loader_workers_decode_each_clip_once_in_all_epochs(tmp_path, decoded, how):
    """Two workers, started anew each epoch: what one of them decoded serves the other, and the next epoch's."""
    corpora = make_corpora(tmp_path, train=captioned(12))
    options = {"decoded_cache": tmp_path / "cache"} if how == "folder" else {"in_memory": True}
    views = Views(corpora, RATE, 0.5, n_views=2, valid_fraction=0.3, reader=ClipReader(RATE, **options))
    train, context = make_distillation_sets(None, views, seed=1)["train"], multiprocessing.get_context("fork")
    n_decoded = []
    for _ in range(2):
        loader = DataLoader(train, batch_size=None, num_workers=2, multiprocessing_context=context)
        wavs = {example["id"]: example["wav"] for example in loader}
        n_decoded.append(len(decoded()))
    assert n_decoded == [len(train)] * 2
    assert sorted(decoded()) == sorted(views.train_items[clip]["wav"] for clip in wavs)
    direct = Views(corpora, RATE, 0.5, n_views=2, valid_fraction=0.3)
    for example in make_distillation_sets(None, direct, seed=1)["train"]:
        np.testing.assert_allclose(wavs[example["id"]], example["wav"], atol=1 / 32767)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"in_memory": True}])
def test_the_sum_of_channels_is_their_mean_times_their_number(tmp_path, columns, options):
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (8000, columns))
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    summed = ClipReader(8000, channels="sum", **options)(path, start_s=0.25, duration_s=0.5)
    assert summed.dtype == np.float32
    np.testing.assert_allclose(summed, samples[2000:6000].sum(axis=1), atol=1e-4)
    mean = ClipReader(8000, **options)(path, start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(summed, mean * columns, atol=1e-6)
    assert ClipReader(8000, channels="sum", **options).at(4000).channels == "sum"


def test_other_channels_are_refused():
    with pytest.raises(ConfigError, match="mean"):
        ClipReader(8000, channels="left")
