"""The rows of a matrix on disk that fit a query best: exactly, part by part, without a copy of the matrix in memory.

usearch, where it is installed, computes scores in the rows' own precision, and they only name candidates: those are
scored again in float32, and a part of which a row left out could be among the best is looked through by numpy.
"""

import importlib
import importlib.util
import sys
from typing import NamedTuple

import numpy as np

from tinyclap.errors import ConfigError

_CHUNK = 512  # rows turned into float32 at a time: they stay in a core's cache
_SPARE = 32  # candidates of a part beyond those that are asked for
# Of sums in float32 in the kernel, per length of query and row; with the rounding of the query, 3e-5 was seen.
_KERNEL_ERROR = 1e-4


class Part(NamedTuple):
    """Some rows of a matrix, in their order.

    Fields: ``rows`` (numpy.ndarray, shape (n, D), float16 or float32, memory-mapped or not), and ``longest`` (float,
    the greatest length of a row).
    """

    rows: np.ndarray
    longest: float


def nearest_rows(parts, queries, k, cosine=False, removed=(), n_threads=1):
    """The best rows of a matrix that lies in parts.

    Arguments
    ---------
    parts : sequence of Part
        Their rows are counted through.
    queries : numpy.ndarray, shape (Q, D), float32
    k : int
        How many to find, at most.
    cosine : bool
        Scores are inner products of directions, else of the rows as they are.
    removed : collection of int
        Rows that do not count.
    n_threads : int
        Threads of usearch; 0 takes all cores.

    Returns
    -------
    scores : numpy.ndarray, shape (Q, K), float32
        Best first; K is `k`, or the number of rows where that is less. Equal scores are in the order of rows.
    rows : numpy.ndarray, shape (Q, K), int64

    Raises
    ------
    ConfigError
        `k` is not above zero, or the queries have another number of dimensions.

    Example
    -------
    >>> parts = [Part(np.array([[1.0, 0.0], [0.0, 2.0]]), 2.0), Part(np.array([[3.0, 1.0]]), 3.2)]
    >>> scores, rows = nearest_rows(parts, np.array([[0.0, 1.0]]), k=2)
    >>> scores.tolist(), rows.tolist()
    ([[2.0, 1.0]], [[1, 2]])
    """
    queries = prepared_queries(queries, parts[0].rows.shape[1] if len(parts) else None, k, cosine)
    removed = np.sort(np.fromiter(removed, np.int64))
    best = [(np.zeros(0, np.float32), np.zeros(0, np.int64)) for _ in queries]
    places, first = [], 0
    for part in parts:
        gone = removed[np.searchsorted(removed, first) : np.searchsorted(removed, first + len(part.rows))] - first
        bounds = _with_candidates(best, part, first, queries, k, cosine, gone, n_threads)
        places.append((part, first, gone, bounds))
        first += len(part.rows)
    for part, first, gone, bounds in places:
        unsure = [i for i, (scores, _) in enumerate(best) if len(scores) < k or scores[-1] <= bounds[i]]
        _with_all(best, unsure, part, first, queries, k, cosine, gone)
    n_found = min((len(scores) for scores, _ in best), default=0)
    return (
        np.array([scores for scores, _ in best], np.float32).reshape(len(queries), n_found),
        np.array([rows for _, rows in best], np.int64).reshape(len(queries), n_found),
    )


