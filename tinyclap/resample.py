"""Change the sample rate of waveforms, with torch alone.

Source: J. O. Smith, "Digital Audio Resampling" (bandlimited interpolation). The sizes are those that torchaudio uses by
default, so that published models hear what they heard; soxr is offered where quality counts more than equality.
"""

import functools
import math

import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError

_ZERO_CROSSINGS = 6  # of the sinc on each side that the Hann window keeps
_ROLLOFF = 0.99  # cut-off as a share of the lower Nyquist frequency
_MAX_KERNEL_NUMEL = 8_000_000  # beyond this (rates with a small common divisor) weights are made as they are used


def resample(wavs, from_hz, to_hz, method="sinc"):
    """Resample waveforms by the named method.

    Arguments
    ---------
    wavs : torch.Tensor, shape (..., T)
        Waveforms at `from_hz`.
    from_hz, to_hz : int
        Sample rates before and after.
    method : {"sinc", "soxr"}
        "sinc" is :func:`sinc_resample` (differentiable, any device; 46 dB SNR); "soxr" is SoX's HQ setting
        (83 dB, on the CPU, no gradient).

    Returns
    -------
    torch.Tensor, shape (..., T')
        T' = ceil(T · to_hz / from_hz), give or take one sample for "soxr".

    Raises
    ------
    ConfigError
        The method is unknown or a rate is not a positive whole number.

    Example
    -------
    >>> resample(torch.zeros(2, 441), 44100, 32000, method="soxr").shape
    torch.Size([2, 320])
    """
    if method == "sinc":
        return sinc_resample(wavs, from_hz, to_hz)
    if method != "soxr":
        raise ConfigError(f"resampling method {method!r} is neither 'sinc' nor 'soxr'")
    from_hz, to_hz = _whole(from_hz), _whole(to_hz)
    if from_hz == to_hz or wavs.numel() == 0:
        return wavs
    import soxr

    rows = wavs.detach().to("cpu", torch.float32).reshape(-1, wavs.shape[-1]).numpy()
    done = [torch.from_numpy(soxr.resample(row, from_hz, to_hz, quality="HQ")) for row in rows]
    return torch.stack(done).reshape(*wavs.shape[:-1], -1).to(wavs.device, wavs.dtype)


def sinc_resample(wavs, from_hz, to_hz):
    """Resample by a Hann-windowed sinc of 6 zero crossings a side, cut off at 0.99 of the lower Nyquist frequency.

    Arguments
    ---------
    wavs : torch.Tensor, shape (..., T)
        Waveforms at `from_hz`, floating point.
    from_hz, to_hz : int
        Sample rates before and after.

    Returns
    -------
    torch.Tensor, shape (..., T')
        T' = ceil(T · to_hz / from_hz).

    Raises
    ------
    ConfigError
        A rate is not a positive whole number.

    Notes
    -----
    With o and n the two rates divided by their common divisor, output sample j is at x = j·o/n input samples and

        y_j = c · Σ_i x_i · sinc(c·(i − x)) · cos²(π·c·(i − x) / 12),   c = 0.99·min(o, n)/o,   |c·(i − x)| ≤ 6.

    Equal to ``torchaudio.functional.resample`` with its defaults to 1e-6 of full scale. The kernel of a pair of rates
    is kept, so that a batch costs one strided convolution.

    Example
    -------
    >>> sinc_resample(torch.zeros(2, 3, 441), 44100, 32000).shape
    torch.Size([2, 3, 320])
    """
    from_hz, to_hz = _whole(from_hz), _whole(to_hz)
    if from_hz == to_hz or wavs.numel() == 0:
        return wavs
    divisor = math.gcd(from_hz, to_hz)
    n_from, n_to = from_hz // divisor, to_hz // divisor
    rows = wavs.reshape(-1, wavs.shape[-1])
    n_out = -(-rows.shape[1] * n_to // n_from)
    if n_to * (n_from + 2 * _half_width(n_from, n_to)) > _MAX_KERNEL_NUMEL:
        done = _resample_direct(rows, n_from, n_to, n_out)
    else:
        kernel, half_width = _kernel(n_from, n_to, wavs.device, wavs.dtype)
        padded = F.pad(rows, (half_width, half_width + n_from))
        phases = F.conv1d(padded[:, None], kernel, stride=n_from)
        done = phases.transpose(1, 2).reshape(rows.shape[0], -1)[:, :n_out]
    return done.reshape(*wavs.shape[:-1], n_out)


def _whole(rate_hz):
    if int(rate_hz) != rate_hz or rate_hz <= 0:
        raise ConfigError(f"a sample rate is a positive whole number of Hz, not {rate_hz}")
    return int(rate_hz)


def _half_width(n_from, n_to):
    return math.ceil(_ZERO_CROSSINGS * n_from / (_ROLLOFF * min(n_from, n_to)))


def _weights(distance, n_from, n_to):
    """Return the interpolation weight of an input sample `distance` (in input samples, float64) from the output."""
    cutoff = _ROLLOFF * min(n_from, n_to) / n_from
    x = (distance * cutoff).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    return cutoff * torch.sinc(x) * torch.cos(x * (math.pi / (2 * _ZERO_CROSSINGS))) ** 2


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # a kept kernel must also serve a later call that has gradients
def _kernel(n_from, n_to, device, dtype):
    """Return the (n_to, 1, n_from + 2·half_width) kernel, one row for each phase of the output, and half_width."""
    half_width = _half_width(n_from, n_to)
    # In the waveform's own precision, times in units of n_from inputs, as torchaudio does: in float32 that costs
    # 3e-5 of full scale against float64, but what published models heard is then matched to the last bits.
    precision = torch.promote_types(dtype, torch.float32)
    inputs = torch.arange(-half_width, half_width + n_from, dtype=precision) / n_from
    outputs = torch.arange(0, -n_to, -1, dtype=precision) / n_to
    lower = _ROLLOFF * min(n_from, n_to)
    x = ((outputs[:, None] + inputs[None, :]) * lower).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = torch.cos(x * math.pi / _ZERO_CROSSINGS / 2) ** 2
    angle = x * math.pi
    sinc = torch.where(angle == 0, torch.ones_like(angle), angle.sin() / angle)
    return (sinc * window * (lower / n_from))[:, None].to(device=device, dtype=dtype), half_width


def _resample_direct(rows, n_from, n_to, n_out, chunk=16384):
    """The same sum without a stored kernel: weights of `chunk` outputs at a time, only where they are not zero."""
    half_width = _half_width(n_from, n_to)
    padded = F.pad(rows, (half_width, half_width + 2))
    taps = torch.arange(2 * half_width + 2, device=rows.device)
    done = []
    for start in range(0, n_out, chunk):
        outputs = torch.arange(start, min(start + chunk, n_out), device=rows.device) * n_from
        index = (outputs // n_to)[:, None] + taps  # in padded, so input sample i is at i + half_width
        fraction = (outputs % n_to).to(torch.float64) / n_to
        distance = (taps - half_width).to(torch.float64)[None, :] - fraction[:, None]
        weights = _weights(distance, n_from, n_to).to(rows.dtype)
        index = index.clamp(max=padded.shape[1] - 1)  # beyond the end weights meet the zeros of the padding
        done.append((padded[:, index] * weights).sum(-1))
    return torch.cat(done, dim=1)
