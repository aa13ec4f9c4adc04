"""Resampling of torch tensors.

Source: J. O. Smith, "Digital Audio Resampling" (bandlimited interpolation), with torchaudio's default sizes.
"""

import functools

import torch
import torch.nn.functional as F

from tinyclap.audio.resample import (
    RESAMPLERS,
    direct_padding,
    direct_parts,
    kernel_is_too_large,
    lowest_terms,
    resample_array,
    sinc_kernel,
    whole_hz,
)
from tinyclap.errors import ConfigError


def resample(wavs, from_hz, to_hz, method="sinc"):
    """Resample waveforms (..., T) to (..., ceil(T · to_hz / from_hz)), give or take a sample for "soxr".

    Arguments
    ---------
    wavs : torch.Tensor, shape (..., T)
    from_hz, to_hz : int
    method : {"sinc", "soxr"}. :func:`sinc_resample` (differentiable, any device; 46 dB SNR), or SoX's HQ (CPU; 83 dB).
    """
    if method == "sinc":
        return sinc_resample(wavs, from_hz, to_hz)
    if method not in RESAMPLERS:
        raise ConfigError(f"resampling method {method!r} is none of {', '.join(RESAMPLERS)}")
    if whole_hz(from_hz) == whole_hz(to_hz) or wavs.numel() == 0:
        return wavs
    rows = wavs.detach().to("cpu", torch.float32).reshape(-1, wavs.shape[-1]).numpy()
    done = [torch.from_numpy(resample_array(row, from_hz, to_hz, method)) for row in rows]
    return torch.stack(done).reshape(*wavs.shape[:-1], -1).to(wavs.device, wavs.dtype)


def sinc_resample(wavs, from_hz, to_hz):
    """Resample floating-point waveforms (..., T) by a Hann-windowed sinc, to (..., ceil(T · to_hz / from_hz)).

    With o and n the two rates divided by their common divisor, output sample j is at x = j·o/n input samples and

        y_j = c · Σ_i x_i · sinc(c·(i − x)) · cos²(π·c·(i − x) / 12),   c = 0.99·min(o, n)/o,   |c·(i − x)| ≤ 6.

    Equal to ``torchaudio.functional.resample`` with its defaults to 1e-6 of full scale; kernels are cached.
    """
    from_hz, to_hz = whole_hz(from_hz), whole_hz(to_hz)
    if from_hz == to_hz or wavs.numel() == 0:
        return wavs
    n_from, n_to = lowest_terms(from_hz, to_hz)
    rows = wavs.reshape(-1, wavs.shape[-1])
    n_out = -(-rows.shape[1] * n_to // n_from)
    if kernel_is_too_large(n_from, n_to):
        done = _resample_direct(rows, n_from, n_to, n_out)
    else:
        kernel, half_width = _kernel(n_from, n_to, wavs.device, wavs.dtype)
        padded = F.pad(rows, (half_width, half_width + n_from))
        phases = F.conv1d(padded[:, None], kernel, stride=n_from)
        done = phases.transpose(1, 2).reshape(rows.shape[0], -1)[:, :n_out]
    return done.reshape(*wavs.shape[:-1], n_out)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # a cached kernel must serve a later call with gradients
def _kernel(n_from, n_to, device, dtype):
    """The kernel (n_to, 1, n_from + 2·half_width), one row for each phase of the output, and half_width."""
    precision = "float64" if dtype == torch.float64 else "float32"
    kernel, half_width = sinc_kernel(n_from, n_to, precision)
    return torch.tensor(kernel, device=device, dtype=dtype)[:, None], half_width


def _resample_direct(rows, n_from, n_to, n_out):
    """The same sum for kernels too large to store: weights of some outputs at a time."""
    padded = F.pad(rows, direct_padding(n_from, n_to))
    done = []
    for index, weights in direct_parts(n_from, n_to, n_out):
        index = torch.from_numpy(index).to(rows.device).clamp(max=padded.shape[1] - 1)
        done.append((padded[:, index] * torch.from_numpy(weights).to(rows)).sum(-1))
    return torch.cat(done, dim=1)
