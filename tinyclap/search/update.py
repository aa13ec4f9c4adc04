"""A search index brought up to date: new and changed recordings embedded, those that are gone left out."""

import os
import time
from typing import NamedTuple

import numpy as np

from tinyclap.audio.batch import embed_many, with_bar
from tinyclap.errors import AudioError

_FLUSH_S, _FLUSH_ROWS = 5.0, 1024  # what a killed run loses at most
_MOST_REMOVED, _FEW_REMOVED = 0.25, 1000  # share of rows that do not count; and how many are not worth a new copy


class UpdateReport(NamedTuple):
    """What an update did.

    Fields: ``n_added``, ``n_changed``, ``n_removed``, ``n_unchanged`` (int), ``broken`` (list of AudioError, the
    recordings that were found unusable), ``n_known_broken`` (int, those that are known for it and were not tried).
    """

    n_added: int
    n_changed: int
    n_removed: int
    n_unchanged: int
    broken: list
    n_known_broken: int


def stored_rows(rows, score_kind):
    """Embeddings (B, D) as an index keeps them, so that an inner product with a text's vector is the score.

    Arguments
    ---------
    rows : numpy.ndarray, shape (B, D)
    score_kind : {"cosine", "dot", "sqrt_dot"}
        Roots of the probabilities for "sqrt_dot"; else the rows themselves, which have length 1 for "cosine".

    Example
    -------
    >>> stored_rows(np.array([[4.0, 0.0, 9.0]]), "sqrt_dot").tolist()
    [[2.0, 0.0, 3.0]]
    """
    return np.sqrt(np.maximum(rows, 0)) if score_kind == "sqrt_dot" else rows


def update(
    index,
    model,
    sources,
    within=(),
    on_error="raise",
    n_workers=None,
    retry=False,
    longest_s=None,
    progress=None,
    tell=None,
):
    """Bring an index up to date.

    Arguments
    ---------
    index : tinyclap.search.folder.IndexFolder
        Of this model, locked.
    model : tinyclap.inference.sound_model.SoundModel
    sources : iterable of str or os.PathLike
        All the recordings that should be there, besides those of other folders.
    within : sequence of str or os.PathLike
        Folders that `sources` lists whole: what the index has of them and `sources` has not is removed.
    on_error : {"raise", "skip"}
        At a recording that cannot be used. A skipped one is remembered, and tried again once its file has changed.
    n_workers : int or None
        As for :func:`tinyclap.audio.batch.embed_many`.
    retry : bool
        Try those again that are known to be broken.
    longest_s : float or None
        Take longer recordings for broken, in seconds.
    progress : bool or None
        Show a bar.
    tell : callable, optional
        ``tell(error)``: called with the AudioError of each skipped recording.

    Returns
    -------
    UpdateReport

    Raises
    ------
    AudioError
        With ``on_error="raise"``; what was embedded before is kept.

    Notes
    -----
    A recording is known by its absolute path, and is embedded again if its size or time of change is another.
    """
    retry = retry or on_error == "raise"  # nothing is left out in silence
    wanted, broken = _sayable(dict.fromkeys(os.path.abspath(source) for source in sources), on_error, tell)
    there = {path: (row, size, mtime_ns) for row, path, size, mtime_ns in index.all_entries()}
    todo, known_broken = _to_do(index, wanted, there, retry)
    gone, forgotten = (_gone(paths, set(wanted), within) for paths in (there, index.state["broken"]))
    if gone or forgotten:
        index.append(np.zeros(0, np.float32), [], [there[path][0] for path in gone], dict.fromkeys(forgotten))
    batch, counts = _Batch(index, model.score_kind, there), {"added": 0, "changed": 0}
    results = embed_many(model, list(todo), n_workers, on_error, longest_s=longest_s)
    try:
        for path, result in with_bar(results, len(todo), progress):
            if isinstance(result, AudioError):
                broken.append(result)
                batch.add_broken(path, todo[path], result)
                if tell is not None:
                    tell(result)
            else:
                counts["changed" if path in there else "added"] += 1
                batch.add(path, todo[path], result)
    finally:
        results.close()
        batch.flush()
    n_removed = len(index.state["removed"])
    if n_removed > max(_FEW_REMOVED, _MOST_REMOVED * index.n_rows):
        index.compact()
    n_unchanged = len(wanted) - len(todo) - known_broken
    return UpdateReport(counts["added"], counts["changed"], len(gone), n_unchanged, broken, known_broken)


def _to_do(index, wanted, there, retry):
    """New and changed recordings with their (size, mtime_ns); and how many are known to be broken."""
    todo, n_known_broken = {}, 0
    for path in wanted:
        signature = _signature(path)
        before = index.state["broken"].get(path)
        if before is not None and not retry and (before["size"], before["mtime_ns"]) == signature:
            n_known_broken += 1
        elif path not in there or there[path][1:] != signature:
            todo[path] = signature
    return todo, n_known_broken


def _sayable(paths, on_error, tell):
    """The paths that are text, and an AudioError of each other: its bytes cannot be written into a JSON file."""
    wanted, broken = [], []
    for path in paths:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        if shown == path:
            wanted.append(path)
            continue
        broken.append(AudioError(shown, "has a name that is not UTF-8; rename the file"))
        if on_error == "raise":
            raise broken[-1]
        if tell is not None:
            tell(broken[-1])
    return wanted, broken


def _signature(path):
    """Size in bytes and time of change in nanoseconds; of a file that is not there, -1 and 0."""
    try:
        facts = os.stat(path)
    except OSError:
        return -1, 0
    return facts.st_size, facts.st_mtime_ns


def _gone(paths, wanted, within):
    """Those of the paths below the folders `within` that nobody wants any more."""
    folders = tuple(os.path.join(os.path.abspath(folder), "") for folder in within)
    return [path for path in paths if path not in wanted and path.startswith(folders)]


class _Batch:
    """What has been found out and is not yet in the index."""

    def __init__(self, index, score_kind, there):
        self._index, self._score_kind, self._there = index, score_kind, there
        self._clear()

    def _clear(self):
        self._rows, self._entries, self._removed, self._broken = [], [], [], {}
        self._since_s = time.monotonic()

    def add(self, path, signature, row):
        self._rows.append(stored_rows(row[None], self._score_kind)[0])
        self._entries.append((path, *signature))
        self._replace(path)

    def add_broken(self, path, signature, error):
        self._broken[path] = {"size": signature[0], "mtime_ns": signature[1], "why": error.problem}
        self._replace(path)

    def _replace(self, path):
        if path in self._there:
            self._removed.append(self._there[path][0])
        if len(self._entries) >= _FLUSH_ROWS or time.monotonic() - self._since_s > _FLUSH_S:
            self.flush()

    def flush(self):
        if self._entries or self._broken or self._removed:
            rows = np.array(self._rows, np.float32)
            self._index.append(rows, self._entries, self._removed, self._broken)
        self._clear()
