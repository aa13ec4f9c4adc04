"""A graph of near rows beside an index: a search looks at some hundred rows of a million, and misses some of the best.

The graph (HNSW: Malkov & Yashunin, IEEE TPAMI 2020) is usearch's, in a file that is memory-mapped. It only names
candidates: they are scored from the index's own rows, and rows that are younger than the graph are searched exactly.
A graph wants a distance and an inner product is none, so rows that texts are compared with get one more column, which
makes them all of one length (Bachrach et al., RecSys 2014).
"""

import os

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.search.nearest import merged, nearest_rows, prepared_queries, scored, usearch_index

SOUND, TEXT = "sound", "text"
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 128, 512
_CANDIDATES = 16  # of each result that is asked for, so that rounding in the graph decides nothing


def build_graph(index, score_kind, n_threads=0, progress=None):
    """Make the graph of an index's rows, in place of an older one.

    Arguments
    ---------
    index : tinyclap.search.folder.IndexFolder
        Locked.
    score_kind : {"cosine", "dot", "sqrt_dot"}
        Texts are compared by inner product, sounds by cosine: two graphs, except for "cosine".
    n_threads : int
        0 takes all cores.
    progress : callable, optional
        ``progress(iterable)`` → the same, with a bar.

    Raises
    ------
    ConfigError
        usearch is not installed, or the index is empty.

    Notes
    -----
    Of 100,000 rows of 527 numbers the two take some minutes on a core, and as much disk as the index.
    """
    usearch = _required()
    removed = np.array(index.state["removed"], np.int64)
    if index.n_rows == len(removed):
        raise ConfigError(f"{index.folder}: the index is empty; add recordings first")
    serial, files = index.next_serial(), {}
    for kind in (SOUND,) if score_kind == "cosine" else (SOUND, TEXT):
        graph = usearch.Index(
            ndim=index.state["model"]["embed_dim"] + (kind == TEXT),
            metric=usearch.MetricKind.Cos,
            dtype="f16" if index.state["dtype"] == "float16" else "f32",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
        )
        longest, first = max(part.longest for part in index.parts), 0
        for part in index.parts if progress is None else progress(index.parts):
            numbers = np.setdiff1d(np.arange(first, first + len(part.rows)), removed, assume_unique=True)
            rows = part.rows[numbers - first]
            if len(rows):
                rows = _of_one_length(rows, longest) if kind == TEXT else np.ascontiguousarray(rows)
                graph.add(numbers.astype(np.uint64), rows, threads=n_threads)
            first += len(part.rows)
        files[kind] = f"graph_{serial:07d}.{kind}.usearch"
        graph.save(str(index.folder / f".{files[kind]}.part"))
        os.replace(index.folder / f".{files[kind]}.part", index.folder / files[kind])
    index.set_graph({"n_rows": index.n_rows, "files": files})


def open_graph(index):
    """The graph of an index, memory-mapped: dict of kind to ``usearch.index.Index``; None where there is none.

    Raises
    ------
    ConfigError
        There is one, and usearch is not installed.
    CheckpointError
        Its file is gone or damaged.
    """
    facts = index.state["graph"]
    if facts is None:
        return None
    usearch, graphs = _required(), {}
    for kind, name in facts["files"].items():
        try:
            graphs[kind] = usearch.Index.restore(str(index.folder / name), view=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"{index.folder / name}: not readable ({error}); make the graph again") from error
        if graphs[kind] is None:
            raise CheckpointError(f"{index.folder / name}: not a graph of usearch; make the graph again")
        graphs[kind].expansion_search = _EXPANSION_SEARCH
    return graphs


def graph_nearest(index, graphs, queries, k, cosine, n_threads=0):
    """What :func:`tinyclap.search.nearest.nearest_rows` finds, nearly, and quicker where there are many rows.

    Arguments
    ---------
    index : tinyclap.search.folder.IndexFolder
    graphs : dict
        From :func:`open_graph`.
    queries, k, cosine, n_threads
        See :func:`tinyclap.search.nearest.nearest_rows`.

    Returns
    -------
    scores : numpy.ndarray, shape (Q, K), float32
    rows : numpy.ndarray, shape (Q, K), int64
    """
    queries = prepared_queries(queries, index.state["model"]["embed_dim"], k, cosine)
    kind = SOUND if cosine else TEXT
    graph = graphs[kind]
    n_known, removed = index.state["graph"]["n_rows"], set(index.state["removed"])
    n_gone = sum(row < n_known for row in removed)
    count = min(len(graph), _CANDIDATES * k + min(n_gone, 1000))
    # of length 1, so that no query is beyond what float16 can say
    directions = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    if kind == TEXT:
        directions = np.pad(directions, ((0, 0), (0, 1)))
    keys = graph.search(directions.astype(index.state["dtype"]), count, threads=n_threads).keys
    starts = np.cumsum([0, *(len(part.rows) for part in index.parts)])
    results = []
    for query, found in zip(queries, np.asarray(keys, np.int64).reshape(len(queries), -1), strict=True):
        rows = np.array(sorted(set(found.tolist()) - removed), np.int64)
        scores = scored(_rows(index.parts, starts, rows), query[None], cosine)[0]
        results.append(_with_young(index, starts, (scores, rows), query, k, cosine, n_threads))
    n_found = min(len(scores) for scores, _ in results)
    return np.stack([scores[:n_found] for scores, _ in results]), np.stack([rows[:n_found] for _, rows in results])


def _with_young(index, starts, found, query, k, cosine, n_threads):
    """What was found in the graph, and in the rows that came after it."""
    n_known = index.state["graph"]["n_rows"]
    best = merged((np.zeros(0, np.float32), np.zeros(0, np.int64)), *found, k)
    if n_known == starts[-1]:
        return best
    first = int(np.searchsorted(starts, n_known, "right")) - 1
    young = list(index.parts[first:])
    young[0] = young[0]._replace(rows=young[0].rows[n_known - starts[first] :])
    gone = [row - n_known for row in index.state["removed"] if row >= n_known]
    scores, rows = nearest_rows(young, query[None], k, cosine, gone, n_threads)
    return merged(best, scores[0], rows[0] + n_known, k)


def _of_one_length(rows, longest):
    """Rows (n, D) with a column that makes each as long as the longest of all: (n, D + 1), of the same precision."""
    squares = np.square(rows, dtype=np.float32).sum(axis=1, keepdims=True)
    return np.concatenate([rows, np.sqrt(np.maximum(longest**2 - squares, 0)).astype(rows.dtype)], axis=1)


def _rows(parts, starts, rows):
    """Rows by their numbers: (n, D)."""
    owners = np.searchsorted(starts, rows, "right") - 1
    picked = [parts[owner].rows[row - starts[owner]] for owner, row in zip(owners, rows, strict=True)]
    return np.stack(picked) if picked else np.zeros((0, parts[0].rows.shape[1]), np.float32)


def _required():
    usearch = usearch_index()
    if usearch is None:
        raise ConfigError(
            "a graph needs usearch, which is not installed or does not load; run: pip install 'tinyclap[search]'"
        )
    return usearch
