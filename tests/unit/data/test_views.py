"""A view is the same piece of audio whenever, wherever and at whatever rate it is read."""

import pickle

import numpy as np
import pytest
from caption_run import RATE, captioned, make_corpora

from tinyclap.audio.io import read_audio
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.clip_reader import ClipReader
from tinyclap.data.views import Views, clips_digest, fit_length
from tinyclap.errors import ConfigError, ManifestError

CROP_S = 0.5
MIXING = {"augment": FunctionMatchingAugment(mix_probability=1.0), "n_views": 3}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    clips = {
        **captioned(12),
        "short": (0.3, 100, 0.2, {}),
        "just": (CROP_S, 90, 0.2, {}),
        "minute": (60.0, 90, 0.2, {}),
    }
    return make_corpora(tmp_path_factory.mktemp("corpus"), train=clips)


@pytest.fixture(scope="module")
def with_valid(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("with_valid"), train=captioned(8), valid=captioned(3, first=8))


def windows(corpora, **options):
    return Views(corpora, RATE, 1.0, "windows", **options)


def crops(corpora, **options):
    return Views(corpora, RATE, CROP_S, **{"n_views": 4, "seed": 3, "valid_fraction": 0.3, **options})


def clip_of(views, duration_s=2.5):
    return next(name for name, item in views.train_items.items() if item["duration_s"] == duration_s)


def whole(views, clip):
    return read_audio({**views.train_items, **views.valid_items}[clip]["wav"])[0]


# Windows --------------------------------------------------------------------------------------------------------------


def test_windows_follow_each_other_and_the_last_ends_with_the_clip(corpora):
    views = windows(corpora)
    assert views.views_of("toy_train/c0") == ["w0", "w1", "w2"]
    for view, first in (("w0", 0), ("w1", 1000), ("w2", 1500)):
        np.testing.assert_array_equal(
            views.read("toy_train/c0", view), whole(views, "toy_train/c0")[first : first + 1000]
        )


def test_a_short_clip_is_one_window_as_long_as_itself_and_a_minute_is_sixty(corpora):
    views = windows(corpora)
    assert views.views_of("toy_train/short") == ["w0"] and views.read("toy_train/short", "w0").shape == (300,)
    assert len(views.views_of("toy_train/minute")) == 60
    assert views.read("toy_train/minute", "w59").shape == (1000,)
    assert len(views.keys()) == 12 * 3 + 2 + 60


@pytest.mark.parametrize(
    ("n_views", "starts"),
    [(1, [30]), (2, [15, 45]), (4, [7, 22, 37, 52]), (60, list(range(60))), (99, list(range(60)))],
)
def test_few_windows_of_a_long_clip_are_spread_over_it(corpora, n_views, starts):
    views = windows(corpora, n_views=n_views)
    samples = whole(views, "toy_train/minute")
    assert len(views.views_of("toy_train/minute")) == len(starts)
    for view, start_s in zip(views.views_of("toy_train/minute"), starts, strict=True):
        np.testing.assert_array_equal(
            views.read("toy_train/minute", view), samples[start_s * RATE : (start_s + 1) * RATE]
        )


def test_clips_of_validation_parts_have_no_windows_and_those_held_out_have(with_valid):
    views = windows(with_valid, valid_fraction=0.4)
    held = [clip for clip in views.valid_items if clip.startswith("toy_train/")]
    assert held and len(views.valid_items) == len(held) + 3 and len(views.train_items) == 8 - len(held)
    assert {clip for clip, _ in views.keys("valid")} == set(held)
    assert views.keys() == views.keys("train") + views.keys("valid") and list(views.parts()) == ["toy_train_windows"]


def test_windows_need_no_validation_clips(corpora):
    assert len(windows(corpora).train_items) == 15 and not windows(corpora).valid_items


@pytest.mark.parametrize("options", [{}, {"in_memory": True}])
def test_a_student_of_another_rate_reads_the_same_window(corpora, options):
    views = windows(corpora, reader=ClipReader(RATE, **options))
    own, other = views.read("toy_train/c4", "w2"), views.read("toy_train/c4", "w2", sample_rate_hz=2000)
    assert other.shape == (2000,)
    inner = slice(100, 900)  # the ends of a part meet silence
    assert np.abs(other[::2][inner] - own[inner]).max() < 0.02


# Crops ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_views", "starts_s"),
    [(1, [1.0]), (2, [0.5, 1.5]), (4, [0.25, 0.75, 1.25, 1.75]), (8, [0.125 + place / 4 for place in range(8)])],
)
def test_crops_begin_at_the_middles_of_equal_intervals_of_the_free_time(corpora, n_views, starts_s):
    views = crops(corpora, n_views=n_views)
    clip = clip_of(views)
    assert views.views_of(clip) == [f"c{index}" for index in range(n_views)]
    for view, start_s in zip(views.views_of(clip), starts_s, strict=True):
        first = round(start_s * RATE)
        np.testing.assert_array_equal(views.read(clip, view), whole(views, clip)[first : first + 500])