def prepared_queries(queries, n_dims, k, cosine):
    """Queries as they are compared.

    Arguments
    ---------
    queries : numpy.ndarray, shape (Q, D)
    n_dims : int or None
        What D has to be, where that is known.
    k : int
    cosine : bool
        Make them of length 1.

    Returns
    -------
    numpy.ndarray, shape (Q, D), float32

    Raises
    ------
    ConfigError
        `k` is not above zero, or the shape is another.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    if int(k) != k or k < 1:
        raise ConfigError(f"k={k!r}: ask for one result or more")
    if queries.ndim != 2 or n_dims not in (None, queries.shape[1]):
        raise ConfigError(f"queries of shape {queries.shape}; the index wants (queries, {n_dims})")
    return queries / _lengths(queries)[:, None] if cosine else queries


def scored(rows, queries, cosine):
    """Scores in float32 of prepared queries (Q, D) and rows (n, D) of any precision: (Q, n)."""
    scores = np.empty((len(queries), len(rows)), np.float32)
    for first in range(0, len(rows), _CHUNK):
        chunk = np.asarray(rows[first : first + _CHUNK], np.float32)
        found = queries @ chunk.T
        scores[:, first : first + _CHUNK] = found / _lengths(chunk) if cosine else found
    return scores


def merged(best, scores, rows, k):
    """The best of what was found and of what is new.

    Arguments
    ---------
    best : (numpy.ndarray, numpy.ndarray)
        Scores (n,), float32, and rows (n,), int64.
    scores, rows : numpy.ndarray
        The same of what is new.
    k : int
        How many to keep, at most.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        As `best`; best first, equal scores by row.

    Example
    -------
    >>> merged((np.array([0.5]), np.array([7])), np.array([0.9, 0.5]), np.array([3, 1]), 2)[1].tolist()
    [3, 1]
    """
    scores, rows = np.concatenate([best[0], scores]), np.concatenate([best[1], rows])
    if len(scores) > 4 * k:
        # equal ones at the edge are kept, so that their order decides, not the partition's whim
        keep = scores >= np.partition(scores, -k)[-k]
        scores, rows = scores[keep], rows[keep]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def usearch_index():
    """The module ``usearch.index``; None where the library is not installed.

    usearch 2.26 on Linux, imported before onnxruntime, ends the process when onnxruntime follows; behind it, it does no
    harm.
    """
    try:
        if "usearch" not in sys.modules and importlib.util.find_spec("onnxruntime") is not None:
            importlib.import_module("onnxruntime")
        import usearch.index
    except ImportError:
        return None
    return usearch.index


def _with_candidates(best, part, first, queries, k, cosine, gone, n_threads):
    """Add the likeliest rows of a part to `best`; for each query, what the score of no other row exceeds."""
    usearch, n_wanted = usearch_index(), k + len(gone) + _SPARE
    if usearch is None or 4 * n_wanted > len(part.rows):
        return np.full(len(queries), np.inf)
    # of length 1, so that no query is beyond what float16 can say
    lengths = _lengths(queries)
    directions = queries / lengths[:, None]
    rounded = directions.astype(part.rows.dtype)
    metric = usearch.MetricKind.Cos if cosine else usearch.MetricKind.IP
    matches = usearch.search(part.rows, rounded, n_wanted, metric, exact=True, threads=n_threads)
    keys = np.asarray(matches.keys, np.int64).reshape(len(queries), n_wanted)
    for index, query in enumerate(queries):
        rows = np.setdiff1d(keys[index], gone)
        scores = scored(part.rows[rows], query[None], cosine)[0]
        best[index] = merged(best[index], scores, rows + first, k)
    last = 1 - np.asarray(matches.distances, np.float32).reshape(len(queries), n_wanted)[:, -1]
    # Cauchy and Schwarz; of directions, the query's length changes too, by as much at most
    rounding = np.linalg.norm(directions - rounded, axis=1) * (2 if cosine else 1) + _KERNEL_ERROR
    return lengths * (last + rounding * (1.0 if cosine else part.longest))


def _with_all(best, which, part, first, queries, k, cosine, gone):
    """Put all rows of a part, in place of its candidates, into `best` of the queries `which`."""
    if not which:
        return
    rows = np.setdiff1d(np.arange(len(part.rows)), gone, assume_unique=True)
    for index, scores in zip(which, scored(part.rows, queries[which], cosine)[:, rows], strict=True):
        others = (best[index][1] < first) | (best[index][1] >= first + len(part.rows))
        best[index] = merged((best[index][0][others], best[index][1][others]), scores, rows + first, k)


def _lengths(rows):
    return np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
