"""A search index on disk: rows in shards, what they belong to, and one small file that says what counts.

``index.json`` names the shards and everything else that is valid; it is replaced whole. A process that is killed, at
whatever moment, leaves the index as it was at the last replacement, and files that nobody names, which go with the next
update. A shard is never changed: one that is not full is written again, longer, under another name.
"""

import contextlib
import re
from pathlib import Path

import numpy as np

from tinyclap.data.shards import (
    checked_files,
    differences,
    is_whole,
    read_json,
    remove_stale,
    shard_file,
    shard_path,
    write_json,
    write_shard,
)
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.search.nearest import Part

INDEX, FORMAT = "index.json", 1
DTYPES = ("float16", "float32")
SHARD_SIZE = 16384
_ATTEMPTS = 3
_ENDINGS = ("npy", "json")
_OURS = re.compile(r"lock|rows_\d{7,}\.(npy|json|sha256)|graph_\d{7,}\.\w+\.usearch")


class IndexFolder:
    """The files of an index. Made by :meth:`open` and :meth:`create`.

    Arguments
    ---------
    folder : pathlib.Path
    state : dict
        Content of ``index.json``: ``format``, ``model`` (whose rows they are), ``dtype``, ``shards`` (``name``, ``n``
        rows, ``longest`` row's length), ``removed`` (numbers of rows that do not count), ``broken`` (recordings that
        cannot be used, by path: ``size``, ``mtime_ns``, ``why``), ``graph`` (or None), ``serial`` (of the next file).

    Attributes
    ----------
    parts : list of tinyclap.search.nearest.Part
        The rows of each shard, memory-mapped.
    """

    def __init__(self, folder, state):
        self.folder, self.state = folder, state
        self.parts = [self._part(shard) for shard in state["shards"]]

    @classmethod
    def open(cls, folder):
        """Open an index as it is.

        Raises
        ------
        CheckpointError
            There is none, it is of another format, or a shard is gone or cut short.
        """
        folder = Path(folder)
        for _ in range(_ATTEMPTS - 1):
            # a writer may replace a shard between our look at the names and at the files
            with contextlib.suppress(CheckpointError):
                return cls(folder, cls._read(folder))
        return cls(folder, cls._read(folder))

    @staticmethod
    def _read(folder):
        if not (folder / INDEX).is_file():
            raise CheckpointError(
                f"{folder}: no search index there (no {INDEX}); make one: tinyclap search --index {folder} --add FOLDER"
            )
        state = read_json(folder / INDEX)
        if not isinstance(state, dict) or state.get("format") != FORMAT or "shards" not in state:
            raise CheckpointError(
                f"{folder / INDEX}: not a search index of format {FORMAT}, which this version reads; index again into "
                "another folder, or install the version of tinyclap that wrote it"
            )
        return state

    @classmethod
    def create(cls, folder, identity, dtype="float16"):
        """Begin an index in a folder that is new or empty.

        Arguments
        ---------
        folder : str or os.PathLike
        identity : dict
            Of the model; see :func:`tinyclap.search.index.index_identity`.
        dtype : {"float16", "float32"}

        Raises
        ------
        ConfigError
            The folder holds something else.
        """
        folder = Path(folder)
        if dtype not in DTYPES:
            raise ConfigError(f"dtype={dtype!r}; choose {' or '.join(map(repr, DTYPES))}")
        foreign = [path.name for path in folder.glob("*") if not _OURS.fullmatch(path.name.lstrip("."))]
        if folder.exists() and (not folder.is_dir() or foreign):
            raise ConfigError(f"{folder} is not an empty folder; give the index a folder of its own")
        state = {"format": FORMAT, "kind": "search_index", "model": identity, "dtype": dtype}
        state |= {"shards": [], "removed": [], "broken": {}, "graph": None, "serial": 0}
        write_json(folder / INDEX, state)
        return cls(folder, state)

    @property
    def n_rows(self):
        """Rows that are stored, removed ones among them."""
        return sum(shard["n"] for shard in self.state["shards"])

    def require_model(self, identity):
        """Raise ConfigError unless the index is of the model with this identity."""
        there, here = (
            {key: value for key, value in facts.items() if key != "name"} for facts in (self.state["model"], identity)
        )
        if there != here:
            raise ConfigError(
                f"{self.folder} is an index of {self.state['model']['name']}, not of {identity['name']}: "
                f"{differences(there, here)}. Ask with that model, or index again into another folder"
            )

    def entries(self, shard):
        """What the rows of a shard belong to: a dict of lists ``path``, ``size`` (bytes) and ``mtime_ns``."""
        return read_json(shard_file(self._shard(shard), "json"))

    def all_entries(self):
        """Every row that counts: an iterator of (row number, path, size, mtime_ns)."""
        removed, first = set(self.state["removed"]), 0
        for shard in self.state["shards"]:
            entries = self.entries(shard)
            columns = zip(entries["path"], entries["size"], entries["mtime_ns"], strict=True)
            for row, columns_of_row in enumerate(columns, first):
                if row not in removed:
                    yield row, *columns_of_row
            first += shard["n"]

    def append(self, rows, entries, removed=(), broken=()):
        """Add rows, and make what was removed and found broken count, all at once.

        Arguments
        ---------
        rows : numpy.ndarray, shape (n, D), float32
        entries : list of (str, int, int), n of them
            Path, size and mtime_ns.
        removed : collection of int
            Numbers of older rows.
        broken : dict of str to dict or None
            As in ``state``; None forgets that the recording was broken.

        Raises
        ------
        ConfigError
            A value is beyond what the index's precision can say.
        """
        stored = np.asarray(rows, self.state["dtype"]).reshape(len(entries), self.state["model"]["embed_dim"])
        if not np.isfinite(stored).all():
            raise ConfigError(f"{self.folder}: embeddings beyond {self.state['dtype']}; index again with dtype float32")
        state = {**self.state, "shards": list(self.state["shards"])}
        state["removed"] = sorted({*state["removed"], *removed})
        broken = {**state["broken"], **dict(broken), **{path: None for path, *_ in entries}}
        state["broken"] = {path: facts for path, facts in broken.items() if facts is not None}
        replaced = []
        if len(stored) and state["shards"] and state["shards"][-1]["n"] < SHARD_SIZE:
            replaced = [state["shards"].pop()]
            stored = np.concatenate([self.parts[-1].rows, stored])
            old = self.entries(replaced[0])
            entries = [*zip(old["path"], old["size"], old["mtime_ns"], strict=True), *entries]
        for first in range(0, len(stored), SHARD_SIZE):
            self._write(state, stored[first : first + SHARD_SIZE], entries[first : first + SHARD_SIZE])
        self._commit(state, replaced)

    def compact(self):
        """Write the rows that count anew, without those that do not; a graph is dropped, for rows get new numbers."""
        state = {**self.state, "shards": [], "removed": [], "graph": None}
        kept = list(self.all_entries())
        starts = np.cumsum([0, *(shard["n"] for shard in self.state["shards"])])
        for first in range(0, len(kept), SHARD_SIZE):
            group = kept[first : first + SHARD_SIZE]
            numbers = np.array([number for number, *_ in group])
            owners = np.searchsorted(starts, numbers, "right") - 1
            stored = np.concatenate(
                [self.parts[owner].rows[numbers[owners == owner] - starts[owner]] for owner in np.unique(owners)]
            )
            self._write(state, stored, [entry for _, *entry in group])
        self._commit(state, self.state["shards"])

    def set_graph(self, facts):
        """Name the graph that counts; None for none."""
        self._commit({**self.state, "graph": facts}, [])

    def next_serial(self):
        """A number that no file of the index has."""
        self.state["serial"] += 1
        return self.state["serial"] - 1

    def verify(self):
        """Read every shard and compare it with its checksum; CheckpointError names the first that has changed."""
        for shard in self.state["shards"]:
            checked_files(self._shard(shard), _ENDINGS)

    def clear_leftovers(self):
        """Delete files that runs which were killed have left: those of ours that ``index.json`` does not name."""
        remove_stale(self.folder)
        graph = self.state["graph"]
        named = {shard["name"] for shard in self.state["shards"]} | set(graph["files"].values() if graph else ())
        for path in self.folder.iterdir():
            if (
                path.suffix
                and _OURS.fullmatch(path.name)
                and path.name not in named
                and path.name.split(".")[0] not in named
            ):
                path.unlink()

    @contextlib.contextmanager
    def locked(self):
        """Let nobody else write to this index meanwhile; ConfigError where somebody does."""
        with open(self.folder / ".lock", "w", encoding="utf-8") as file:
            try:
                import fcntl
            except ImportError:  # Windows: there two writers are the user's business
                yield
                return
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(f"{self.folder}: another process is writing to this index; wait for it") from error
            # what the other process wrote before it let go
            self.__init__(self.folder, self._read(self.folder))
            yield

    def _shard(self, shard):
        return self.folder / shard["name"]

    def _part(self, shard):
        path = shard_file(self._shard(shard), "npy")
        advice = f"the index is damaged; remove the folder {self.folder} and index again"
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not readable ({error}): {advice}") from error
        if rows.shape != (shard["n"], self.state["model"]["embed_dim"]) or not is_whole(self._shard(shard)):
            raise CheckpointError(f"{path}: not the shard that {INDEX} names: {advice}")
        return Part(rows, shard["longest"])

    def _write(self, state, stored, entries):
        shard = shard_path(self.folder, "rows", self.next_serial())
        columns = zip(("path", "size", "mtime_ns"), zip(*entries, strict=True), strict=True)
        write_shard(shard, {"npy": stored, "json": {name: list(column) for name, column in columns}})
        longest = float(np.linalg.norm(stored.astype(np.float32), axis=1).max())
        state["shards"].append({"name": shard.name, "n": len(stored), "longest": longest})

    def _commit(self, state, replaced):
        state["serial"] = self.state["serial"]
        write_json(self.folder / INDEX, state)
        self.state = state
        self.parts = [self._part(shard) for shard in state["shards"]]
        for shard in replaced:
            for ending in (*_ENDINGS, "sha256"):
                # where a reader's map keeps the file (Windows), it goes with a later update
                with contextlib.suppress(OSError):
                    shard_file(self._shard(shard), ending).unlink()