@pytest.mark.parametrize(("clip", "n_samples"), [("short", 300), ("just", 500)])
@pytest.mark.parametrize("short", ["tile", "pad"])
def test_a_clip_no_longer_than_a_crop_has_one_that_is_filled(corpora, clip, n_samples, short):
    views = crops(corpora, short=short)
    name, samples = f"toy_train/{clip}", whole(views, f"toy_train/{clip}")
    wanted = np.resize(samples, 500) if short == "tile" else np.pad(samples, (0, 500 - n_samples))
    assert len(views.views_of(name)) == 1 and len(samples) == n_samples
    np.testing.assert_array_equal(views.read(name, views.views_of(name)[0]), wanted)


def test_the_validation_crop_is_the_one_that_training_without_a_cache_validates_on(corpora):
    views = crops(corpora)
    assert len(views.valid_items) >= 2
    for clip in views.valid_items:
        assert views.views_of(clip) == ["v"]
        for epoch in (0, 1, 9):
            np.testing.assert_array_equal(views.read(clip, "v"), views.crop(clip, epoch))


def test_a_random_crop_is_a_function_of_seed_epoch_and_clip(corpora):
    clips = [clip for clip, item in crops(corpora).train_items.items() if item["duration_s"] == 2.5]
    first, again = crops(corpora), crops(corpora)
    wanted = {clip: first.crop(clip, 2) for clip in clips}
    for clip in reversed(clips):  # a resumed run begins in the middle, in another process
        np.testing.assert_array_equal(again.crop(clip, 2), wanted[clip])
        assert wanted[clip].dtype == np.float32 and wanted[clip].shape == (500,)
        assert wanted[clip].tobytes() in whole(first, clip).tobytes(), "500 neighbouring samples"
        assert not np.array_equal(first.crop(clip, 3), wanted[clip])
        assert not np.array_equal(crops(corpora, seed=8).crop(clip, 2), wanted[clip])


def test_a_run_without_validation_clips_is_refused_before_any_work(corpora):
    for options in ({}, MIXING):
        with pytest.raises(ManifestError, match="15 training and 0 validation clips.*valid_fraction"):
            crops(corpora, valid_fraction=0.0, **options).keys()


def test_memory_changes_samples_by_half_a_step_of_16_bits_at_most(corpora):
    views, kept = crops(corpora), crops(corpora, reader=ClipReader(RATE, in_memory=True))
    for key in views.keys()[::3]:
        for _ in range(2):
            assert np.abs(kept.read(*key) - views.read(*key)).max() <= 1 / 32767


# Mixtures -------------------------------------------------------------------------------------------------------------


def test_a_mixture_depends_on_seed_clip_and_view_alone(corpora):
    views, again = crops(corpora, **MIXING), crops(corpora, **MIXING)
    again.read(*again.keys()[5])  # what was read before does not matter
    for key in views.keys()[::5]:
        np.testing.assert_array_equal(views.read(*key), again.read(*key))
    clip = clip_of(views)
    read = [views.read(clip, view) for view in views.views_of(clip)]
    read += [crops(corpora, **MIXING, seed=1).read(clip, "m0"), views.crop(clip, 0), views.crop(clip, 1)]
    assert len({sound.tobytes() for sound in read}) == 6
    assert {(sound.dtype, sound.shape) for sound in read} == {(np.dtype(np.float32), (500,))}
    assert views.views_of(clip_of(views, 0.3)) == ["m0", "m1", "m2"]


def test_a_mixture_says_what_it_is_made_of(corpora):
    views, notes = crops(corpora, **MIXING), []
    for view in views.views_of(clip_of(views)):
        waveform, note = views.read_with_note(clip_of(views), view)
        np.testing.assert_array_equal(waveform, views.read(clip_of(views), view))
        assert len(note["with"]) == len(note["mix_db"]) in (1, 2)
        assert set(note["with"]) <= set(views.train_items), "nothing of the validation side is mixed in"
        assert all(-12 <= level <= 12 for level in note["mix_db"])
        notes.append(str(note))
    assert len(set(notes)) == 3
    assert views.read_with_note(next(iter(views.valid_items)), "v")[1] == {}


