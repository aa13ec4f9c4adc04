"""Find recordings by a text or by another recording: an index of a folder's embeddings, kept on disk. No torch."""

import contextlib
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyclap.audio.find import SUFFIXES, find_recordings
from tinyclap.errors import AudioError, ConfigError
from tinyclap.search.database import Database, Embeddings
from tinyclap.search.update import UpdateReport, prune, update
from tinyclap.text.scores import audio_side

_MOST_SCORES = 1 << 24  # held in memory at a time


class SearchIndex:
    """An index of recordings, which follows what other processes write to its `database`; use `open` or `build`.

    ``model`` is the dict of :func:`model_identity`.
    """

    def __init__(self, database: Database) -> None:
        self.folder, self.model, self._database = database.folder, database.model, database
        self._stamp: int | None = None
        self._embeddings: Embeddings | None = None  # read when first searched

    def __len__(self) -> int:
        return self._database.n_found()

    def __repr__(self) -> str:
        return f"SearchIndex({str(self.folder)!r}, {len(self)} recordings, {self.model['name']})"

    @classmethod
    def open(cls, path: str | os.PathLike) -> "SearchIndex":
        """Open an index by its folder, or by a file in it; a CheckpointError if it is none, or damaged."""
        return cls(Database.open(path))

    @classmethod
    def build(
        cls,
        path: str | os.PathLike,
        model: Any,
        sources: Sequence[str | os.PathLike],
        dtype: str = "float16",
        on_error: str = "raise",
        n_workers: int | None = None,
        progress: bool | None = None,
    ) -> "SearchIndex":
        """Make an index, or bring one up to date: what has not changed is not embedded again.

        Arguments
        ---------
        path : str or os.PathLike. Of the index: a new or empty folder, or an index of this model.
        model : tinyclap.inference.sound_model.SoundModel
        sources : sequence of str or os.PathLike. Recordings, and folders of them.
        dtype : {"float16", "float32"}. Of the vectors of a new index.
        on_error, n_workers, progress : See :func:`tinyclap.search.update.update`.

        Raises
        ------
        AudioError: With ``on_error="raise"``, at the first unusable recording; what was embedded before it is kept.
        ConfigError: The index is of another model, cannot be written, or there are no recordings.
        """
        find_recordings(_words(sources))  # a slip in a name makes no index
        index = cls.open_for(path, model, dtype)
        index.add(model, sources, on_error, n_workers, progress=progress)
        return index

    @classmethod
    def open_for(cls, path: str | os.PathLike, model: Any, dtype: str = "float16") -> "SearchIndex":
        """Open the index of a model, or create an empty one where there is none; errors as for :meth:`build`."""
        identity = model_identity(model)
        database = Database.open(path) if Database.is_at(path) else Database.create(path, identity, dtype)
        database.require_model(identity)
        return cls(database)

    def add(
        self,
        model: Any,
        sources: Sequence[str | os.PathLike],
        on_error: str = "raise",
        n_workers: int | None = None,
        retry: bool = False,
        longest_s: float | None = None,
        progress: bool | None = None,
        tell: Callable[[Any], None] | None = None,
    ) -> UpdateReport:
        """Add recordings, and embed again those that have changed.

        Folders that cannot be read are among ``skipped`` of the UpdateReport; with ``on_error="raise"``, the first is
        raised at the end.

        Arguments
        ---------
        model : tinyclap.inference.sound_model.SoundModel
        sources : sequence of str or os.PathLike. Files, folders, patterns, ``@list.txt``, or ``-``.
        on_error, n_workers, retry, longest_s, progress : See :func:`tinyclap.search.update.update`.
        tell : callable, optional. ``tell(text)``, of each recording or folder that is skipped or left out.
        """
        self._database.require_model(model_identity(model))
        sources, closed = _words(sources), list[AudioError]()
        paths = find_recordings(sources, note=tell, unreadable=closed.append)
        folders = [source for source in sources if os.path.isdir(source)]
        report = update(self._database, model, paths, folders, on_error, n_workers, retry, longest_s, progress, tell)
        if closed and on_error == "raise":
            raise closed[0]
        for error in closed:
            if tell is not None:
                tell(error)
        return report._replace(skipped=[*closed, *report.skipped])

    def prune(self, folders: Sequence[str | os.PathLike] = ()) -> tuple[int, dict[str, int]]:
        """Remove recordings that are gone; see :func:`tinyclap.search.update.prune`."""
        return prune(self._database, folders)

    def skipped(self) -> dict[str, str]:
        """Recordings that could not be embedded: path → what is wrong."""
        return self._database.skipped()

    def verify(self) -> None:
        """Read the database and compare every vector with its checksum; CheckpointError where one has changed."""
        self._database.verify()

    def search(
        self, model: Any, query: str | os.PathLike | np.ndarray, k: int = 10, sample_rate_hz: int | None = None
    ) -> list[tuple[str, float]]:
        """Find what fits a text or a sound best, among all recordings: list of (path, score), best first.

        A text's score is that of :meth:`SoundModel.similarity`; a sound's is the cosine with the stored embedding,
        which for probabilities is that of their square roots.

        Arguments
        ---------
        model : tinyclap.inference.sound_model.SoundModel. The one of the index.
        query : str, os.PathLike or numpy.ndarray
            A sentence; or a recording, where the path exists; or a clip of shape (T,) or (channels, T).
        k : int. Maximum number of results.
        sample_rate_hz : int or None. Of an array.

        Raises
        ------
        ConfigError: Another model, an empty text, or `k` is not above zero.
        AudioError: The recording cannot be used, or the query reads like one that does not exist.
        """
        row, is_sound = self.query_row(model, query, sample_rate_hz)
        paths, scores = self.nearest(row[None], k, is_sound)
        return list(zip(paths[0], scores[0].tolist(), strict=True))

    def query_row(
        self, model: Any, query: str | os.PathLike | np.ndarray, sample_rate_hz: int | None = None
    ) -> tuple[np.ndarray, bool]:
        """The embedding (D,) float32 of a query, and whether it is a sound (True) or a text; errors as for `search`."""
        self._database.require_model(model_identity(model))
        is_path = isinstance(query, os.PathLike) or (isinstance(query, str) and _names_recording(query))
        if isinstance(query, str) and not is_path:
            # a model without a text side knows its own labels
            is_label = query in model.labels and model.backend.text is None
            return model.label_vectors([query], None if is_label else "{}")[1][0], False
        return audio_side(model.embed([query], sample_rate_hz, progress=False), model.score_kind)[0], True

    def nearest(self, rows: np.ndarray, k: int = 10, is_sound: bool = True) -> tuple[list[list[str]], np.ndarray]:
        """The best recordings for many queries, rows (Q, D) float32 of `query_row`, by a product with all embeddings.

        Paths, list of list of str, best first (of equal scores, the recording that was indexed first), and scores
        (Q, K) float32: K is `k`, or all where there are fewer. Sounds are compared by cosine, texts by the model's kind
        of score. ConfigError: `k` is not above zero, or `rows` have another shape.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1:
            raise ConfigError(f"k={k!r}: ask for one result or more")
        if rows.ndim != 2 or rows.shape[1] != self.model["embed_dim"]:
            raise ConfigError(f"queries of shape {rows.shape}; the index needs (queries, {self.model['embed_dim']})")
        cosine = is_sound or self.model["score"] == "cosine"
        if cosine:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        with self._snapshot() as (embeddings, paths_of):
            found, n_rows = [], max(1, _MOST_SCORES // max(1, len(embeddings.ids)))
            for first in range(0, len(rows), n_rows):
                part = rows[first : first + n_rows]
                # one query by the matrix-vector product, which reads the rows once
                product = [embeddings.vectors @ part[0]] if len(part) == 1 else part @ embeddings.vectors.T
                found += [_best(scores / embeddings.norms if cosine else scores, int(k)) for scores in product]
            paths = [paths_of(embeddings.ids[best]) for best, _ in found]
        return paths, np.array([scores for _, scores in found], np.float32).reshape(len(rows), -1)

    def paths(self) -> list[str]:
        """All recordings that can be found, in the order in which they were first indexed."""
        with self._snapshot() as (embeddings, paths_of):
            return paths_of(embeddings.ids)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[tuple[Embeddings, Callable[[Iterable[int]], list[str]]]]:
        """The embeddings as they are now, kept for the next search, and a function for the paths of ids."""
        with self._database.snapshot(self._stamp, self._embeddings) as (self._stamp, embeddings, paths_of):
            self._embeddings = embeddings
            yield embeddings, paths_of


def model_identity(model: Any) -> dict:
    """What says that two models give the same embeddings; ``sha256`` is of the fp32 graph, or of the weights."""
    config = model.config
    sha256 = config["files"][config["graphs"]["fp32"]] if "graphs" in config else config["saved"]["weights_sha256"]
    # a folder's name should hold in any working folder
    name = os.path.abspath(model.name) if os.path.isdir(model.name) else model.name
    return {"name": name, "sha256": sha256, "score": model.score_kind, "embed_dim": model.embed_dim}


def _words(sources):
    sources = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    try:
        return [os.fspath(source) for source in sources]
    except TypeError as error:
        raise ConfigError(f"sources={sources!r:.60}: give paths of recordings and folders ({error})") from None


def _best(scores, k):
    """Numbers and values of the k best scores (n,), best first, equal ones in their order."""
    keep = np.arange(len(scores))
    if len(scores) > 4 * k:
        keep = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    best = keep[np.argsort(-scores[keep], kind="stable")[:k]]
    return best, scores[best]


def _names_recording(text):
    """Whether a text is the path of a recording; AudioError where it reads like one and nothing is there."""
    if not text.strip():
        raise ConfigError("the query is empty; give a text, or the path of a recording")
    if os.path.isfile(text):
        return True
    if os.path.lexists(text) and (os.sep in text or text in (".", "..")):
        raise AudioError(text, "is a folder or a device, not a recording; give a text, or the path of a recording")
    if Path(text).suffix.lower() in SUFFIXES:
        raise AudioError(text, "no such file; check the path (a query that is no path is taken as a text)")
    return False
