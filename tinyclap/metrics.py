"""Scores of zero-shot classification, as pure functions over numpy arrays.

Source of the interval: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, percentile method.
"""

import numpy as np


def accuracy(predictions, labels):
    """Share of equal entries, in [0, 1].

    Arguments
    ---------
    predictions, labels : array of int, shape (B,)
    """
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def bootstrap_interval(correct, groups=None, level=0.95, n_resamples=2000, seed=0):
    """Percentile bootstrap interval of an accuracy.

    Arguments
    ---------
    correct : array of bool or float, shape (B,)
        One score per clip.
    groups : sequence, length B, optional
        Clips of one group (slices of one recording) are not independent: whole groups are drawn, not clips.
    level : float
        Coverage, in (0, 1).
    n_resamples : int
    seed : int

    Returns
    -------
    (float, float)
        Lower and upper end, in [0, 1].

    Example
    -------
    >>> low, high = bootstrap_interval([1, 1, 1, 0] * 25)
    >>> bool(0.6 < low < 0.75 < high < 0.9)
    True
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


def accuracy_by(keys, correct):
    """Accuracy within each group, e.g. each fold or class.

    Arguments
    ---------
    keys : sequence, length B
    correct : array of bool, shape (B,)

    Returns
    -------
    dict
        key → {"accuracy": float in [0, 1], "n": int}, keys in sorted order.
    """
    correct = np.asarray(correct, dtype=float)
    keys = np.asarray(keys)
    return {
        key.item(): {"accuracy": float(correct[keys == key].mean()), "n": int((keys == key).sum())}
        for key in np.unique(keys)
    }
