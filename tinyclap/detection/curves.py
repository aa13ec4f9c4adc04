"""Scores of every window of a stream, for a file or a picture: a few MB an hour."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path

if TYPE_CHECKING:
    from tinyclap.detection.detector import WindowResult
    from tinyclap.detection.events import Event
    from tinyclap.detection.thresholds import Thresholds

_SCORES = (".csv", ".npz")
_PICTURES = (".png", ".svg", ".pdf")
_MAX_CURVES = 12


def check_names(scores: str | None, plot: str | None) -> None:
    """Raise ConfigError, before hours have passed, where a suffix means no format or matplotlib is missing."""
    if scores is not None and Path(scores).suffix.lower() not in _SCORES:
        raise ConfigError(f"{scores}: scores are written as {' or '.join(_SCORES)}")
    if plot is not None:
        if Path(plot).suffix.lower() not in _PICTURES:
            raise ConfigError(f"{plot}: pictures are written as {', '.join(_PICTURES)}")
        _figure()


class Curves:
    """Scores, levels and events of a stream with these `labels` and `thresholds`; append to ``events``."""

    def __init__(self, labels: Sequence[str], thresholds: Thresholds) -> None:
        self.events: list[Event] = []
        self.labels, self.thresholds = list(labels), thresholds
        self._middles_s, self._levels_db, self._scores = list[float](), list[float](), list[np.ndarray]()

    def add(self, result: WindowResult) -> None:
        """Keep a :class:`tinyclap.detection.detector.WindowResult`."""
        self._middles_s.append(result.middle_s)
        self._levels_db.append(result.level_db)
        self._scores.append(result.scores.astype(np.float32))

    def write(self, scores: str | None, plot: str | None, duration_s: float) -> None:
        """Write the files `scores` and `plot`, where they are not None, atomically; `duration_s` is the stream's.

        ``.csv``: a row a window, a column a label. ``.npz``: ``middles_s`` (n,), ``levels_db`` (n,), ``scores`` (n, N),
        ``labels`` (N,), ``on`` (N,), ``off`` (N,).
        """
        if scores is not None:
            with atomic_path(scores) as part:
                (self._write_csv if Path(scores).suffix.lower() == ".csv" else self._write_npz)(part)
        if plot is not None:
            with atomic_path(plot) as part:
                self._draw(part, duration_s, Path(plot).suffix[1:].lower())

    def _write_npz(self, path):
        levels_db = np.array(self._levels_db, np.float32)
        windows = {"middles_s": np.array(self._middles_s), "levels_db": levels_db, "scores": np.array(self._scores)}
        with open(path, "wb") as file:
            on, off = self.thresholds.on, self.thresholds.off
            np.savez_compressed(file, **windows, labels=np.array(self.labels), on=on, off=off)

    def _write_csv(self, path):
        with open(path, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["middle_s", "level_db", *self.labels])
            for middle_s, level_db, scores in zip(self._middles_s, self._levels_db, self._scores, strict=True):
                rows.writerow([f"{middle_s:.3f}", f"{level_db:.2f}", *(f"{score:.6f}" for score in scores)])

    def _draw(self, path, duration_s, kind):
        """Level above, events in the middle, scores against thresholds below."""
        shown = self._shown()
        figure = _figure()(figsize=(11, 3.4 + 0.3 * len(shown)), layout="constrained")
        heights = [1, 0.3 + 0.25 * len(shown), 1.6]
        level, events, curves = figure.subplots(3, 1, sharex=True, height_ratios=heights)
        level.fill_between(self._middles_s, self._levels_db, -100, color="0.6", linewidth=0)
        level.set(ylabel="dB", ylim=(-100, 0), xlim=(0, max(duration_s, 1e-3)))
        scores = np.array(self._scores)
        for row, index in enumerate(shown):
            colour = f"C{row % 10}"
            bars = [(e.onset_s, e.offset_s - e.onset_s) for e in self.events if e.label == self.labels[index]]
            events.broken_barh(bars, (row - 0.4, 0.8), color=colour)
            curves.plot(self._middles_s, scores[:, index] - self.thresholds.on[index], color=colour, linewidth=0.9)
        events.set(yticks=range(len(shown)), yticklabels=[self.labels[index] for index in shown])
        events.set_ylim(len(shown) - 0.4, -0.6)
        events.grid(axis="x", alpha=0.3)
        curves.axhline(0, color="black", linewidth=0.8)
        word = "probability" if self.thresholds.of_probabilities else "score"
        curves.set(xlabel="seconds", ylabel=f"{word} − threshold")
        figure.savefig(path, dpi=120, format=kind)

    def _shown(self):
        """Indices of the labels that are drawn: those with events first, then those nearest to their threshold."""
        counts = [sum(event.label == label for event in self.events) for label in self.labels]
        nearest = (np.array(self._scores) - self.thresholds.on).max(axis=0)
        order = sorted(range(len(self.labels)), key=lambda index: (-(counts[index] > 0), -nearest[index]))
        return sorted(order[:_MAX_CURVES])


def _figure():
    """matplotlib's Figure, which draws without a screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: pip install 'tinyclap[plots]'") from error
    return Figure
