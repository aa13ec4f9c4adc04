"""Nearest rows are those of brute force, whoever computes them."""

import numpy as np
import pytest

from tinyclap.errors import ConfigError
from tinyclap.search import nearest
from tinyclap.search.nearest import Part, nearest_rows, scored


def parts_of(rows, size):
    return [
        Part(part, float(np.linalg.norm(part.astype(np.float32), axis=1).max()))
        for part in (rows[first : first + size] for first in range(0, len(rows), size))
    ]


def brute_force(rows, queries, k, cosine, removed=()):
    """Scores and rows by one product in float64, equal scores by row."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    scores = queries @ rows.T
    if cosine:
        scores /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    scores[:, list(removed)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, 1), best


@pytest.fixture(params=["usearch", "numpy"])
def library(request, monkeypatch):
    """Both ways of finding candidates; numpy's is taken where usearch is not installed."""
    if request.param == "usearch":
        pytest.importorskip("usearch", reason="an extra: pip install 'tinyclap[search]'")
    else:
        monkeypatch.setattr(nearest, "usearch_index", lambda: None)
    return request.param


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("cosine", [False, True])
def test_the_best_rows_are_those_of_brute_force(library, dtype, cosine):
    generator = np.random.default_rng(0)
    rows = np.sqrt(generator.random((3000, 48)) ** 6).astype(dtype)
    queries = (generator.standard_normal((7, 48)) * np.logspace(-4, 6, 7)[:, None]).astype(np.float32)
    removed = set(generator.integers(3000, size=200).tolist())
    want_scores, want_rows = brute_force(rows, queries, 10, cosine, removed)
    scores, found = nearest_rows(parts_of(rows, 700), queries, 10, cosine, removed)
    assert np.array_equal(found, want_rows)
    assert np.allclose(scores, want_scores, rtol=1e-5)


def test_equal_rows_come_in_their_order_though_candidates_do_not(library):
    rows = np.tile(np.float16([[0.5, 0.25, 0.0, 0.0]]), (2000, 1))
    scores, found = nearest_rows(parts_of(rows, 1000), np.float32([[1, 2, 3, 4]]), 5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]
    assert scores.tolist() == [[1.0] * 5]


def test_a_near_tie_that_float16_would_turn_round_is_decided_in_float32(library):
    # of the query 1 + 2⁻¹² a float16 keeps 1: the two kinds of rows would then be equal, and row 0 would come first
    rows = np.zeros((4000, 4), np.float16)
    rows[:, :2] = [0.0, 1.0]
    rows[3999, :2] = [1.0, 0.0]
    query = np.float32([[1 + 2**-12, 1.0, 0, 0]])
    assert nearest_rows(parts_of(rows, 2000), query, 1)[1].tolist() == [[3999]]


def test_fewer_rows_than_are_asked_for_are_all_given():
    rows = np.eye(3, dtype=np.float32)
    scores, found = nearest_rows(parts_of(rows, 2), rows[:1] + rows[1:2] / 2, 10, removed={2})
    assert (scores.tolist(), found.tolist()) == ([[1.0, 0.5]], [[0, 1]])
    assert nearest_rows([], np.ones((2, 3)), 4)[1].shape == (2, 0)


def test_a_row_of_zeros_is_like_nothing():
    assert scored(np.zeros((1, 4), np.float16), np.ones((1, 4), np.float32) / 2, True).tolist() == [[0.0]]


@pytest.mark.parametrize("queries, k", [(np.ones((1, 3)), 0), (np.ones((1, 4)), 1), (np.ones(3), 1)])
def test_queries_that_cannot_be_meant_are_refused(queries, k):
    with pytest.raises(ConfigError):
        nearest_rows(parts_of(np.eye(3, dtype=np.float32), 2), queries, k)
