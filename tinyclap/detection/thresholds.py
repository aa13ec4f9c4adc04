"""From what score on a label counts as heard: a fixed one, a share among the labels, or a rate of false alarms."""

from dataclasses import dataclass

import numpy as np

from tinyclap.checkpoints.exported import checked_file
from tinyclap.errors import CheckpointError, ConfigError

DEFAULT_FALSE_ALARMS = 0.005
DEFAULT_SHARE = 0.5
_RELEASE_RATE = 3.0  # times as many windows of ordinary sound are above the release
_RELEASE_SHARE = 0.6
_HIGH = 0.8  # up to this quantile, ordinary scores are those of sound that is not the label's own
_LEAST_WINDOWS = 50
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Thresholds:
    """Where labels begin and cease to be heard.

    Arguments
    ---------
    on, off : numpy.ndarray, shape (N,)
        An event begins above ``on`` and goes on above ``off``.
    of_shares : bool
        They are of shares among the labels, in [0, 1], and not of scores.
    kind : str
        How they came about, in a line.
    """

    on: np.ndarray
    off: np.ndarray
    of_shares: bool
    kind: str

    def __post_init__(self):
        if (self.off > self.on).any():
            raise ConfigError("release: an event ends at a lower score than it begins with; give a milder release")


def fixed_thresholds(n_labels, threshold, release=None, of_shares=False):
    """One threshold for all labels.

    Arguments
    ---------
    n_labels : int
    threshold : float
        An event begins above it.
    release : float or None
        It goes on above this; None takes `threshold`, of shares 0.6 of it.
    of_shares : bool
        Of shares among the labels.

    Returns
    -------
    Thresholds

    Raises
    ------
    ConfigError
        The release is the higher one, or a share is not in [0, 1].

    Example
    -------
    >>> fixed_thresholds(2, 0.5, 0.25).off.tolist()
    [0.25, 0.25]
    """
    if of_shares and not 0 <= threshold <= 1:
        raise ConfigError(f"share {threshold}: a share among the labels is between 0 and 1")
    if release is None:
        release = _RELEASE_SHARE * threshold if of_shares else threshold
    rows = np.full(n_labels, threshold, np.float64), np.full(n_labels, release, np.float64)
    return Thresholds(*rows, of_shares, f"{'share' if of_shares else 'score'} above {threshold:g}, then {release:g}")


def false_alarm_thresholds(ordinary_scores, rate, release_rate=None, positive=False):
    """Thresholds that a given part of sound is above that is not the label's own, for each label by itself.

    Arguments
    ---------
    ordinary_scores : numpy.ndarray, shape (n, N)
        Scores of windows of ordinary sound; see :func:`ordinary_rows`.
    rate : float
        Part of them that may be above, in (0, 0.5): 0.01 is one window in a hundred.
    release_rate : float or None
        The same for going on; None takes three times `rate`.
    positive : bool
        Scores are above zero and have the long tail of such numbers; it is followed in their logarithms.

    Returns
    -------
    Thresholds

    Raises
    ------
    ConfigError
        The rates are not 0 < rate <= release_rate < 0.5, or there are fewer than 50 windows.

    Notes
    -----
    Ordinary sound has the label's own sound in it, now and then, and the highest scores are its. So the tail is not
    counted but continued, from the median m and the 0.8 quantile q of the scores (or of their logarithms), as an
    exponential that has half of the windows above m and a fifth above q:

        threshold = m + (q − m)·ln(0.5 / rate) / ln(0.5 / 0.2).

    A fifth of the windows may be the label's own and do no harm. The rate is a figure to turn, not a promise: another
    place has other ordinary sound, and a tail may be longer than its beginning says.

    Example
    -------
    >>> fallen = -np.log(1 - (np.arange(1000) + 0.5) / 1000)  # an exponential: one in a hundred is above ln 100
    >>> false_alarm_thresholds(fallen[:, None], 0.01).on.round(2).tolist(), round(float(np.log(100)), 2)
    ([4.6], 4.61)
    """
    release_rate = min(_RELEASE_RATE * rate, 0.49) if release_rate is None else release_rate
    if not 0 < rate <= release_rate < 0.5:
        raise ConfigError(
            f"false alarms {rate:g}, release {release_rate:g}: they are parts of 1 below a half, the release the larger"
        )
    if len(ordinary_scores) < _LEAST_WINDOWS:
        raise ConfigError(
            f"the model's background has {len(ordinary_scores)} windows of ordinary sound, fewer than "
            f"{_LEAST_WINDOWS}; give a threshold"
        )
    scores = np.asarray(ordinary_scores, np.float64)
    scores = np.log(np.maximum(scores, _LEAST_SCORE)) if positive else scores
    middle, high = np.quantile(scores, [0.5, _HIGH], axis=0)
    rows = [middle + (high - middle) * np.log(0.5 / part) / np.log(0.5 / (1 - _HIGH)) for part in (rate, release_rate)]
    on, off = np.exp(rows) if positive else rows
    return Thresholds(on, off, False, f"false alarms {rate:g}, then {release_rate:g} of ordinary sound")


def ordinary_rows(model):
    """Embeddings of ordinary sound that are stored with a model.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel

    Returns
    -------
    numpy.ndarray, shape (n, D), float32, or None
        None where the model has none. Of a model opened with fewer dimensions, these.

    Raises
    ------
    CheckpointError
        The file is missing, or is not the one that was exported.
    """
    name = model.config.get("background")
    if name is None:
        return None
    with np.load(checked_file(model.backend.folder, model.config, name)) as content:
        if "rows" not in content:
            raise CheckpointError(f"{name}: holds no array 'rows'; export the model again")
        rows = content["rows"].astype(np.float32)
    return model.columns(rows)


def choose_thresholds(model, vectors, false_alarms=None, threshold=None, share=None, release=None):
    """The thresholds that are asked for, or what the model offers: false alarms, else shares.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    vectors : numpy.ndarray, shape (N, D)
        Of the labels.
    false_alarms, threshold, share : float or None
        At most one: see :func:`false_alarm_thresholds` and :func:`fixed_thresholds`.
    release : float or None
        In the same unit.

    Returns
    -------
    Thresholds

    Raises
    ------
    ConfigError
        More than one is given; or the model has not what it takes.
    """
    if sum(value is not None for value in (false_alarms, threshold, share)) > 1:
        raise ConfigError("give one of false alarms, threshold and share")
    if threshold is not None:
        return fixed_thresholds(len(vectors), threshold, release)
    rows = ordinary_rows(model) if share is None else None
    if rows is not None:
        scores = model.score_rows(rows, vectors)
        rate = DEFAULT_FALSE_ALARMS if false_alarms is None else false_alarms
        return false_alarm_thresholds(scores, rate, release, positive=model.score_kind == "sqrt_dot")
    if false_alarms is not None:
        raise ConfigError(
            f"{model.name} has no stored background of ordinary sound to count false alarms in; give a threshold"
        )
    if "temperature" not in model.config.get("calibration", {}):
        raise ConfigError(
            f"{model.name} has neither a background of ordinary sound nor a temperature for shares; give a threshold "
            f"of its scores, which are of the kind {model.score_kind!r}"
        )
    return fixed_thresholds(len(vectors), DEFAULT_SHARE if share is None else share, release, of_shares=True)
