"""Resampling equals torchaudio's default where published models were heard through it, and is sane elsewhere."""

import math

import pytest
import torch
import torchaudio

from tinyclap.errors import ConfigError
from tinyclap.features import resample as module
from tinyclap.features.resample import resample, sinc_resample


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "n_samples"),
    [(44100, 32000, 22054), (22050, 32000, 5001), (16000, 44100, 777), (48000, 44100, 9999), (8000, 44100, 400),
     (44100, 16000, 1), (32000, 44100, 5)],
)  # fmt: skip
def test_sinc_equals_torchaudio_s_default(from_hz, to_hz, n_samples):
    torch.manual_seed(n_samples)
    wavs = torch.rand(2, n_samples) * 2 - 1
    theirs = torchaudio.functional.resample(wavs, from_hz, to_hz)
    torch.testing.assert_close(sinc_resample(wavs, from_hz, to_hz), theirs, atol=1e-6, rtol=0)


def test_equal_rates_change_nothing():
    wavs = torch.rand(3, 10)
    assert sinc_resample(wavs, 8000, 8000) is wavs
    assert resample(wavs, 8000, 8000, "soxr") is wavs


def test_length_is_rounded_up_and_leading_dimensions_are_kept():
    assert sinc_resample(torch.zeros(2, 3, 1001), 44100, 32000).shape == (2, 3, math.ceil(1001 * 320 / 441))


@pytest.mark.parametrize("method", ["sinc", "soxr"])
def test_a_tone_stays_the_same_tone(method):
    t_from, t_to = torch.arange(44100) / 44100, torch.arange(32000) / 32000
    done = resample(torch.sin(2 * math.pi * 1000 * t_from)[None], 44100, 32000, method)[0]
    middle = slice(1000, -1000)
    assert (done - torch.sin(2 * math.pi * 1000 * t_to))[middle].abs().max() < 2e-3


def test_what_is_above_the_new_nyquist_frequency_is_removed():
    t = torch.arange(44100) / 44100
    assert sinc_resample(torch.sin(2 * math.pi * 15000 * t), 44100, 16000)[100:-100].abs().max() < 2e-2


def test_rates_without_a_common_divisor_need_no_giant_kernel():
    wav = torch.sin(2 * math.pi * 440 * torch.arange(11127) / 11127)
    done = sinc_resample(wav, 11127, 44101)
    expected = torch.sin(2 * math.pi * 440 * torch.arange(44101) / 44101)
    assert done.shape == (44101,)
    assert (done - expected)[1000:-1000].abs().max() < 5e-3


def test_both_ways_to_compute_the_sum_agree():
    torch.manual_seed(0)
    wavs = torch.rand(2, 3000) * 2 - 1
    direct = module._resample_direct(wavs, 441, 320, math.ceil(3000 * 320 / 441))
    torch.testing.assert_close(direct, sinc_resample(wavs, 44100, 32000), atol=5e-5, rtol=0)


def test_a_kernel_made_in_inference_mode_serves_training_later():
    module._kernel.cache_clear()
    with torch.inference_mode():
        sinc_resample(torch.rand(1, 100), 12000, 9000)
    wavs = torch.rand(1, 100, requires_grad=True)
    sinc_resample(wavs, 12000, 9000).sum().backward()
    assert wavs.grad is not None


@pytest.mark.parametrize("rate_hz", [0, -8000, 44100.5])
def test_rates_that_mean_nothing_are_refused(rate_hz):
    with pytest.raises(ConfigError, match="whole number of Hz"):
        sinc_resample(torch.zeros(10), 8000, rate_hz)


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="'sox'"):
        resample(torch.zeros(10), 8000, 16000, "sox")
