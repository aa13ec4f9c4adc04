"""The built-in corpus: the same for the same seed, varied, balanced, and written once."""

from collections import Counter

import numpy as np
import pytest

from data_prep import soundscapes_prepare
from data_prep.signals import attack_decay, colored_noise, equalize, ring, tone
from data_prep.soundscapes_captions import PHRASES, captions_of
from data_prep.soundscapes_prepare import CLASSES, draw_scene, prepare_soundscapes, render_scene
from data_prep.soundscapes_synthesis import synthesize
from tinyclap.audio.io import read_audio
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError

SMALL = {"n_scenes": 24, "duration_s": 0.5, "sample_rate_hz": 16000}


def prepared(folder, split="train", **options):
    prepare_soundscapes(folder, folder / "m", split, **(SMALL | options))
    return read_manifest(folder / f"m/soundscapes_{split}.json", folder)


def test_scenes_have_the_length_and_rate_asked_for_three_captions_and_known_events(tmp_path):
    meta, items = prepared(tmp_path)
    assert len(items) == 24 and len(meta["classes"]) == 20
    for item in items:
        wav, rate = read_audio(item["wav"])
        assert (len(wav), rate) == (8000, 16000) and 0.1 < np.abs(wav).max() <= 1.0
        assert len(set(item["captions"])) == 3
        assert 1 <= len(item["events"]) <= 2 and set(item["events"]) <= set(CLASSES)
    assert {len(item["events"]) for item in items} == {1, 2}
    assert all("label" not in item for item in items)


def test_a_split_of_single_events_is_balanced_and_labelled(tmp_path):
    _, items = prepared(tmp_path, "test", n_per_class=2)
    assert Counter(item["label"] for item in items) == dict.fromkeys(CLASSES, 2)
    assert all(item["events"] == [item["label"]] and item["relation"] == "alone" for item in items)


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(tmp_path):
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        items = prepared(tmp_path / name, seed=seed, n_scenes=4).items
        contents.append(([item["wav"].read_bytes() for item in items], [item["captions"] for item in items]))
    assert contents[0] == contents[1]
    assert not set(contents[0][0]) & set(contents[2][0]) and contents[0][1] != contents[2][1]


def test_a_scene_does_not_depend_on_how_many_there_are_and_differs_between_splits(tmp_path):
    few = prepared(tmp_path, n_scenes=3).items
    many = prepared(tmp_path, n_scenes=6).items
    assert [item["wav"] for item in few] == [item["wav"] for item in many[:3]]
    assert [item["captions"] for item in few] == [item["captions"] for item in many[:3]]
    other = prepared(tmp_path, "valid", n_scenes=3).items
    assert not {item["wav"].read_bytes() for item in few} & {item["wav"].read_bytes() for item in other}


def test_a_second_run_writes_nothing_and_a_killed_one_goes_on(tmp_path, monkeypatch):
    items = prepared(tmp_path).items
    stats = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    written = []
    write = soundscapes_prepare._write
    monkeypatch.setattr(soundscapes_prepare, "_write", lambda path, *rest: (written.append(path), write(path, *rest)))
    prepared(tmp_path)
    assert written == [] and {path: path.stat().st_mtime_ns for path in stats} == stats
    before = items[5]["wav"].read_bytes()
    items[5]["wav"].unlink()
    prepared(tmp_path)
    assert written == [items[5]["wav"]] and items[5]["wav"].read_bytes() == before


def test_other_options_never_meet_old_files(tmp_path):
    old = {item["wav"] for item in prepared(tmp_path).items}
    new = {item["wav"] for item in prepared(tmp_path, duration_s=0.25).items}
    assert not old & new and all(path.exists() for path in old | new)


@pytest.mark.parametrize("name", CLASSES)
def test_every_sound_is_finite_varied_and_fits_any_length_and_rate(name):
    for n, rate in ((400, 8000), (8000, 16000), (4410, 44100)):
        wav = synthesize(name, np.random.default_rng(0), n, rate)
        assert wav.shape == (n,) and wav.dtype == np.float32 and np.isfinite(wav).all() and np.abs(wav).max() <= 1.0
    sounds = [synthesize(name, np.random.default_rng(seed), 16000, 16000) for seed in range(4)]
    assert all(np.abs(sound).max() > 0.99 for sound in sounds)
    correlations = np.abs(np.corrcoef(sounds)[np.triu_indices(4, 1)])
    assert correlations.max() < 0.9


