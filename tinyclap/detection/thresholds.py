"""Detection thresholds: a score, a probability among the labels, or a rate of false alarms on background sound."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyclap.checkpoints.folder import checked_file, read_arrays
from tinyclap.errors import ConfigError

DEFAULT_FALSE_ALARMS = 0.005
DEFAULT_PROBABILITY = 0.5
_OFF_RATE = 3.0  # times as many background windows are above the off-threshold
_OFF_PROBABILITY = 0.6
_HIGH = 0.8  # up to this quantile, background scores are those of sound that is not the label's own
_MIN_WINDOWS = 50
_MIN_SCORE = 1e-6


@dataclass(frozen=True)
class Thresholds:
    """Where labels become active and inactive."""

    on: np.ndarray  # (N,): an event begins above it
    off: np.ndarray  # (N,): and goes on above this
    of_probabilities: bool  # among the labels; else of scores
    kind: str  # how they were made, in a line

    def __post_init__(self):
        if not (np.isfinite(self.on).all() and np.isfinite(self.off).all()):
            raise ConfigError(f"threshold: {self.kind}: give finite numbers")
        if (self.off > self.on).any():
            raise ConfigError("off-threshold: an event would end at a higher score than it begins with; lower it")


def fixed_thresholds(
    n_labels: int, threshold: float, off_threshold: float | None = None, of_probabilities: bool = False
) -> Thresholds:
    """One threshold for all labels.

    Arguments
    ---------
    n_labels, threshold, of_probabilities : An event begins above `threshold`, a score or a probability.
    off_threshold : float or None. It goes on above this; None takes `threshold`, of probabilities 0.6 of it.
    """
    if of_probabilities and not 0 <= threshold <= 1:
        raise ConfigError(f"probability {threshold}: give a number between 0 and 1")
    if off_threshold is None:
        off_threshold = _OFF_PROBABILITY * threshold if of_probabilities else threshold
    rows = np.full(n_labels, threshold, np.float64), np.full(n_labels, off_threshold, np.float64)
    word = "probability" if of_probabilities else "score"
    return Thresholds(*rows, of_probabilities, f"{word} above {threshold:g}, then {off_threshold:g}")


def false_alarm_thresholds(
    background_scores: np.ndarray, rate: float, off_rate: float | None = None, positive: bool = False
) -> Thresholds:
    """Thresholds that a given part of sound other than the label's own exceeds, for each label by itself.

    Arguments
    ---------
    background_scores : numpy.ndarray, shape (n, N). Of windows of everyday sound; see :func:`background_embeddings`.
    rate : float. Part of them that may be above, in (0, 0.5): 0.01 is one window in a hundred.
    off_rate : float or None. The same for going on; None takes three times `rate`.
    positive : bool. Scores are above zero with a long tail, which is followed in their logarithms.

    Notes
    -----
    The background has the label's own sound in it now and then, with the highest scores. So the tail is continued from
    the median m and the 0.8 quantile q of the scores (or of their logarithms), as an exponential:

        threshold = m + (q − m)·ln(0.5 / rate) / ln(0.5 / 0.2).

    Example
    -------
    >>> fallen = -np.log(1 - (np.arange(1000) + 0.5) / 1000)  # an exponential: one in a hundred is above ln 100
    >>> false_alarm_thresholds(fallen[:, None], 0.01).on.round(2).tolist(), round(float(np.log(100)), 2)
    ([4.6], 4.61)
    """
    off_rate = min(_OFF_RATE * rate, 0.49) if off_rate is None else off_rate
    if not 0 < rate <= off_rate < 0.5:
        raise ConfigError(
            f"false alarms {rate:g}, off-threshold {off_rate:g}: both are parts of 1 below a half, the latter larger"
        )
    if len(background_scores) < _MIN_WINDOWS:
        raise ConfigError(
            f"the model's background has {len(background_scores)} windows, fewer than {_MIN_WINDOWS}; give a threshold"
        )
    scores = np.asarray(background_scores, np.float64)
    scores = np.log(np.maximum(scores, _MIN_SCORE)) if positive else scores
    middle, high = np.quantile(scores, [0.5, _HIGH], axis=0)
    rows = [middle + (high - middle) * np.log(0.5 / part) / np.log(0.5 / (1 - _HIGH)) for part in (rate, off_rate)]
    on, off = np.exp(rows) if positive else rows
    return Thresholds(on, off, False, f"false alarms {rate:g}, then {off_rate:g} of background windows")


def background_embeddings(model: Any) -> np.ndarray | None:
    """Embeddings of background sound that are stored with a :class:`SoundModel`: (n, D) float32, or None."""
    name = model.config.get("background")
    if name is None:
        return None
    rows = read_arrays(checked_file(model.backend.folder, model.config, name), "rows")["rows"]
    return model.columns(rows.astype(np.float32))


def choose_thresholds(
    model: Any,
    vectors: np.ndarray,
    false_alarms: float | None = None,
    threshold: float | None = None,
    probability: float | None = None,
    off_threshold: float | None = None,
) -> Thresholds:
    """The thresholds that are asked for, or the model's default: false alarms, else probabilities.

    ConfigError: more than one is given; or the model lacks a background or a temperature.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    vectors : numpy.ndarray, shape (N, D). Label embeddings.
    false_alarms, threshold, probability : float or None
        At most one: see :func:`false_alarm_thresholds` and :func:`fixed_thresholds`.
    off_threshold : float or None. In the same unit.
    """
    if sum(value is not None for value in (false_alarms, threshold, probability)) > 1:
        raise ConfigError("give one of false alarms, threshold and probability")
    if threshold is not None:
        return fixed_thresholds(len(vectors), threshold, off_threshold)
    rows = background_embeddings(model) if probability is None else None
    if rows is not None:
        rate = DEFAULT_FALSE_ALARMS if false_alarms is None else false_alarms
        scores = model.score_rows(rows, vectors)
        return false_alarm_thresholds(scores, rate, off_threshold, positive=model.score_kind == "sqrt_dot")
    if false_alarms is not None:
        raise ConfigError(f"{model.name} has no stored background to count false alarms in; give a threshold")
    if "temperature" not in model.config.get("calibration", {}):
        raise ConfigError(
            f"{model.name} has neither a background nor a temperature for probabilities; give a threshold of its "
            f"scores, which are of the kind {model.score_kind!r}"
        )
    probability = DEFAULT_PROBABILITY if probability is None else probability
    return fixed_thresholds(len(vectors), probability, off_threshold, of_probabilities=True)
