"""Crops on a grid: where they are, that validation hears what it hears on the fly, and what a mixture is made of."""

import numpy as np
import pytest
from caption_run import RATE, captioned, make_corpora

from tinyclap.audio.io import read_audio
from tinyclap.data.augment import FunctionMatchingAugment, augment_if
from tinyclap.data.crop_views import CropViews
from tinyclap.data.pipeline import make_training_sets
from tinyclap.errors import ConfigError, ManifestError

VALID_FRACTION = 0.3
CLIP_S = 0.5


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    clips = {**captioned(12), "short": (0.3, 100, 0.2, {}), "just": (CLIP_S, 90, 0.2, {})}
    return make_corpora(tmp_path_factory.mktemp("corpus"), train=clips)


def make_views(corpora, **changes):
    return CropViews(corpora, RATE, CLIP_S, **{"n_views": 4, "seed": 3, "valid_fraction": VALID_FRACTION, **changes})


def a_training_clip(views):
    return next(name for name, item in views.sides[0].items() if item["duration_s"] == 2.5)


@pytest.mark.parametrize(
    ("n_views", "starts_s"),
    [(1, [1.0]), (2, [0.5, 1.5]), (4, [0.25, 0.75, 1.25, 1.75]), (8, [0.125 + place / 4 for place in range(8)])],
)
def test_crops_begin_at_the_middles_of_equal_shares_of_the_free_time(corpora, n_views, starts_s):
    views = make_views(corpora, n_views=n_views)
    name = a_training_clip(views)
    whole, _ = read_audio(views.items[name]["wav"])
    assert views.views_of(name) == [f"c{index}" for index in range(n_views)]
    for view, start_s in zip(views.views_of(name), starts_s, strict=True):
        first = round(start_s * RATE)
        np.testing.assert_array_equal(views.read(name, view), whole[first : first + 500])


@pytest.mark.parametrize(("clip", "n_samples"), [("short", 300), ("just", 500)])
def test_a_clip_no_longer_than_a_crop_has_one_that_is_tiled(corpora, clip, n_samples):
    views = make_views(corpora, valid_fraction=1e-9 + 0.2)
    name = next(name for name in views.items if name.endswith(f"/{clip}"))
    whole, _ = read_audio(views.items[name]["wav"])
    assert len(views.views_of(name)) == 1 and len(whole) == n_samples
    np.testing.assert_array_equal(views.read(name, views.views_of(name)[0]), np.resize(whole, 500))


def test_the_validation_crop_is_the_one_that_training_on_the_fly_validates_on(corpora):
    views = make_views(corpora)
    sets = make_training_sets(corpora, RATE, CLIP_S, 3, None, valid_fraction=VALID_FRACTION)
    assert list(views.sides[1]) == list(sets["valid"].data_ids) and len(views.sides[1]) >= 2
    for example in sets["valid"]:
        assert views.views_of(example["id"]) == ["v"]
        np.testing.assert_array_equal(views.read(example["id"], "v"), example["wav"].numpy())


def test_a_mixture_says_what_it_is_made_of_and_is_the_same_each_time(corpora):
    options = {"augment": FunctionMatchingAugment(mix_probability=1.0), "n_views": 6}
    views = make_views(corpora, **options)
    name = a_training_clip(views)
    notes = []
    for view in views.views_of(name):
        waveform, note = views.hear(name, view)
        again, note_again = make_views(corpora, **options).hear(name, view)
        np.testing.assert_array_equal(waveform, again)
        assert note == note_again and waveform.shape == (500,)
        assert len(note["with"]) == len(note["mix_db"]) in (1, 2)
        assert set(note["with"]) <= set(views.sides[0]), "nothing of the validation side is mixed in"
        assert all(-12 <= level <= 12 for level in note["mix_db"])
        notes.append(str(note))
    assert len(set(notes)) == 6


def test_noting_what_is_mixed_changes_no_sample(corpora):
    views = make_views(corpora, augment=augment_if(True), n_views=1)
    crops, name = views._crops[0], a_training_clip(views)
    for seed in range(8):
        noted = crops.at(name, np.random.default_rng(seed), {})
        np.testing.assert_array_equal(noted, crops.at(name, np.random.default_rng(seed)))


def test_the_parts_say_all_that_decides_a_view(corpora):
    ((name, part),) = make_views(corpora).parts().items()
    assert name == "toy_train_crops" and len({key for key in part.keys}) == len(part.keys)
    assert part.description["kind"] == "crops" and part.description["resampler"] == "soxr"
    changes = [{"n_views": 2}, {"seed": 4}, {"valid_fraction": 0.2}, {"short": "pad"}, {"augment": augment_if(True)}]
    others = [next(iter(make_views(corpora, **change).parts().values())).description for change in changes]
    assert all(other != part.description for other in others)
    assert augment_if(False) is None


def test_what_is_not_there_is_refused(corpora):
    views = make_views(corpora)
    with pytest.raises(ManifestError, match="no view 'c4'"):
        views.read(a_training_clip(views), "c4")
    with pytest.raises(ManifestError, match="no view 'c0' of 'toy_train/gone'"):
        views.read("toy_train/gone", "c0")
    with pytest.raises(ConfigError, match="at 1000 Hz, not at 500"):
        views.read(a_training_clip(views), "c0", 500)
    with pytest.raises(ConfigError, match="n_views=None"):
        make_views(corpora, n_views=None)
