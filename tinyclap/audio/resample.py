"""Resampling of numpy arrays: torchaudio's sinc kernel, which published models were trained with, or soxr. No torch.

Source: J. O. Smith, "Digital Audio Resampling". :mod:`tinyclap.features.resample` uses the same weights in torch.
"""

import functools
import math

import numpy as np

from tinyclap.errors import ConfigError

RESAMPLERS = ("sinc", "soxr")
_ZERO_CROSSINGS = 6  # of the sinc on each side that the Hann window keeps
_ROLLOFF = 0.99  # cut-off relative to the lower Nyquist frequency
_MIN_OUTPUTS = 32  # of a block of numpy's resampler
_COPIED_AT_ONCE = 1 << 18  # samples: what it multiplies stays in the cache
_MAX_KEPT_WEIGHTS = 16_000_000  # of a period, for any two rates
_MAX_KERNEL_SIZE = 8_000_000  # beyond this (rates with a small common divisor) weights are made as they are used


def resample_array(wav, from_hz, to_hz, method="sinc"):
    """Resample one waveform; the same as :func:`tinyclap.features.resample.resample` to 1e-6 of full scale.

    Arguments
    ---------
    wav : numpy.ndarray, shape (T,), float32. At `from_hz`.
    from_hz, to_hz : int. Sample rates before and after.
    method : {"sinc", "soxr"}. See :func:`tinyclap.features.resample.resample`.
    """
    if method not in RESAMPLERS:
        raise ConfigError(f"resampling method {method!r} is none of {', '.join(RESAMPLERS)}")
    from_hz, to_hz = whole_hz(from_hz), whole_hz(to_hz)
    if from_hz == to_hz or wav.size == 0:
        return wav
    if method == "soxr":
        import soxr

        return soxr.resample(wav, from_hz, to_hz, quality="HQ")
    n_from, n_to = lowest_terms(from_hz, to_hz)
    n_out = -(-wav.shape[0] * n_to // n_from)
    if kernel_is_too_large(n_from, n_to):
        parts = direct_parts(n_from, n_to, n_out)
        before, after = direct_padding(n_from, n_to)
        padded = np.pad(wav, (before, after))
        sums = [(padded[index.clip(max=padded.size - 1)] * weights).sum(-1) for index, weights in parts]
        return np.concatenate(sums).astype(wav.dtype)
    kernel, half_width, n_from = _wide_kernel(n_from, n_to)
    padded = np.pad(wav, (half_width, half_width + n_from))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[1])[::n_from]
    n_rows = max(1, _COPIED_AT_ONCE // kernel.shape[1])
    # copied, some at a time: matrix products take the slow way round where rows overlap in memory
    parts = [np.ascontiguousarray(blocks[at : at + n_rows]) @ kernel.T for at in range(0, len(blocks), n_rows)]
    return np.concatenate(parts).reshape(-1)[:n_out]


@functools.lru_cache(maxsize=8)
def _wide_kernel(n_from, n_to):
    """The same weights for a block of several periods, where one has few outputs: (weights, half width, its inputs)."""
    kernel, half_width = sinc_kernel(n_from, n_to, "float32")
    n_periods = -(-_MIN_OUTPUTS // n_to)
    if n_periods == 1:
        return kernel, half_width, n_from
    wide = np.zeros((n_periods * n_to, n_periods * n_from + 2 * half_width), np.float32)
    for period in range(n_periods):
        wide[period * n_to : (period + 1) * n_to, period * n_from :][:, : kernel.shape[1]] = kernel
    return wide, half_width, n_periods * n_from


def whole_hz(rate_hz):
    """A sample rate as int; ConfigError where it is no whole number above zero."""
    whole = 0
    try:
        whole = 0 if isinstance(rate_hz, (str, bytes, bool, np.bool_)) else int(rate_hz)
        is_rate = whole == rate_hz and 0 < whole < 1 << 63
    except (TypeError, ValueError, OverflowError):
        is_rate = False
    if not is_rate:
        raise ConfigError(f"sample_rate_hz {rate_hz!r}: give a positive whole number of Hz, such as 16000")
    return whole


def lowest_terms(from_hz, to_hz):
    """Both rates divided by their common divisor: inputs and outputs of a block."""
    divisor = math.gcd(from_hz, to_hz)
    return from_hz // divisor, to_hz // divisor


def kernel_is_too_large(n_from, n_to):
    """Whether :func:`direct_parts` is to be used in place of :func:`sinc_kernel`."""
    return n_to * (n_from + 2 * _half_width(n_from, n_to)) > _MAX_KERNEL_SIZE


def _half_width(n_from, n_to):
    return math.ceil(_ZERO_CROSSINGS * n_from / (_ROLLOFF * min(n_from, n_to)))


@functools.lru_cache(maxsize=8)
def sinc_kernel(n_from, n_to, precision):
    """The weights of a block of outputs, (n_to, n_from + 2·half_width), a row for each phase, read-only; half_width.

    `n_from` and `n_to` are of :func:`lowest_terms`. With `precision` "float32" the computation matches torchaudio to
    the last bits; "float64" differs from it by 3e-5 of full scale.
    """
    half_width = _half_width(n_from, n_to)
    real = np.dtype(precision).type
    inputs = np.arange(-half_width, half_width + n_from, dtype=real) / real(n_from)
    outputs = np.arange(0, -n_to, -1, dtype=real) / real(n_to)
    lower = real(_ROLLOFF * min(n_from, n_to))
    crossings = real(_ZERO_CROSSINGS)
    x = ((outputs[:, None] + inputs[None, :]) * lower).clip(-crossings, crossings)
    window = np.cos(x * real(math.pi) / crossings / real(2)) ** 2
    angle = x * real(math.pi)
    sinc = np.divide(np.sin(angle), angle, out=np.ones_like(angle), where=angle != 0)
    kernel = sinc * window * (lower / real(n_from))
    kernel.flags.writeable = False
    return kernel, half_width


def direct_padding(n_from, n_to):
    """Zeros before and after the samples that :func:`direct_parts` expects."""
    half_width = _half_width(n_from, n_to)
    return half_width, half_width + 2


def direct_parts(n_from, n_to, n_out):
    """The weights of a resampler whose kernel would be too large: of the inputs that each of `n_out` outputs reads.

    Yields, for n outputs at a time, which padded inputs (see :func:`direct_padding`) they read, (n, K), to be clipped
    to the last one; and their weights (n, K) float32. `n_from` and `n_to` are of :func:`lowest_terms`.
    """
    taps = np.arange(2 * _half_width(n_from, n_to) + 2)
    is_kept = n_out >= n_to and n_to * len(taps) <= _MAX_KEPT_WEIGHTS
    kept = _direct_period(n_from, n_to) if is_kept else None
    n_at_once = max(64, _COPIED_AT_ONCE // len(taps))
    for start in range(0, n_out, n_at_once):
        outputs = np.arange(start, min(start + n_at_once, n_out))
        weights = _direct_weights(outputs, n_from, n_to) if kept is None else kept[outputs % n_to]
        yield (outputs * n_from // n_to)[:, None] + taps, weights


def _direct_weights(outputs, n_from, n_to):
    half_width = _half_width(n_from, n_to)
    cutoff = _ROLLOFF * min(n_from, n_to) / n_from
    distance = (np.arange(2 * half_width + 2) - half_width)[None, :] - (outputs * n_from % n_to)[:, None] / n_to
    x = (distance * cutoff).clip(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    weights = cutoff * np.sinc(x) * np.cos(x * (math.pi / (2 * _ZERO_CROSSINGS))) ** 2
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=1)
def _direct_period(n_from, n_to):
    """The weights (n_to, K) of all outputs of a period, after which they repeat."""
    return np.concatenate([_direct_weights(part, n_from, n_to) for part in np.array_split(np.arange(n_to), 64)])
