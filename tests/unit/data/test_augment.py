"""Altered audio: the right length and level, a function of its generator, and each part does what it says."""

import numpy as np
import pytest

from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.errors import ConfigError

NOTHING = {f"{name}_probability": 0.0 for name in ("speed", "eq", "mix", "splice", "noise")}
LOUD = {**NOTHING, "level_db": (-20.0, -20.0)}
N = 4000


def tone(cycles):
    """A source of tones with `cycles` cycles in N samples, whatever length is asked for."""
    return lambda n_samples: np.sin(2 * np.pi * cycles * np.arange(n_samples) / N).astype(np.float32)


def altered(options, crop=None, another=None, n_samples=N, seed=0):
    return FunctionMatchingAugment(**options)(
        crop or tone(40), another or tone(400), n_samples, np.random.default_rng(seed)
    )


def spectrum(waveform):
    return np.abs(np.fft.rfft(waveform)) / len(waveform)


def rms(waveform):
    return np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))


def test_with_nothing_switched_on_only_the_level_changes():
    wav = altered(LOUD)
    np.testing.assert_allclose(wav, tone(40)(N) / rms(tone(40)(N)) * 0.1, atol=1e-6)


def test_the_level_is_within_its_range():
    levels = [20 * np.log10(rms(altered({**NOTHING, "level_db": (-42.0, -8.0)}, seed=seed))) for seed in range(30)]
    assert -42.01 < min(levels) < -35 and -15 < max(levels) < -7.99


@pytest.mark.parametrize("n_samples", [1, 2, 7, 1000, 1001])
def test_what_comes_out_has_the_length_asked_for_and_stays_in_range(n_samples):
    for seed in range(20):
        options = {f"{name}_probability": 0.7 for name in ("speed", "eq", "mix", "splice", "noise")}
        wav = altered({**options, "level_db": (-8.0, 12.0)}, n_samples=n_samples, seed=seed)
        assert wav.shape == (n_samples,) and wav.dtype == np.float32
        assert np.isfinite(wav).all() and np.abs(wav).max() <= 1


def test_it_is_a_function_of_its_generator():
    options = {f"{name}_probability": 0.5 for name in ("speed", "eq", "mix", "splice", "noise")}
    assert np.array_equal(altered(options, seed=5), altered(options, seed=5))
    assert not np.array_equal(altered(options, seed=5), altered(options, seed=6))


def test_silence_stays_finite():
    options = {f"{name}_probability": 1.0 for name in ("speed", "eq", "mix", "noise")}
    silent = lambda n_samples: np.zeros(n_samples, np.float32)  # noqa: E731
    for chosen in (LOUD, options):
        assert np.isfinite(altered(chosen, silent, silent)).all()


def test_speed_moves_the_pitch_and_keeps_the_length():
    wav = altered({**LOUD, "speed_probability": 1.0, "speed_range": (1.25, 1.25)})
    assert len(wav) == N and spectrum(wav).argmax() == 50


def test_a_mixture_holds_both_clips_at_the_level_asked_for():
    options = {**LOUD, "mix_probability": 1.0, "mix_db": (-6.0, -6.0)}
    magnitude = next(s for s in (spectrum(altered(options, seed=seed)) for seed in range(9)) if s[400] < s[40])
    assert 20 * np.log10(magnitude[400] / magnitude[40]) == pytest.approx(-6.0, abs=0.1)


def test_a_splice_ends_with_the_other_clip():
    wav = altered({**LOUD, "splice_probability": 1.0})
    start, end = spectrum(wav[: N // 5]), spectrum(wav[4 * N // 5 :])
    assert start.argmax() == 8 and end.argmax() == 80  # a fifth of 40 and of 400 cycles
    assert rms(wav[4 * N // 5 :]) == pytest.approx(rms(wav[: N // 5]), rel=0.05)


def test_the_sources_are_not_written_to():
    source, other = tone(40)(N), tone(400)(N)
    before = source.copy(), other.copy()
    for seed in range(10):
        options = {"eq_probability": 0.5, "splice_probability": 1.0, "mix_probability": 0.3}
        altered({**LOUD, **options}, lambda _: source, lambda _: other, seed=seed)
    assert np.array_equal(source, before[0]) and np.array_equal(other, before[1])


def test_noise_has_the_level_asked_for():
    wav = altered({**LOUD, "noise_probability": 1.0, "noise_db": (-20.0, -20.0)})
    magnitude = spectrum(wav)
    signal, noise = magnitude[40], np.sqrt(np.sum(np.delete(magnitude, 40) ** 2))
    assert 20 * np.log10(noise / signal) == pytest.approx(-20, abs=1.0)


def test_the_equaliser_changes_gains_by_its_spread():
    rng = np.random.default_rng(1)
    white = rng.standard_normal(N).astype(np.float32)
    reference = spectrum(white)
    spreads = {}
    for eq_db in (3.0, 12.0):
        options = {**LOUD, "eq_probability": 1.0, "eq_db": eq_db}
        gains = [
            20 * np.log10(spectrum(altered(options, lambda _: white, seed=s))[1:-1] / reference[1:-1])
            for s in range(20)
        ]
        spreads[eq_db] = np.mean([gain.std() for gain in gains])
    assert spreads[12.0] == pytest.approx(4 * spreads[3.0], rel=0.1)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_probability_outside_its_range_is_refused(value):
    with pytest.raises(ConfigError, match="mix_probability"):
        FunctionMatchingAugment(mix_probability=value)


def test_its_options_are_what_it_was_given_for_the_record():
    options = FunctionMatchingAugment(eq_db=3.0).options
    assert options["eq_db"] == 3.0 and options["speed_range"] == (0.7, 1.4) and "self" not in options
