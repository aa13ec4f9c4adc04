"""The resampler by products: its sum by definition, its error on a sweep, its lengths, and what it refuses."""

import math

import numpy as np
import pytest
import soundfile

from tinyclap.audio.banded_resample import banded_resample
from tinyclap.audio.io import read_audio
from tinyclap.errors import ConfigError

RATES = [(44100, 32000), (44100, 16000), (16000, 44100), (48000, 32000), (8000, 44100), (22050, 44100), (44100, 11025)]


def by_definition(wav, from_hz, to_hz):
    """The formula of the docstring, output by output, in float64."""
    cutoff = 0.94 * min(from_hz, to_hz) / from_hz
    resampled = []
    for j in range(math.ceil(len(wav) * to_hz / from_hz)):
        place = j * from_hz / to_hz
        near = np.arange(math.ceil(place - 32 / cutoff), math.floor(place + 32 / cutoff) + 1)
        x = (near - place) * cutoff
        weights = np.sinc(x) * np.i0(9.0 * np.sqrt(np.clip(1 - (x / 32) ** 2, 0, None)))
        heard = (near >= 0) & (near < len(wav))
        resampled.append((wav[near[heard]] * weights[heard]).sum() / weights.sum())
    return np.array(resampled)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("n_samples", [1, 50, 441, 700])
def test_it_is_the_sum_of_its_definition(from_hz, to_hz, n_samples):
    wav = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    resampled, exact = banded_resample(wav, from_hz, to_hz), by_definition(wav, from_hz, to_hz)
    assert resampled.shape == exact.shape and resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, exact, atol=2e-6)


@pytest.mark.parametrize("to_hz", [32000, 16000])
def test_a_sweep_comes_out_with_an_error_90_db_down(to_hz):
    def sweep(rate_hz):
        times_s = np.arange(2 * rate_hz) / rate_hz
        return 0.5 * np.sin(2 * np.pi * (20 * times_s + 0.85 * to_hz / 8 * times_s**2))  # to 0.85 of the new Nyquist

    exact = sweep(to_hz)
    wrong = banded_resample(sweep(44100).astype(np.float32), 44100, to_hz) - exact
    inner = slice(to_hz // 10, -to_hz // 10)
    assert 10 * np.log10((exact[inner] ** 2).sum() / (wrong[inner] ** 2).sum()) > 90


def test_what_the_new_rate_cannot_hold_is_gone():
    tone = np.sin(2 * np.pi * 18000 * np.arange(44100) / 44100).astype(np.float32)
    assert np.abs(banded_resample(tone, 44100, 32000)[2000:-2000]).max() < 1e-4


def test_equal_rates_and_empty_waveforms_pass_and_the_input_stays():
    wav = np.ones(100, np.float32)
    assert banded_resample(wav, 16000, 16000) is wav
    assert banded_resample(wav[:0], 44100, 16000).size == 0
    banded_resample(wav, 44100, 16000)
    assert (wav == 1).all()


def test_rates_that_cannot_be_are_refused():
    wav = np.ones(10, np.float32)
    with pytest.raises(ConfigError, match="positive whole number"):
        banded_resample(wav, 0, 16000)
    with pytest.raises(ConfigError, match="positive whole number"):
        banded_resample(wav, 44100.5, 16000)
    with pytest.raises(ConfigError, match="resample by 'soxr'"):
        banded_resample(wav, 191999, 96001)


def test_recordings_are_read_through_it_when_asked(tmp_path):
    path = tmp_path / "tone.wav"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 44100).astype(np.float32)
    soundfile.write(path, tone, 44100, subtype="FLOAT")
    wav, rate_hz = read_audio(path, 16000, start_s=0.1, resampler="banded")
    assert rate_hz == 16000
    np.testing.assert_array_equal(wav, banded_resample(tone[4410:], 44100, 16000))
    by_soxr = read_audio(path, 16000, start_s=0.1)[0]
    assert 0 < np.abs(wav - by_soxr)[500:-500].max() < 1e-4
    with pytest.raises(ConfigError, match="resampler 'linear'"):
        read_audio(path, 16000, resampler="linear")
