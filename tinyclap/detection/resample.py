"""Change the sample rate of a stream, piece by piece, to what the whole recording would have become."""

import math

import numpy as np

from tinyclap.audio.resample import RESAMPLERS, lowest_terms, resample_array, whole_hz
from tinyclap.errors import ConfigError

# How far an output sample looks, in samples of the lower of the two rates.
_REACH = {"sinc": 8, "banded": 36}
_BLOCK_S = 0.1  # the delay that blocks cost live audio


def stream_resampler(from_hz, to_hz, method="sinc"):
    """A resampler that is given samples in pieces of any length.

    Arguments
    ---------
    from_hz, to_hz : int
        Sample rates before and after.
    method : {"sinc", "soxr"}
        See :func:`tinyclap.features.resample.resample`.

    Returns
    -------
    BlockResampler or SoxrResampler
        ``push(samples)`` takes samples (n,) float32 and returns the outputs (m,) float32 that are certain, maybe none;
        ``end()`` returns the rest. After the end comes silence, as it does for a whole recording. The outputs do not
        depend on the pieces, bit for bit, and equal :func:`resample_array` of the whole to rounding.

    Raises
    ------
    ConfigError
        The method is unknown or a rate is not a positive whole number.

    Example
    -------
    >>> resampler = stream_resampler(44100, 32000)
    >>> parts = [resampler.push(np.ones(441, np.float32)) for _ in range(100)] + [resampler.end()]
    >>> sum(len(part) for part in parts)
    32000
    """

    from_hz, to_hz = whole_hz(from_hz), whole_hz(to_hz)
    if method == "soxr" and from_hz != to_hz:
        return SoxrResampler(from_hz, to_hz)
    if method not in RESAMPLERS:
        raise ConfigError(f"resampling method {method!r} is none of {', '.join(RESAMPLERS)}")
    return BlockResampler(from_hz, to_hz, method)


class BlockResampler:
    """Methods that look a little way around each sample.

    Arguments
    ---------
    from_hz, to_hz : int
    method : {"sinc", "banded"}

    Notes
    -----
    A block is cut out of what :func:`resample_array` makes of the block's samples and of enough before
    and after them. Blocks lie at fixed places and all have one shape, hence the same bits. A block is no shorter than
    one period of the two rates: 44100 → 32000 Hz has a period of 10 ms, 44101 → 32000 Hz one of 1 s.
    """

    def __init__(self, from_hz, to_hz, method):
        self._rates, self._method = (from_hz, to_hz), method
        self._n_from, self._n_to = lowest_terms(from_hz, to_hz)
        reach = _REACH.get(method, 0) * max(1.0, self._n_from / self._n_to)
        self._n_around = math.ceil((reach + 2) / self._n_from)
        self._n_periods = max(1, round(_BLOCK_S * from_hz / self._n_from))
        self._waiting = np.zeros(self._n_around * self._n_from, np.float32)
        self._n_pushed = self._n_made = 0

    def push(self, samples):
        """Give the next samples; returns outputs (see :func:`stream_resampler`)."""
        self._n_pushed += len(samples)
        if self._n_from == self._n_to:
            return samples
        self._waiting = np.concatenate([self._waiting, samples])
        made = self._blocks()
        self._n_made += len(made)
        return made

    def end(self):
        """The last outputs."""
        if self._n_from == self._n_to:
            return np.zeros(0, np.float32)
        n_left = -(-self._n_pushed * self._n_to // self._n_from) - self._n_made
        n_blocks = -(-n_left // (self._n_periods * self._n_to))
        lacking = (2 * self._n_around + n_blocks * self._n_periods) * self._n_from - len(self._waiting)
        self._waiting = np.concatenate([self._waiting, np.zeros(max(0, lacking), np.float32)])
        return self._blocks()[:n_left]

    def _blocks(self):
        """Outputs of every block whose samples are there; keeps what later blocks need."""
        step, before = self._n_periods * self._n_from, self._n_around * self._n_to
        size, n_out = step + 2 * self._n_around * self._n_from, self._n_periods * self._n_to
        n_blocks = max(0, (len(self._waiting) - size) // step + 1)
        made = np.empty((n_blocks, n_out), np.float32)
        for index in range(n_blocks):
            part = resample_array(self._waiting[index * step : index * step + size], *self._rates, self._method)
            made[index] = part[before : before + n_out]
        self._waiting = self._waiting[n_blocks * step :].copy()
        return made.reshape(-1)


class SoxrResampler:
    """SoX's resampler, which has a form for streams.

    Arguments
    ---------
    from_hz, to_hz : int
    """

    def __init__(self, from_hz, to_hz):
        import soxr

        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
        self._waiting, self._size = np.zeros(0, np.float32), max(1, round(_BLOCK_S * from_hz))

    def push(self, samples):
        """Give the next samples; returns outputs (see :func:`stream_resampler`)."""
        waiting = np.concatenate([self._waiting, samples])
        n_whole = len(waiting) - len(waiting) % self._size
        self._waiting = waiting[n_whole:].copy()
        starts = range(0, n_whole, self._size)
        return _joined([self._stream.resample_chunk(waiting[start : start + self._size]) for start in starts])

    def end(self):
        """The last outputs."""
        return self._stream.resample_chunk(self._waiting, last=True)


def _joined(parts):
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
