"""Accuracy, its bootstrap interval, paired differences and McNemar's test, over numpy arrays.

Source of the interval: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, percentile method. Of the test:
McNemar, Psychometrika 12, 1947; its exact form and mid-p: Fagerland, Lydersen, Laake, BMC Medical Research Methodology
13:91, 2013.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyclap.errors import ConfigError


def accuracy(predictions: Any, labels: Any) -> float:
    """Fraction of equal entries of two arrays of int, in [0, 1]."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def bootstrap_interval(
    correct: Any, groups: Any = None, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Any:
    """Percentile bootstrap interval of an accuracy: (low, high), in [0, 1].

    Arguments
    ---------
    correct : array of bool or float, shape (B,)
    groups : sequence, length B, optional
        Whole groups are drawn in place of clips: slices of one recording are not independent.
    level : float. Coverage, in (0, 1).
    n_resamples, seed : int
    """
    correct = np.asarray(correct, dtype=float)
    if groups is None:
        sums, counts = correct, np.ones_like(correct)
    else:
        _, owners = np.unique(np.asarray(groups), return_inverse=True)
        sums, counts = np.bincount(owners, weights=correct), np.bincount(owners).astype(float)
    random = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for index in range(n_resamples):
        drawn = random.integers(len(sums), size=len(sums))
        means[index] = sums[drawn].sum() / counts[drawn].sum()
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def accuracy_by(keys: Any, correct: Any) -> dict[Any, dict[str, float]]:
    """Accuracy of each group of clips, e.g. each fold: sorted dict of key → {"accuracy": in [0, 1], "n": int}."""
    correct = np.asarray(correct, dtype=float)
    keys = np.asarray(keys)
    return {
        key.item(): {"accuracy": float(correct[keys == key].mean()), "n": int((keys == key).sum())}
        for key in np.unique(keys)
    }


def paired_difference(
    first: Any, second: Any, groups: Any = None, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Any:
    """Mean of ``second - first``, two models' scores of the same clips, in [-1, 1], and its paired bootstrap interval.

    Arguments
    ---------
    first, second : array of bool or float, shape (B,)
    groups, level, n_resamples, seed : See :func:`bootstrap_interval`.
    """
    first, second = _pair(first, second)
    difference = second.astype(float) - first.astype(float)
    return float(difference.mean()), bootstrap_interval(difference, groups, level, n_resamples, seed)


def mcnemar(first: Any, second: Any) -> Any:
    """McNemar's test whether two classifiers have equal error rates, from their right answers (B,) on the same clips.

    Returns ``n_first_only`` (b: right by the first alone), ``n_second_only`` (c), ``exact_p`` and ``mid_p``. If the
    rates are equal, b follows Binomial(b + c, 1/2). With k = min(b, c): exact p = min(1, 2 P(X <= k)); mid-p = 2 P(X <
    k) + P(X = k), which is less conservative. Clips are taken as independent; slices of one recording are not.

    Example
    -------
    >>> mcnemar([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 0])
    {'n_first_only': 5, 'n_second_only': 0, 'exact_p': 0.0625, 'mid_p': 0.03125}
    """
    first, second = (side.astype(bool) for side in _pair(first, second))
    n_first, n_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    n, k = n_first + n_second, min(n_first, n_second)
    term, below = 1, 0  # whole numbers: exact for any n
    for index in range(k):
        below += term
        term = term * (n - index) // (index + 1)
    whole = 2**n
    exact = min(1.0, 2 * (below + term) / whole)
    middle = min(1.0, (2 * below + term) / whole)
    return {"n_first_only": n_first, "n_second_only": n_second, "exact_p": exact, "mid_p": middle}


def _pair(first, second):
    """Two arrays of the same clips."""
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ConfigError(f"scores of shapes {first.shape} and {second.shape} are not of the same clips")
    return first, second
