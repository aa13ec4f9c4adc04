"""What torch and numpy share gives the same windows and the same resampled waveform in both."""

import numpy as np
import pytest
import torch

from tinyclap.audio.resample import kernel_is_too_large, resample_array, sinc_kernel
from tinyclap.audio.windows import WindowPolicy, mono, window_batches
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.resample import resample


@pytest.mark.parametrize("short", ["tile", "pad", "native"])
@pytest.mark.parametrize("n_samples", [1, 30, 99, 100, 104, 106, 350])
def test_arrays_and_tensors_are_cut_alike(short, n_samples):
    clip = np.arange(1, n_samples + 1, dtype=np.float32)
    policy = WindowPolicy(window_s=1.0, short=short, min_s=0.5)
    ours, theirs = policy.cut(clip, 100), policy.cut(torch.from_numpy(clip), 100)
    assert ours.tolist() == theirs.tolist() and ours.shape[1] == policy.length(n_samples, 100)


def test_the_length_of_a_short_clip_s_window_by_hand():
    native = WindowPolicy(window_s=1.0, short="native", min_s=0.5)
    assert [native.length(n, 100) for n in (1, 49, 50, 80, 100, 700)] == [50, 50, 50, 80, 100, 100]
    assert WindowPolicy(window_s=1.0).length(1, 100) == 100


def test_a_clip_of_one_window_is_not_copied():
    clip = np.zeros(104, np.float32)
    assert np.shares_memory(WindowPolicy(window_s=1.0).cut(clip, 100), clip)


def test_batches_hold_windows_of_one_length_and_say_whose_they_are():
    clips = [np.zeros(60), np.zeros(250), np.zeros(60)]
    policy = WindowPolicy(window_s=1.0, short="native", min_s=0.1)
    batches = list(window_batches(clips, 100, policy, batch_size=2))
    assert [owners for owners, _ in batches] == [[0, 2], [1, 1], [1]]
    assert all(len({window.shape for window in windows}) == 1 for _, windows in batches)


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(AudioError, match="its type is bool"):
        mono(np.zeros(3, bool), np.float32, "the clip")


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 32000), (22050, 16000), (8000, 44100), (11127, 44101)])
@pytest.mark.parametrize("method", ["sinc", "soxr"])
def test_numpy_resamples_as_torch_does(from_hz, to_hz, method):
    wav = np.random.default_rng(0).uniform(-1, 1, 3001).astype(np.float32)
    ours, theirs = resample_array(wav, from_hz, to_hz, method), resample(torch.from_numpy(wav), from_hz, to_hz, method)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_a_kernel_s_phases_pass_a_constant_and_cannot_be_changed():
    kernel, half_width = sinc_kernel(441, 320, "float64")
    assert kernel.shape == (320, 441 + 2 * half_width)
    np.testing.assert_allclose(kernel.sum(axis=1), 1, atol=2e-2)
    with pytest.raises(ValueError, match="read-only"):
        kernel[0, 0] = 1
    assert kernel_is_too_large(11127, 44101) and not kernel_is_too_large(441, 320)


def test_equal_rates_change_nothing_and_an_unknown_method_is_refused():
    wav = np.zeros(5, np.float32)
    assert resample_array(wav, 8000, 8000) is wav
    with pytest.raises(ConfigError, match="'sox'"):
        resample_array(wav, 8000, 16000, "sox")
