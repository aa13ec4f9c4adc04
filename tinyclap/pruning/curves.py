"""Accuracy by number of dimensions: masking, PCA and whitening, from ``embeddings.npz`` of an evaluation.

See :mod:`tinyclap.pruning.ranking` for what is masked and normalised.
"""

from typing import NamedTuple

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.metrics.classification import bootstrap_interval
from tinyclap.pruning.ranking import RIDGE, STATISTICS, order_of, principal_basis, read_arrays
from tinyclap.text.scores import audio_side

METHODS = ("plain", "variance", "random", "pca", "whitening", "nested")
N_RANDOM_ORDERS = 5
_DUMPED = ("audio", "text", "labels", "groups", "score_kind")


class Scored(NamedTuple):
    """Embeddings of one benchmark, ``audio`` in the form that enters the dot product; ``groups`` are recordings."""

    audio: np.ndarray  # (B, D)
    text: np.ndarray  # (N, D)
    labels: np.ndarray  # (B,), int
    groups: np.ndarray  # (B,), str
    score_kind: str


def read_scored(path):
    """Read an ``embeddings.npz``: :class:`Scored`."""
    arrays = read_arrays(path, _DUMPED)
    kind = str(arrays["score_kind"])
    text = np.asarray(arrays["text"], dtype=np.float64)
    return Scored(audio_side(arrays["audio"].astype(np.float64), kind), text, arrays["labels"], arrays["groups"], kind)


def hits_by_kept(audio, text, labels, cosine=True):
    """Whether each clip is right with its first k dimensions, for every k: bool (B, D), column k − 1.

    Arguments
    ---------
    audio, text : array, shapes (B, D) and (N, D). Their columns in the order in which they are kept.
    labels : array of int, shape (B,)
    cosine : bool. Divide by the length of what is kept of each text; that of the audio changes no decision.
    """
    audio, text = np.asarray(audio, dtype=np.float64), np.asarray(text, dtype=np.float64)
    labels, hits = np.asarray(labels), np.empty(audio.shape, dtype=bool)
    dots, squares = np.zeros((len(audio), len(text))), np.zeros(len(text))
    for index in range(audio.shape[1]):
        dots += np.outer(audio[:, index], text[:, index])
        squares += text[:, index] ** 2
        # a text without anything yet scores 0
        scores = dots / np.sqrt(np.maximum(squares, 1e-24)) if cosine else dots
        hits[:, index] = scores.argmax(axis=1) == labels
    return hits


def method_hits(scored, moments, method, order=None, ridge=RIDGE, n_random=N_RANDOM_ORDERS):
    """Whether each clip is right with each number of dimensions, by one way of choosing them: float (B, D), in [0, 1].

    Arguments
    ---------
    scored : Scored
    moments : dict. ``moments.npz`` of the model's ranking.
    method : {"plain", "variance", "random", "pca", "whitening", "nested"}
        By mean absolute activation (the paper's), by standard deviation, the mean over random orders, see
        :func:`principal_basis`, or in their own order, for a model trained for it.
    order : sequence of int, optional. Of ``"nested"``, where it is not 0, 1, 2 …
    ridge, n_random : float and int. Of ``"whitening"``; random orders, with the seeds 0, 1, …
    """
    n_dims = scored.audio.shape[1]
    if len(moments["mean_abs"]) != n_dims:
        found = len(moments["mean_abs"])
        raise ConfigError(f"moments of {found} dimensions for embeddings of {n_dims}: another model's")
    if method in ("plain", "variance"):
        orders = [order_of(moments[STATISTICS["mean_abs" if method == "plain" else method]])]
    elif method == "random":
        orders = [np.random.default_rng(seed).permutation(n_dims) for seed in range(n_random)]
    elif method == "nested":
        orders = [list(range(n_dims)) if order is None else list(order)]
        if sorted(orders[0]) != list(range(n_dims)):
            raise ConfigError(f"an order of {len(orders[0])} dimensions for embeddings of {n_dims}: another model's")
    elif method in ("pca", "whitening"):
        basis = principal_basis(moments["second_moment"], method == "whitening", ridge)
        turned = scored._replace(audio=scored.audio @ basis, text=scored.text @ basis)
        return _hits(turned, slice(None)).astype(float)
    else:
        raise ConfigError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    return np.mean([_hits(scored, chosen) for chosen in orders], axis=0)


def _hits(scored, columns):
    cosine = scored.score_kind == "cosine"
    return hits_by_kept(scored.audio[:, columns], scored.text[:, columns], scored.labels, cosine)


def curve_points(hits, fractions, groups=None, seed=0):
    """Accuracy with its 95 % interval at some kept fractions: list of dict, by falling ``kept``.

    Arguments
    ---------
    hits : array, shape (B, D). Of :func:`method_hits`.
    fractions : iterable of float. In (0, 1]; at least one dimension is kept.
    groups : sequence, length B, optional. See :func:`tinyclap.metrics.classification.bootstrap_interval`.
    seed : int. The same clips are drawn at every fraction.
    """
    hits = np.asarray(hits, dtype=float)
    n_dims = hits.shape[1]
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong:
        raise ConfigError(f"kept fractions {wrong} are outside (0, 1]")
    points = []
    for kept in sorted({max(1, round(fraction * n_dims)) for fraction in fractions}, reverse=True):
        right = hits[:, kept - 1]
        low, high = bootstrap_interval(right, groups, seed=seed)
        point = {"kept": kept, "kept_fraction": kept / n_dims, "accuracy": float(right.mean())}
        points.append({**point, "low": low, "high": high})
    return points


def kept_at_fall(accuracies, full, points):
    """The minimum number of dimensions from which on accuracy has not fallen by `points` percentage points.

    `accuracies` (…, D), in [0, 1], has accuracy with k dimensions at k − 1; `full` (…) is that of the whole model. From
    1 to D; D + 1 where all dimensions together have fallen further already, as whitened ones can.

    Example
    -------
    >>> int(kept_at_fall([0.2, 0.81, 0.7, 0.8], 0.8, 5)), int(kept_at_fall([0.2, 0.81, 0.78, 0.8], 0.8, 5))
    (4, 2)
    """
    accuracies, full = np.asarray(accuracies, dtype=float), np.asarray(full, dtype=float)
    fallen = accuracies < full[..., None] - points / 100 - 1e-9
    n_dims = accuracies.shape[-1]
    last_fallen = np.where(fallen.any(axis=-1), n_dims - fallen[..., ::-1].argmax(axis=-1), 0)
    return last_fallen + 1


def fall_interval(hits, full_hits, points, groups=None, n_resamples=1000, level=0.95, seed=0):
    """Percentile bootstrap interval (int, int) of :func:`kept_at_fall`; the same clips are drawn for both accuracies.

    Arguments
    ---------
    hits, full_hits : array, shapes (B, D) and (B,). Of the pruned and of the whole model.
    points : float
    groups, n_resamples, level, seed : See :func:`tinyclap.metrics.classification.bootstrap_interval`.
    """
    hits, full_hits = np.asarray(hits, dtype=float), np.asarray(full_hits, dtype=float)
    owners = np.arange(len(hits)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = owners.max() + 1
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)
    weights = drawn[:, owners].astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    kept = kept_at_fall(weights @ hits, weights @ full_hits, points)
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail], method="nearest")
    return int(low), int(high)