def test_the_fainter_event_is_fainter_and_turns_are_in_turn():
    scenes = [draw_scene(np.random.default_rng(seed), 0, 2) for seed in range(60)]
    relations = Counter(scene.relation for scene in scenes)
    assert set(relations) == {"together", "faint", "in turn"} and min(relations.values()) >= 8
    for scene in scenes:
        (_, _, first_end), (gain_db, second_begin, _) = scene.placement
        assert scene.events[0] != scene.events[1]
        assert (gain_db <= -8) == (scene.relation == "faint")
        assert (first_end == second_begin) == (scene.relation == "in turn")


def test_a_scene_peaks_where_it_says():
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, 0)
    wav = render_scene(rng, scene, 8000, 16000)
    assert 20 * np.log10(np.abs(wav).max()) == pytest.approx(scene.peak_db, abs=0.01)


def test_captions_name_their_events_and_every_word_of_a_class_name_is_heard_in_some():
    assert set(PHRASES) == set(CLASSES)
    heard = set()
    for index, name in enumerate(CLASSES):
        other = CLASSES[(index + 1) % len(CLASSES)]
        for seed in range(40):
            rng = np.random.default_rng(seed)
            for relation, events in (("alone", [name]), ("together", [name, other]), ("in turn", [name, other])):
                captions = captions_of(rng, events, relation)
                assert len(set(captions)) == 3 and not any(mark in "".join(captions) for mark in "{}_")
                heard |= set(" ".join(captions).replace(",", "").split())
    assert {word for name in CLASSES for word in name.split("_")} <= heard


def test_events_in_turn_are_told_in_their_order():
    for seed in range(20):
        for caption in captions_of(np.random.default_rng(seed), ["rain", "siren"], "in turn"):
            assert caption.index("rain") < caption.index("siren"), caption


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_scenes": 0}, "n_scenes is 0"),
        ({"n_events": 3}, "n_events is 3; it can be 1, 2 or None"),
        ({"seed": -1}, "seed is -1"),
        ({"duration_s": 0.1}, "duration_s is 0.1"),
        ({"sample_rate_hz": 100}, "sample_rate_hz is 100"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, option, message):
    with pytest.raises(ConfigError, match=message):
        prepared(tmp_path, **option)
    assert not list(tmp_path.iterdir())


def test_noise_lies_in_its_band_and_tilts_as_asked():
    noise = colored_noise(np.random.default_rng(0), 2**16, 16000, 1000, 2000)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(2**16, 1 / 16000)
    middle, below = (power[(hertz > 0.95 * f) & (hertz < 1.05 * f)].mean() for f in (1414, 500))
    # 1 / ((1 + (1000/f)^4) (1 + (f/2000)^4)) is 0.64 in the middle and 0.0586 an octave below the band
    assert middle / below == pytest.approx(0.64 / 0.0586, rel=0.15)
    brown = np.abs(np.fft.rfft(colored_noise(np.random.default_rng(0), 2**16, 16000, 20, 8000, -6.02))) ** 2
    octaves = [brown[(hertz >= low) & (hertz < 2 * low)].mean() for low in (500, 1000, 2000)]
    # an octave halves the amplitude, so it quarters the power
    np.testing.assert_allclose(np.diff(np.log2(octaves)), -2, atol=0.35)


def test_a_tone_has_its_harmonics_and_none_above_the_limit():
    wav = tone(np.full(16000, 1000.0), 16000, [1.0, 0.5, 0.0, 0.25, 0, 0, 0, 9.0])
    spectrum = 2 * np.abs(np.fft.rfft(wav)) / 16000
    np.testing.assert_allclose(spectrum[[1000, 2000, 3000, 4000]], [1.0, 0.5, 0.0, 0.25], atol=1e-3)
    assert spectrum[4500:].max() < 1e-3


def test_envelope_and_ring_decay_as_asked():
    envelope = attack_decay(1000, 1000, 0.1, 0.2)
    assert envelope[100] == pytest.approx(1.0, abs=1e-3) and envelope[300] == pytest.approx(np.exp(-1), abs=1e-2)
    bell = ring(np.random.default_rng(0), 16000, 1.0, (500.0, 9000.0), (0.1, 0.1), (1.0, 1.0))
    # 9 kHz is above 0.45 of the rate
    assert np.abs(np.fft.rfft(bell)).argmax() == pytest.approx(500, abs=3)
    assert np.abs(bell[1600:3200]).max() / np.abs(bell[:1600]).max() == pytest.approx(np.exp(-1), rel=0.1)


def test_a_recorder_colours_by_no_more_than_it_may():
    impulse = np.zeros(4096, np.float32)
    impulse[0] = 1.0
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(equalize(np.random.default_rng(0), impulse, 16000, 10.0))))
    assert 3 < np.abs(gain_db).max() <= 10.01
