"""Recordings found by a text or by another recording: an index of a folder's embeddings, kept on disk. No torch.

index = SearchIndex.build("my-index", model, ["recordings/"])
index.search(model, "a dog barks")
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from tinyclap.audio.find import SUFFIXES, find_recordings
from tinyclap.errors import AudioError, CheckpointError
from tinyclap.search.folder import INDEX, IndexFolder
from tinyclap.search.graph import build_graph, graph_nearest, open_graph
from tinyclap.search.nearest import nearest_rows
from tinyclap.search.update import stored_rows, update


class SearchIndex:
    """An index as it was when it was opened; it is memory-mapped, so opening one of a million rows takes a moment.

    Arguments
    ---------
    files : tinyclap.search.folder.IndexFolder
        Use :meth:`open` or :meth:`build`.

    Attributes
    ----------
    folder : pathlib.Path
    model : dict
        Whose embeddings they are: ``name``, ``sha256``, ``score``, ``embed_dim``.
    has_graph : bool
        Whether a graph was made, with which searches are approximate unless they are told not to be.
    """

    def __init__(self, files):
        self.folder, self._files = files.folder, files
        self.model, self.has_graph = files.state["model"], files.state["graph"] is not None
        self._graphs = None

    def __len__(self):
        return self._files.n_rows - len(self._files.state["removed"])

    def __repr__(self):
        return f"SearchIndex({str(self.folder)!r}, {len(self)} recordings, {self.model['name']})"

    @classmethod
    def open(cls, folder):
        """Open an index.

        Arguments
        ---------
        folder : str or os.PathLike

        Returns
        -------
        SearchIndex

        Raises
        ------
        CheckpointError
            There is none, or it is damaged.
        """
        return cls(IndexFolder.open(folder))

    @classmethod
    def build(cls, folder, model, sources, dtype="float16", on_error="raise", n_workers=None, progress=None):
        """Make an index, or bring one up to date: what has not changed is not embedded again.

        Arguments
        ---------
        folder : str or os.PathLike
            Of the index: new, empty, or an index of this model.
        model : tinyclap.inference.sound_model.SoundModel
        sources : sequence of str or os.PathLike
            Recordings, and folders of them, whose recordings that are gone leave the index.
        dtype : {"float16", "float32"}
            Of a new index.
        on_error, n_workers, progress
            See :func:`tinyclap.search.update.update`.

        Returns
        -------
        SearchIndex

        Raises
        ------
        AudioError
            With ``on_error="raise"``: the first recording that cannot be used; what was done before it is kept.
        ConfigError
            The index is of another model or somebody is writing to it, or there are no recordings.
        """
        sources = [os.fspath(source) for source in sources]
        paths = find_recordings(sources)
        with opened_for_update(folder, model, dtype) as files:
            update(files, model, paths, folders_of(sources), on_error, n_workers, progress=progress)
        return cls.open(folder)

    def search(self, model, query, k=10, sample_rate_hz=None, exact=None):
        """Find what fits a text or a sound best.

        Arguments
        ---------
        model : tinyclap.inference.sound_model.SoundModel
            The one of the index.
        query : str, os.PathLike or numpy.ndarray
            A sentence; or a recording, where the path exists; or a clip of shape (T,) or (channels, T).
        k : int
        sample_rate_hz : int or None
            Of an array.
        exact : bool or None
            Look at every row. None does so unless there is a graph.

        Returns
        -------
        list of (str, float)
            Path and score, best first. A text's score is that of :meth:`SoundModel.similarity`;
            a sound's is the cosine with the stored row, which in spaces of probabilities is that of their roots.

        Raises
        ------
        ConfigError
            Another model, or `k` is not above zero.
        AudioError
            The recording cannot be used, or the query reads like one that does not exist.
        """
        row, is_sound = self.query_row(model, query, sample_rate_hz)
        for is_last in (False, True):
            try:
                scores, rows = self.nearest(row[None], k, is_sound, exact)
                return list(zip(self.paths(rows[0]), scores[0].tolist(), strict=True))
            except FileNotFoundError as error:
                if is_last:
                    raise CheckpointError(f"{self.folder}: {error.filename} is gone; index again") from error
                # an update has replaced files since
                self.__init__(IndexFolder.open(self.folder))

    def query_row(self, model, query, sample_rate_hz=None):
        """What a query is compared by: a row (D,) float32, and whether it is a sound (True) or a text.

        Raises
        ------
        ConfigError, AudioError
            As for `search`.
        """
        self._files.require_model(index_identity(model))
        is_path = isinstance(query, os.PathLike) or (isinstance(query, str) and _names_recording(query))
        if isinstance(query, str) and not is_path:
            # a model without a text side knows its own labels
            is_label = query in model.labels and model.backend.text is None
            return model.label_vectors([query], None if is_label else "{}")[1][0], False
        return stored_rows(model.embed([query], sample_rate_hz, progress=False), model.score_kind)[0], True

    def nearest(self, rows, k=10, is_sound=True, exact=None, n_threads=0):
        """The best rows of the index for many queries.

        Arguments
        ---------
        rows : numpy.ndarray, shape (Q, D), float32
            From `query_row`.
        k : int
        is_sound : bool
            They are sounds, compared by cosine, or texts, compared by the model's kind of score.
        exact : bool or None
            See `search`.
        n_threads : int
            0 takes all cores.

        Returns
        -------
        scores : numpy.ndarray, shape (Q, K), float32
            Best first; K is `k`, or less where there are not so many recordings.
        rows : numpy.ndarray, shape (Q, K), int64
            Row numbers, for `paths`.
        """
        files, cosine = self._files, is_sound or self.model["score"] == "cosine"
        if exact or not self.has_graph:
            return nearest_rows(files.parts, rows, k, cosine, files.state["removed"], n_threads)
        if self._graphs is None:
            self._graphs = open_graph(files)
        return graph_nearest(files, self._graphs, rows, k, cosine, n_threads)

    def paths(self, rows=None):
        """Recordings of row numbers, in their order, or all of them: list of str, absolute paths."""
        if rows is None:
            return [path for _, path, *_ in self._files.all_entries()]
        shards = self._files.state["shards"]
        starts = np.cumsum([0, *(shard["n"] for shard in shards)])
        owners = np.searchsorted(starts, rows, "right") - 1
        names = {owner: self._files.entries(shards[owner])["path"] for owner in set(owners.tolist())}
        return [names[owner][row - starts[owner]] for owner, row in zip(owners.tolist(), rows, strict=True)]

    def build_graph(self, n_threads=0):
        """Make the graph with which searches among millions of rows are quick and approximate; needs usearch.

        Raises
        ------
        ConfigError
            usearch is not installed, the index is empty, or somebody is writing to it.
        """
        with self._files.locked():
            build_graph(self._files, self.model["score"], n_threads)
            self._files.clear_leftovers()
        self.__init__(self._files)

    def verify(self):
        """Compare every stored file with its checksum; CheckpointError names the first that has changed."""
        self._files.verify()


@contextlib.contextmanager
def opened_for_update(folder, model, dtype="float16"):
    """A context in which an index may be written to: opened, or begun where there is none, and locked.

    Arguments
    ---------
    folder : str or os.PathLike
    model : tinyclap.inference.sound_model.SoundModel
    dtype : {"float16", "float32"}
        Of a new one.

    Yields
    ------
    tinyclap.search.folder.IndexFolder

    Raises
    ------
    ConfigError
        The index is of another model, somebody is writing to it, or the folder holds something else.
    CheckpointError
        The index is damaged.
    """
    folder, identity = Path(folder), index_identity(model)
    if (folder / INDEX).is_file():
        files = IndexFolder.open(folder)
        files.require_model(identity)
    else:
        files = IndexFolder.create(folder, identity, dtype)
    with files.locked():
        files.clear_leftovers()
        yield files


def folders_of(words):
    """Those of the given paths that are folders."""
    return [word for word in words if os.path.isdir(word)]


def index_identity(model):
    """What says that two models give the same embeddings: dict of ``name``, ``sha256``, ``score``, ``embed_dim``.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel

    Returns
    -------
    dict
        ``sha256`` is that of the fp32 graph of an exported folder, or of a checkpoint's weights.
    """
    config = model.config
    sha256 = config["files"][config["graphs"]["fp32"]] if "graphs" in config else config["saved"]["weights_sha256"]
    # a folder's name is good in any working folder
    name = os.path.abspath(model.name) if os.path.isdir(model.name) else model.name
    return {"name": name, "sha256": sha256, "score": model.score_kind, "embed_dim": model.embed_dim}


def _names_recording(text):
    """Whether a text is the path of a recording; AudioError where it reads like one and nothing is there."""
    if os.path.isfile(text):
        return True
    if Path(text).suffix.lower() in SUFFIXES:
        raise AudioError(text, "no such file; check the path (a query that is no path is taken as a text)")
    return False
