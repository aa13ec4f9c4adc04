"""The nearest recordings are those of a product in float64, from memory or from the memory-mapped copy."""

import os

import numpy as np
import pytest

from tests.unit.search.index_rows import of_rows
from tinyclap.errors import ConfigError
from tinyclap.search import database
from tinyclap.search.database import Database, Recording
from tinyclap.search.index import SearchIndex


def brute_force(rows, queries, k, cosine):
    """Scores and rows by one product in float64, equal scores by row."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    scores = queries @ rows.T
    if cosine:
        scores /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, 1), [[f"/data/{row:08d}.wav" for row in found] for found in best.tolist()]


@pytest.mark.parametrize("mapped_from", [1, 10_000])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("cosine", [False, True])
def test_the_best_recordings_are_those_of_brute_force(tmp_path, monkeypatch, mapped_from, dtype, cosine):
    monkeypatch.setattr(database, "_MAPPED_FROM", mapped_from)
    generator = np.random.default_rng(0)
    rows = np.sqrt(generator.random((3000, 48)) ** 6).astype(dtype)
    queries = (generator.standard_normal((7, 48)) * np.logspace(-4, 6, 7)[:, None]).astype(np.float32)
    index = of_rows(tmp_path, rows, dtype)
    want_scores, want_paths = brute_force(rows, queries, 10, cosine)
    paths, scores = index.nearest(queries, 10, cosine)
    assert paths == want_paths and np.allclose(scores, want_scores, rtol=1e-5)
    assert [index.nearest(query[None], 10, cosine)[0][0] for query in queries] == want_paths


def test_the_copy_of_the_embeddings_is_made_again_when_it_is_old_or_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_MAPPED_FROM", 1)
    index = of_rows(tmp_path, np.eye(4, dtype=np.float32))
    assert index.nearest(np.ones((1, 4)), 1, False)[0] == [["/data/00000000.wav"]]
    (old,) = tmp_path.glob("vectors-*.f32")
    Database.open(tmp_path).write([(Recording("/new", "/", "1", 1, 1), np.full(4, 2.0))])
    assert index.nearest(np.ones((1, 4)), 1, False)[0] == [["/new"]]
    (new,) = tmp_path.glob("vectors-*.f32")
    assert new != old
    del index
    os.truncate(new, new.stat().st_size // 2)
    assert SearchIndex.open(tmp_path).nearest(np.ones((1, 4)), 1, False)[0] == [["/new"]]


def test_equal_scores_come_in_the_order_of_indexing(tmp_path):
    index = of_rows(tmp_path, np.tile(np.float32([[0.5, 0.25, 0.0, 0.0]]), (2000, 1)))
    paths, scores = index.nearest(np.float32([[1, 2, 3, 4]]), 5, False)
    assert paths == [[f"/data/{row:08d}.wav" for row in range(5)]] and scores.tolist() == [[1.0] * 5]


def test_fewer_recordings_than_asked_for_are_all_given(tmp_path):
    index = of_rows(tmp_path, np.eye(3, dtype=np.float32))
    assert index.nearest(np.float32([[1, 0.5, 0], [0, 0, 0]]), 10**12, False)[1].tolist() == [[1, 0.5, 0], [0, 0, 0]]


@pytest.mark.parametrize("queries, k", [(np.ones((1, 3)), 0), (np.ones((1, 4)), 1), (np.ones(3), 1), (np.eye(3), 1.5)])
def test_queries_of_a_wrong_shape_or_number_are_refused(tmp_path, queries, k):
    with pytest.raises(ConfigError):
        of_rows(tmp_path, np.eye(3, dtype=np.float32)).nearest(queries, k)


def test_a_value_beyond_float16_is_refused_and_nothing_of_its_batch_is_kept(tmp_path):
    with pytest.raises(ConfigError, match="float32"):
        of_rows(tmp_path, np.float32([[1, 2], [1e9, 0]]), "float16")
    assert len(SearchIndex.open(tmp_path)) == 0