@pytest.mark.parametrize("options", [MIXING, {}])
def test_a_view_at_another_rate_is_the_same_view(corpora, options):
    views = crops(corpora, **options)
    clip = clip_of(views)
    own, other = (views.read(clip, views.views_of(clip)[1], rate) for rate in (None, 2000))
    assert other.shape == (1000,)
    assert np.corrcoef(own[100:400], other[::2][100:400])[0, 1] > 0.98


def test_nothing_held_out_is_mixed_into_training(corpora, monkeypatch):
    views, paths, read = crops(corpora, **MIXING, valid_fraction=0.4), set(), ClipReader.__call__

    def noted(self, path, *part):
        paths.add(path)
        return read(self, path, *part)

    monkeypatch.setattr(ClipReader, "__call__", noted)
    for items, part in ((views.train_items, "train"), (views.valid_items, "valid")):
        paths.clear()
        for key in views.keys(part):
            views.read(*key)
        assert paths and paths <= {item["wav"] for item in items.values()}


# All kinds ------------------------------------------------------------------------------------------------------------


def test_parts_say_all_that_decides_their_views(tmp_path, corpora, with_valid):
    ((name, part),) = windows(corpora).parts().items()
    assert name == "toy_train_windows" and len(part.keys) == len(set(part.keys)) == 98
    digest = clips_digest(corpora.manifests("train")[0][0])
    assert part.description["clips"] == digest and part.description["kind"] == "windows"
    mixtures = crops(corpora, **MIXING).parts()["toy_train_mixtures"].description
    assert mixtures["mixed_from"] == {"toy_train": digest} and mixtures["augment"]["eq_db"] == 6.0
    assert list(crops(with_valid).parts()) == ["toy_train_crops", "toy_valid_crops"]
    changes = [{"n_views": 2}, {"seed": 4}, {"valid_fraction": 0.2}, {"short": "pad"}, MIXING]
    changes += [{"reader": ClipReader(RATE, channels="sum")}]
    described = [next(iter(crops(corpora, **change).parts().values())).description for change in ({}, *changes)]
    assert len({str(description) for description in described}) == len(described)


def test_other_captions_are_the_same_audio_and_another_duration_is_not(tmp_path):
    twins = {"a": (1.0, 100, 0.1, {"captions": ["x"]})}, {"a": (1.0, 100, 0.1, {"captions": ["y"]})}
    digests = [
        clips_digest(make_corpora(tmp_path / str(number), train=clips).manifests("train")[0][0])
        for number, clips in enumerate((*twins, {"a": (1.1, 100, 0.1, {})}))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("in_memory", [False, True])
def test_views_go_to_other_processes(corpora, in_memory):
    views = crops(corpora, **MIXING, reader=ClipReader(RATE, in_memory))
    key = views.keys()[4]
    wanted = views.read(*key)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(views)).read(*key), wanted)


@pytest.mark.parametrize("options", [{"kind": "windows"}, {"n_views": 2}, MIXING])
def test_views_of_no_corpus_have_no_clips(options):
    views = Views(None, RATE, 1.0, **options)
    assert views.keys() == [] and views.parts() == {} and not views.train_items and not views.valid_items


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "n_views=None"),
        ({"kind": "mixtures", "n_views": 2}, "mixtures have an augment"),
        ({"kind": "crops", **MIXING}, "mixtures have an augment"),
        ({"augment": FunctionMatchingAugment()}, "n_views=None"),
        ({"n_views": 0}, "n_views=0"),
        ({"n_views": 2.5}, "n_views=2.5"),
        ({"n_views": 2, "valid_fraction": 1.0}, "valid_fraction=1.0"),
        ({"n_views": 2, "duration_s": 0.0}, "window_s=0.0"),
        ({"n_views": 2, "kind": "frames"}, "crops.*mixtures"),
        ({"n_views": 2, "short": "native"}, "tile"),
        ({"n_views": 2, "reader": ClipReader(500)}, "1000 Hz .* reader at 500 Hz"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Views(None, RATE, **{"duration_s": 1.0, **options})


@pytest.mark.parametrize(
    ("clip", "view"), [("c0", "w3"), ("c0", "m0"), ("c0", "v"), ("c0", "w"), ("c0", ""), ("none", "w0")]
)
def test_a_view_that_is_not_there_is_named(corpora, clip, view):
    with pytest.raises(ManifestError, match=f"no view '{view}' of 'toy_train/{clip}'"):
        windows(corpora).read(f"toy_train/{clip}", view)


def test_short_clips_are_tiled_or_padded():
    wav = np.array([1, 2, 3], np.float32)
    assert fit_length(wav, 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fit_length(wav, 5, "pad").tolist() == [1, 2, 3, 0, 0]
    assert fit_length(wav, 2).tolist() == fit_length(wav, 2, "pad").tolist() == [1, 2]
