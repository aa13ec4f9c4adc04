"""Cut a stream into windows at the places of :class:`tinyclap.audio.windows.WindowPolicy`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinyclap.errors import ConfigError

if TYPE_CHECKING:
    from tinyclap.audio.windows import WindowPolicy


class WindowStream:
    """Windows of samples at `sample_rate_hz` that come in blocks of any length, by a WindowPolicy, the `policy`.

    Windows begin at 0, hop, 2·hop, …; a last one ends with the stream where more than a twentieth of a window is left.
    A stream that is shorter than a window is one clip.

    Example
    -------
    >>> from tinyclap.audio.windows import WindowPolicy
    >>> stream = WindowStream(WindowPolicy(window_s=4.0, hop_s=2.0), 1)
    >>> [(start, window.tolist()) for start, window in stream.push(np.arange(7.0))]
    [(0, [0.0, 1.0, 2.0, 3.0]), (2, [2.0, 3.0, 4.0, 5.0])]
    >>> [(start, window.tolist()) for start, window in stream.end()]
    [(3, [3.0, 4.0, 5.0, 6.0])]
    """

    def __init__(self, policy: WindowPolicy, sample_rate_hz: int) -> None:
        self._policy, self._rate = policy, sample_rate_hz
        self._window = round(policy.window_s * sample_rate_hz)
        self._hop = self._window if policy.hop_s is None else round(policy.hop_s * sample_rate_hz)
        if not 1 <= self._hop <= self._window:
            limit = f"the window, which is {policy.window_s:g} s"
            raise ConfigError(f"hop {policy.hop_s} s: choose more than 0 and at most {limit}")
        self._kept, self._n_pushed, self._next = np.zeros(0, np.float32), 0, 0

    def push(self, samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Give the next samples (n,); yields (first sample, window (T,)) for each window that is now whole."""
        self._kept = np.concatenate([self._kept, samples])
        self._n_pushed += len(samples)
        first = self._n_pushed - len(self._kept)
        while self._next + self._window <= self._n_pushed:
            place = self._next - first
            self._next += self._hop
            yield self._next - self._hop, self._kept[place : place + self._window]
        self._kept = self._kept[-self._window :].copy()

    def end(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first sample, samples) of the last window, or of all there was where that is less; or nothing."""
        if self._n_pushed and not self._next:
            yield 0, self._kept
        elif self._n_pushed:
            before = self._next - self._hop
            for start in self._policy.starts(self._n_pushed - before, self._rate)[1:]:
                yield before + start, self._kept
