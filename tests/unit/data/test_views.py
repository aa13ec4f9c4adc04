"""A view is the same piece of sound whenever, wherever and at whatever rate it is heard."""

import pickle

import numpy as np
import pytest
from caption_run import RATE, captioned, make_corpora, make_views

from tinyclap.audio.io import read_audio
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.pipeline import ClipReader
from tinyclap.data.views import Views, clips_digest
from tinyclap.errors import ConfigError, ManifestError

MIXING = {"augment": FunctionMatchingAugment(), "n_views": 3}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    clips = {**captioned(8), "short": (0.4, 100, 0.2, {}), "minute": (60.0, 90, 0.2, {})}
    return make_corpora(tmp_path_factory.mktemp("corpus"), train=clips)


def name_of(views, clip):
    return f"toy_train/{clip}"


def test_windows_follow_each_other_and_the_last_ends_with_the_clip(corpora):
    views = make_views(corpora)
    name = name_of(views, "c0")
    whole, _ = read_audio(views.items[name]["wav"])
    assert views.views_of(name) == ["w0", "w1", "w2"] and len(whole) == 2500
    for view, first in (("w0", 0), ("w1", 1000), ("w2", 1500)):
        np.testing.assert_array_equal(views.read(name, view), whole[first : first + 1000])


def test_a_short_clip_is_one_window_as_long_as_itself_and_a_minute_is_sixty(corpora):
    views = make_views(corpora)
    assert views.views_of(name_of(views, "short")) == ["w0"]
    assert views.read(name_of(views, "short"), "w0").shape == (400,)
    assert len(views.views_of(name_of(views, "minute"))) == 60
    assert views.read(name_of(views, "minute"), "w59").shape == (1000,)
    assert len(views.keys()) == 8 * 3 + 1 + 60


@pytest.mark.parametrize(
    ("n_views", "starts"),
    [(1, [30]), (2, [15, 45]), (4, [7, 22, 37, 52]), (60, list(range(60))), (99, list(range(60)))],
)
def test_few_windows_of_a_long_clip_are_spread_over_it(corpora, n_views, starts):
    views = make_views(corpora, n_views=n_views)
    name = name_of(views, "minute")
    whole, _ = read_audio(views.items[name]["wav"])
    assert len(views.views_of(name)) == len(starts)
    for view, start_s in zip(views.views_of(name), starts, strict=True):
        np.testing.assert_array_equal(views.read(name, view), whole[start_s * RATE : (start_s + 1) * RATE])


def test_a_student_of_another_rate_hears_the_same_window(corpora):
    views = make_views(corpora)
    name = name_of(views, "c4")  # 208 Hz
    own, other = views.read(name, "w2"), views.read(name, "w2", sample_rate_hz=2000)
    assert other.shape == (2000,)
    inner = slice(100, 900)  # the ends of a part meet silence
    assert np.abs(other[::2][inner] - own[inner]).max() < 0.02


def test_memory_changes_samples_by_half_a_step_of_16_bits_at_most(corpora):
    views, kept = make_views(corpora), make_views(corpora, in_memory=True)
    name = name_of(views, "c3")
    for _ in range(2):
        assert np.abs(kept.read(name, "w1") - views.read(name, "w1")).max() <= 1 / 32767


def test_a_mixture_depends_on_seed_clip_and_view_alone(corpora):
    views, again = make_views(corpora, **MIXING), make_views(corpora, **MIXING)
    again.read("toy_train/c5", "m0")  # what was read before does not matter
    for name, view in views.keys()[::5]:
        np.testing.assert_array_equal(views.read(name, view), again.read(name, view))
    other_seed = make_views(corpora, **MIXING, seed=1)
    heard = [views.read("toy_train/c0", view) for view in views.views_of("toy_train/c0")]
    heard += [views.read("toy_train/c1", "m0"), other_seed.read("toy_train/c0", "m0")]
    assert len({sound.tobytes() for sound in heard}) == 5
    assert {(sound.dtype, sound.shape) for sound in heard} == {(np.dtype(np.float32), (1000,))}
    assert views.views_of("toy_train/short") == ["m0", "m1", "m2"]


def test_a_mixture_at_another_rate_is_the_same_mixture(corpora):
    views = make_views(corpora, **MIXING)
    own, other = views.read("toy_train/c2", "m1"), views.read("toy_train/c2", "m1", sample_rate_hz=2000)
    assert other.shape == (2000,)
    assert np.corrcoef(own[100:900], other[::2][100:900])[0, 1] > 0.98


def test_nothing_held_out_is_mixed_into_training_nor_the_other_way_round(corpora, monkeypatch):
    views, heard, read = make_views(corpora, **MIXING, valid_fraction=0.4), set(), ClipReader.__call__

    def note(self, path, *part):
        heard.add(path)
        return read(self, path, *part)

    monkeypatch.setattr(ClipReader, "__call__", note)
    for side, other in (views.sides, views.sides[::-1]):
        assert side and not {item["group"] for item in side.values()} & {item["group"] for item in other.values()}
        heard.clear()
        for key in views.keys(side):
            views.read(*key)
        assert heard and heard <= {item["wav"] for item in side.values()}


def test_views_by_manifest_say_all_that_decides_them(tmp_path, corpora):
    (part,) = make_views(corpora).parts().items()
    assert part[0] == "toy_train_windows" and len(part[1].keys) == 85
    wanted = {"kind": "windows", "sample_rate_hz": RATE, "window_s": 1.0, "n_views": None}
    assert part[1].description == {**wanted, "clips": clips_digest(corpora.manifests("train")[0][0])}
    mixtures = make_views(corpora, **MIXING, seed=4, valid_fraction=0.2).parts()["toy_train_mixtures"].description
    assert mixtures["seed"] == 4 and mixtures["valid_fraction"] == 0.2 and mixtures["augment"]["eq_db"] == 6.0
    assert mixtures["mixed_from"] == {"toy_train": mixtures["clips"]}
    twins = {"a": (1.0, 100, 0.1, {"captions": ["x"]})}, {"a": (1.0, 100, 0.1, {"captions": ["y"]})}
    digests = [
        clips_digest(make_corpora(tmp_path / str(number), train=clips).manifests("train")[0][0])
        for number, clips in enumerate((*twins, {"a": (1.1, 100, 0.1, {})}))
    ]
    assert digests[0] == digests[1] != digests[2], "other captions are heard the same, another duration is not"


def test_views_go_to_other_processes(corpora):
    views = make_views(corpora, **MIXING)
    wanted = views.read("toy_train/c1", "m2")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(views)).read("toy_train/c1", "m2"), wanted)


def test_views_of_no_corpus_have_no_clips():
    views = Views(None, RATE, 1.0)
    assert views.keys() == [] and views.parts() == {} and views.valid_items() == {} and views.sides == ({}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": FunctionMatchingAugment()}, "n_views=None"),
        ({"n_views": 0}, "n_views=0"),
        ({"valid_fraction": 1.0}, "valid_fraction=1.0"),
        ({"window_s": 0.0}, "window_s=0.0"),
    ],
)
def test_options_out_of_their_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Views(None, RATE, **{"window_s": 1.0, **options})


@pytest.mark.parametrize(("name", "view"), [("toy_train/c0", "w3"), ("toy_train/c0", "m0"), ("toy_train/none", "w0")])
def test_a_view_that_is_not_there_is_named(corpora, name, view):
    with pytest.raises(ManifestError, match=f"no view '{view}' of '{name}'"):
        make_views(corpora).read(name, view)
