"""Zero-shot detection in a stream: samples in, in pieces of any length; events and scores out."""

import time
from dataclasses import dataclass, replace

import numpy as np

from tinyclap.detection.events import EventFinder, EventRule
from tinyclap.detection.resample import stream_resampler
from tinyclap.detection.thresholds import choose_thresholds
from tinyclap.detection.windows import WindowStream
from tinyclap.errors import AudioError, ConfigError

DEFAULT_WINDOW_S = 2.0


@dataclass(frozen=True)
class Listening:
    """How to listen.

    Arguments
    ---------
    window_s : float or None
        Length of a window, in seconds; None takes 2 s, or the model's window where it hears no other.
    hop_s : float
        Distance between windows, in seconds.
    min_duration_s, merge_gap_s, exclusive
        See :class:`tinyclap.detection.events.EventRule`.
    false_alarms, threshold, share, release : float or None
        See :func:`tinyclap.detection.thresholds.choose_thresholds`.
    """

    window_s: float | None = None
    hop_s: float = 0.5
    min_duration_s: float = 0.0
    merge_gap_s: float = 0.0
    exclusive: bool = False
    false_alarms: float | None = None
    threshold: float | None = None
    share: float | None = None
    release: float | None = None


@dataclass(frozen=True)
class Heard:
    """What one window came to.

    Arguments
    ---------
    start_s, middle_s : float
        Where the window begins, and its middle, in seconds.
    scores : numpy.ndarray, shape (N,), float32
        Of each label; shares among them where thresholds are of shares.
    level_db : float
        Root mean square of the window's samples, in dB of full scale.
    events : list of Event
        That became certain with this window.
    compute_s : float
        What the window took, in seconds.
    """

    start_s: float
    middle_s: float
    scores: np.ndarray
    level_db: float
    events: list
    compute_s: float


class Detector:
    """A model that listens to one stream.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
        No captioner.
    labels : list of str, tinyclap.text.bank.LabelBank or None
        What to listen for; None takes the model's own labels.
    sample_rate_hz : int
        Of the stream.
    template : str, list of str or None
        Prompts with ``{}`` for the name.
    options : Listening or None

    Attributes
    ----------
    labels : list of str
    thresholds : Thresholds
    window_s, hop_s : float
    heard : list of str
        Labels that are heard now.

    Raises
    ------
    ConfigError
        An option that the model cannot follow.

    Notes
    -----
    A window's embedding is that of these samples as a clip of their own, computed alone, so it depends on nothing else.
    """

    def __init__(self, model, labels, sample_rate_hz, template=None, options=None):
        if model.kind == "captioner":
            raise ConfigError(f"{model.name} is a captioner, which has no scores; listen with an encoder")
        options = options or Listening()
        self._model, self._policy = model, model.backend.policy
        self.window_s, self.hop_s = _window_s(self._policy, options.window_s), options.hop_s
        self._resampler = stream_resampler(sample_rate_hz, model.sample_rate_hz, model.config["resampler"])
        policy = replace(self._policy, window_s=self.window_s, hop_s=self.hop_s)
        self._windows = WindowStream(policy, model.sample_rate_hz)
        self.labels, self._vectors = model.label_vectors(labels, template)
        decision = (options.false_alarms, options.threshold, options.share, options.release)
        self.thresholds = choose_thresholds(model, self._vectors, *decision)
        rule = EventRule(options.min_duration_s, options.merge_gap_s, options.exclusive)
        self._finder = EventFinder(self.labels, self.thresholds, rule)
        self._n_samples, self._rate = 0, sample_rate_hz

    @property
    def heard(self):
        """Labels that are heard now: list of str."""
        return self._finder.heard

    @property
    def duration_s(self):
        """How much has been listened to, in seconds."""
        return self._n_samples / self._rate

    def listen(self, samples):
        """Give the next samples.

        Arguments
        ---------
        samples : numpy.ndarray, shape (n,), float32
            Mono, in [-1, 1].

        Yields
        ------
        Heard
            For each window that is now whole.
        """
        self._n_samples += len(samples)
        for start, window in self._windows.push(self._resampler.push(samples)):
            yield self._window(start, window)

    def end(self):
        """The stream is over.

        Yields
        ------
        Heard
            The last windows.

        Raises
        ------
        AudioError
            There was no sample at all.
        """
        if not self._n_samples:
            raise AudioError("the stream", "ended before its first sample; is the program that writes it running?")
        for start, window in self._windows.push(self._resampler.end()):
            yield self._window(start, window)
        for start, window in self._windows.end():
            yield self._window(start, window)

    def last_events(self):
        """Events that were still open, after `end`: list of Event."""
        return self._finder.end(self.duration_s)

    def _window(self, start, window):
        began = time.perf_counter()
        rate = self._model.sample_rate_hz
        row = self._model.embed_windows(self._policy.cut(window, rate))
        scores = self._model.score_rows(row, self._vectors)
        if self.thresholds.of_shares:
            scores = self._model.probabilities(scores)
        middle_s = (start + len(window) / 2) / rate
        events = self._finder.push(middle_s, scores[0])
        power = float(np.square(window, dtype=np.float64).mean())
        level_db = 10 * np.log10(max(power, 1e-12))
        return Heard(start / rate, middle_s, scores[0], float(level_db), events, time.perf_counter() - began)


def detect(model, source, labels=None, template=None, **options):
    """The events of a stream.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    source : str, os.PathLike or tinyclap.detection.sources.Source
        A recording's path, or a stream.
    labels, template
        See :class:`Detector`.
    **options
        Of :class:`Listening`.

    Yields
    ------
    Event
        As soon as it is certain, in the order of the ends.

    Raises
    ------
    AudioError, ConfigError
        The stream or an option cannot be used.
    """
    from tinyclap.detection.sources import Source, file_source

    source = source if isinstance(source, Source) else file_source(source)
    detector = Detector(model, labels, source.sample_rate_hz, template, Listening(**options))
    for samples in source.pieces:
        for heard in detector.listen(samples):
            yield from heard.events
    for heard in detector.end():
        yield from heard.events
    yield from detector.last_events()


def _window_s(policy, window_s):
    """The window's length: what is asked for, else what the model is good at."""
    if window_s is None:
        return min(DEFAULT_WINDOW_S, policy.window_s) if policy.short == "native" else policy.window_s
    if not 0 < window_s <= policy.window_s:
        raise ConfigError(
            f"window {window_s:g} s: this model hears more than 0 and at most {policy.window_s:g} s at once"
        )
    return window_s
