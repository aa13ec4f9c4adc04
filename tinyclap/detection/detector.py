"""Zero-shot detector of a stream: samples in, in blocks of any length; events and scores out."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.audio.io import require_rate, require_samples
from tinyclap.detection.events import Event, EventFinder, EventRule
from tinyclap.detection.resample import stream_resampler
from tinyclap.detection.thresholds import choose_thresholds
from tinyclap.detection.windows import WindowStream
from tinyclap.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyclap.detection.sources import Source

DEFAULT_WINDOW_S = 2.0


@dataclass(frozen=True)
class DetectionOptions:
    """Windows, thresholds and post-processing of a detector."""

    window_s: float | None = None  # None: 2 s, or the model's window where it takes no other
    hop_s: float = 0.5  # from window to window
    min_duration_s: float = 0.0  # these three: see tinyclap.detection.events.EventRule
    merge_gap_s: float = 0.0
    exclusive: bool = False
    false_alarms: float | None = None  # these four: see tinyclap.detection.thresholds.choose_thresholds
    threshold: float | None = None
    probability: float | None = None
    off_threshold: float | None = None


@dataclass(frozen=True)
class WindowResult:
    """Scores and events of one window."""

    start_s: float
    middle_s: float
    scores: NDArray[np.float32]  # (N,), of each label; probabilities where the thresholds are
    level_db: float  # root mean square of the samples, in dB of full scale
    events: list[Event]  # that became certain with this window
    compute_s: float


class Detector:
    """A model on one stream. A window's scores are those of its samples as a clip of their own.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel. No captioner.
    labels : list of str, tinyclap.text.bank.LabelBank or None. None takes the model's own.
    sample_rate_hz : int. Of the stream.
    template : str, list of str or None. Prompts with ``{}`` for the label.
    options : DetectionOptions or None. A ConfigError for one that the model cannot follow.
    """

    def __init__(
        self,
        model: Any,
        labels: Any,
        sample_rate_hz: int,
        template: str | list[str] | None = None,
        options: DetectionOptions | None = None,
    ) -> None:
        if model.kind == "captioner":
            raise ConfigError(f"{model.name} is a captioner, which has no scores; take an encoder")
        require_rate("the stream", sample_rate_hz)
        options = options or DetectionOptions()
        self._model, self._policy = model, model.backend.policy
        self.window_s, self.hop_s = _window_s(self._policy, options.window_s), options.hop_s
        if not 0 < self.hop_s <= self.window_s:
            raise ConfigError(f"hop {self.hop_s} s: choose more than 0 and at most the window, {self.window_s:g} s")
        self._resampler = stream_resampler(sample_rate_hz, model.sample_rate_hz, model.config["resampler"])
        policy = replace(self._policy, window_s=self.window_s, hop_s=self.hop_s)
        self._windows = WindowStream(policy, model.sample_rate_hz)
        self.labels, self._vectors = model.label_vectors(labels, template)
        decision = options.false_alarms, options.threshold, options.probability, options.off_threshold
        self.thresholds = choose_thresholds(model, self._vectors, *decision)
        rule = EventRule(options.min_duration_s, options.merge_gap_s, options.exclusive)
        self._finder = EventFinder(self.labels, self.thresholds, rule)
        self._n_samples, self._rate = 0, sample_rate_hz

    @property
    def active(self) -> list[str]:
        """Labels that are active now."""
        return self._finder.active

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self._n_samples / self._rate

    def push(self, samples: NDArray[np.float32]) -> Iterator[WindowResult]:
        """Give the next samples (n,), mono float32 in [-1, 1]; yields a WindowResult for each window that is whole.

        AudioError: samples that are NaN, infinite, or far beyond full scale.
        """
        if len(samples):
            require_samples(samples[:, None], "the stream", self._rate, self.duration_s)
        self._n_samples += len(samples)
        for start, window in self._windows.push(self._resampler.push(samples)):
            yield self._window(start, window)

    def end(self) -> Iterator[WindowResult]:
        """Yields a WindowResult for each of the last windows; AudioError where there was no sample at all."""
        if not self._n_samples:
            raise AudioError("the stream", "ended before its first sample; is the program that writes it running?")
        for start, window in itertools.chain(self._windows.push(self._resampler.end()), self._windows.end()):
            yield self._window(start, window)

    def last_events(self) -> list[Event]:
        """Events that are still open after `end`."""
        return self._finder.end(self.duration_s)

    def _window(self, start, window):
        began = time.perf_counter()
        rate = self._model.sample_rate_hz
        row = self._model.embed_windows(self._policy.cut(window, rate))
        scores = self._model.score_rows(row, self._vectors)
        if self.thresholds.of_probabilities:
            scores = self._model.probabilities(scores)
        middle_s = (start + len(window) / 2) / rate
        events = self._finder.push(middle_s, scores[0])
        level_db = 10 * np.log10(max(float(np.square(window, dtype=np.float64).mean()), 1e-12))
        return WindowResult(start / rate, middle_s, scores[0], float(level_db), events, time.perf_counter() - began)


def detect(
    model: Any,
    source: str | os.PathLike[str] | Source,
    labels: Any = None,
    template: str | list[str] | None = None,
    **options: Any,
) -> Iterator[Event]:
    """Yields the events of a recording or stream, each as soon as it is certain, in the order of the ends.

    Arguments
    ---------
    model, labels, template : See :class:`Detector`.
    source : str, os.PathLike or tinyclap.detection.sources.Source
    **options : Of :class:`DetectionOptions`.
    """
    from tinyclap.detection.sources import Source, file_source

    source = source if isinstance(source, Source) else file_source(source)
    detector = Detector(model, labels, source.sample_rate_hz, template, DetectionOptions(**options))
    for results in itertools.chain(map(detector.push, source.pieces), [detector.end()]):
        for result in results:
            yield from result.events
    yield from detector.last_events()


def _window_s(policy, window_s):
    """The window's length: what is asked for, else what the model is good at."""
    if window_s is None:
        return min(DEFAULT_WINDOW_S, policy.window_s) if policy.short == "native" else policy.window_s
    if not 0 < window_s <= policy.window_s:
        raise ConfigError(f"window {window_s:g} s: this model takes more than 0 and at most {policy.window_s:g} s")
    return window_s
