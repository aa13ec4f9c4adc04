"""Resample a stream block by block, to what the whole recording would have become."""

import math
from typing import Any

import numpy as np

from tinyclap.audio.resample import RESAMPLERS, lowest_terms, resample_array, whole_hz
from tinyclap.errors import ConfigError

_REACH = 8  # how far an output looks, in samples of the lower rate
_BLOCK_S = 0.1  # latency in live audio


def stream_resampler(from_hz: int, to_hz: int, method: str = "sinc") -> Any:
    """A resampler that is given samples in blocks of any length, by `method` "sinc" or "soxr".

    ``push(samples)`` takes (n,) float32 and returns the outputs that are certain, ``end()`` the rest; silence comes
    after the end. Outputs do not depend on the blocks, bit for bit, and equal :func:`resample_array` to rounding.
    """
    from_hz, to_hz = whole_hz(from_hz), whole_hz(to_hz)
    if method not in RESAMPLERS:
        raise ConfigError(f"resampling method {method!r} is none of {', '.join(RESAMPLERS)}")
    return (_SoxrResampler if method == "soxr" and from_hz != to_hz else _BlockResampler)(from_hz, to_hz)


class _BlockResampler:
    """The sinc resampler on blocks at fixed places, each with enough samples around it; equal shapes give equal bits.

    A block is at least one period of the two rates: 10 ms for 44100 → 32000 Hz, 1 s for 44101 → 32000 Hz.
    """

    def __init__(self, from_hz, to_hz):
        self._rates = from_hz, to_hz
        self._n_from, self._n_to = lowest_terms(from_hz, to_hz)
        self._n_around = math.ceil((_REACH * max(1.0, self._n_from / self._n_to) + 2) / self._n_from)
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
            part = resample_array(self._waiting[index * step : index * step + size], *self._rates)
            made[index] = part[before : before + n_out]
        self._waiting = self._waiting[n_blocks * step :].copy()
        return made.reshape(-1)


class _SoxrResampler:
    """soxr's own stream, given blocks of one size."""

    def __init__(self, from_hz, to_hz):
        import soxr

        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
        self._waiting, self._size = np.zeros(0, np.float32), max(1, round(_BLOCK_S * from_hz))

    def push(self, samples):
        """Give the next samples; returns outputs (see :func:`stream_resampler`)."""
        waiting = np.concatenate([self._waiting, samples])
        n_whole = len(waiting) - len(waiting) % self._size
        self._waiting = waiting[n_whole:].copy()
        blocks = [waiting[start : start + self._size] for start in range(0, n_whole, self._size)]
        return np.concatenate([np.zeros(0, np.float32), *map(self._stream.resample_chunk, blocks)])

    def end(self):
        """The last outputs."""
        return self._stream.resample_chunk(self._waiting, last=True)
