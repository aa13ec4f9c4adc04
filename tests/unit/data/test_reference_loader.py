"""The public codes' ways to read a clip to be scored: numbers by hand, and the same place each time."""

import numpy as np
import pytest
import soundfile

from tests import fakes
from tinyclap.audio.io import read_channels
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.scoring import make_test_set
from tinyclap.data.reference_loader import ReferenceLoader, make_loader
from tinyclap.errors import AudioError, ConfigError

STEREO = np.array([[1, 2, 3], [10, 20, 30]], np.float32)


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
    assert make_loader("ours", 1) is None
    with pytest.raises(ConfigError, match="'theirs' is unknown; choose one of ours, official, msclap"):
        make_loader("theirs", 1)


def test_a_test_set_is_read_as_asked_and_says_so(tmp_path):
    from data_prep import esc50_prepare

    root = fakes.esc50(tmp_path, classes=("dog", "pig"), folds=(1,), n_per_fold=1, duration_s=0.3)
    first = sorted((root / "audio").iterdir())[0]
    mono, rate = soundfile.read(first, dtype="float32")
    soundfile.write(first, np.stack([mono, mono / 2], axis=1), rate)
    part = {"split": "test", "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, esc50_prepare.prepare_esc50, test=part)], tmp_path)
    corpora.prepare()
    ours, meta = make_test_set(corpora)
    assert "loader" not in meta["options"]
    official, meta = make_test_set(corpora, make_loader("official", 7))
    assert (meta["options"]["loader"], meta["options"]["loader_seed"]) == ("official", 7)
    index = [str(example["item"]["wav"]) for example in ours].index(str(first))
    one, other = ours[index]["wav"], official[index]["wav"]
    assert len(other) == 5 * ours[index]["rate"] and not other[len(one) :].any()
    np.testing.assert_allclose(other[: len(one)], 2 * one, atol=1e-6)
