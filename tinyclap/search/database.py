"""A search index on disk: ``index.json`` says its format and model, ``index.sqlite`` holds recordings and embeddings.

Every change is a transaction of SQLite's, flushed to the disk: a crash or a full disk costs what was not committed yet,
and several processes may write at once. For searches, the embeddings of a large index are copied into a memory-mapped
file, which is made again after each change and may be deleted at any time.
"""

import contextlib
import io
import os
import secrets
import sqlite3
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import atomic_path, read_json, write_json

INDEX, DATABASE, FORMAT = "index.json", "index.sqlite", 2
DTYPES = {"float16": "<f2", "float32": "<f4"}
_TABLES = {
    "recordings": (
        "CREATE TABLE recordings (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, folder BLOB NOT NULL, "
        "device TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT)"
    ),
    "vectors": "CREATE TABLE vectors (id INTEGER PRIMARY KEY, crc32 INTEGER NOT NULL, vector BLOB NOT NULL)",
}
_ANEW = "index again into another folder"
_WAIT_S, _READ_WAIT_S = 60.0, 10.0  # for another process's transaction
_MAPPED_FROM = 10_000  # recordings; fewer are read in some milliseconds
_CHUNK = 4096
_OLD_S = 3600.0  # age at which another process's temporary file is a leftover


class Recording(NamedTuple):
    """A recording: absolute path, the folder it was indexed by, device (st_dev), size in bytes, time of change."""

    path: str
    folder: str
    device: str
    size: int
    mtime_ns: int


class Embeddings(NamedTuple):
    """Rows of an index: ``vectors`` (n, D) float32, their lengths ``norms`` (n,), and ``ids`` (n,) of recordings."""

    vectors: np.ndarray
    norms: np.ndarray
    ids: np.ndarray


class Database:
    """The files of an index. Made by :meth:`open` and :meth:`create`.

    `folder` holds ``index.json``, whose content is the `state`: ``format``, ``model`` (its ``name``, ``sha256``,
    ``score``, ``embed_dim``) and ``dtype`` of the stored vectors.
    """

    def __init__(self, folder, state):
        self.folder, self.path, self.model = folder, folder / DATABASE, state["model"]
        self._dtype = np.dtype(DTYPES[state["dtype"]])

    @staticmethod
    def is_at(path):
        """Whether there is an index, in whatever state."""
        return os.path.lexists(_folder_of(path) / INDEX)

    @classmethod
    def open(cls, path):
        """Open an index by its folder, or by one of its two files; a CheckpointError if it is none, or damaged."""
        folder = _folder_of(path)
        if not cls.is_at(folder):
            advice = f"make one: tinyclap search --index {folder} --add FOLDER"
            raise CheckpointError(f"{folder}: no search index there (no {INDEX}); {advice}")
        state = read_json(folder / INDEX, _ANEW)
        found = state.get("format")
        if found != FORMAT:
            newer = isinstance(found, int) and found > FORMAT
            advice = "install the tinyclap that wrote it" if newer else _ANEW
            raise CheckpointError(f"{folder / INDEX}: format {found!r}; this version reads format {FORMAT}; {advice}")
        if wrong := _wrong_in(state):
            raise CheckpointError(f"{folder / INDEX}: not a search index: {wrong}; {_ANEW}")
        for name in (INDEX, DATABASE, f"{DATABASE}-journal", f"{DATABASE}-wal", f"{DATABASE}-shm"):
            if (folder / name).is_symlink():
                raise CheckpointError(f"{folder / name}: a link, which may lead out of the index's folder; {_ANEW}")
        if not (folder / DATABASE).is_file() or not (folder / DATABASE).stat().st_size:
            raise CheckpointError(f"{folder / DATABASE}: missing or empty; {_ANEW}")
        made = cls(folder, state)
        with made._transaction():  # which checks the tables
            return made

    @classmethod
    def create(cls, path, model, dtype="float16"):
        """Create an index in a folder that is new or empty, or open the one that another process just created.

        `model` is from :func:`tinyclap.search.index.model_identity`, `dtype` a key of :data:`DTYPES`. ConfigError: the
        folder holds something else, or cannot be written.
        """
        if dtype not in DTYPES:
            raise ConfigError(f"dtype={dtype!r}; choose {' or '.join(map(repr, DTYPES))}")
        folder = _folder_of(path)
        state = {"format": FORMAT, "kind": "search_index", "model": model, "dtype": dtype}
        state["shards"] = [{"name": DATABASE}]
        made = cls(folder, state)
        try:
            if folder.exists() and any(not _is_ours(name) for name in os.listdir(folder)):
                raise ConfigError(f"{folder} is not an empty folder; give the index a folder of its own")
            folder.mkdir(parents=True, exist_ok=True)
            with made._transaction(write=True, create=True) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for sql in _TABLES.values():
                        connection.execute(sql)
            with made._transaction(write=True) as connection:  # holds off others that create the same index
                if not (folder / INDEX).exists():
                    if connection.execute("SELECT 1 FROM recordings").fetchone():
                        raise CheckpointError(f"{folder / INDEX}: missing beside an index that is in use; {_ANEW}")
                    write_json(folder / INDEX, state)
        except OSError as error:
            raise ConfigError(f"{folder}: no index can be made there ({error}); choose another folder") from error
        return cls.open(folder)

    def require_model(self, model):
        """Raise ConfigError unless the index is of the model with this identity."""
        differing = [key for key in ("sha256", "score", "embed_dim") if self.model[key] != model[key]]
        if differing:
            key = differing[0]
            why = f"{key} is {self.model[key]} there, {model[key]} here; search with that model, or {_ANEW}"
            raise ConfigError(f"{self.folder} is an index of {self.model['name']}, not of {model['name']}: {why}")

    def known_of(self, paths):
        """What is stored of each path: list of (size, mtime_ns, problem) or None."""
        select = "SELECT size, mtime_ns, problem FROM recordings WHERE path = ?"
        with self._transaction() as connection:
            return [connection.execute(select, (os.fsencode(path),)).fetchone() for path in paths]

    def write(self, entries):
        """Add or replace recordings in one transaction.

        `entries` are pairs of a Recording and its embedding (D,), or what is wrong with it (str). ConfigError: no
        space, no permission, another process writes for too long; or a value beyond the stored type's range.
        """
        stored = []
        for recording, row in entries:
            if isinstance(row, str):
                stored.append((recording, row.encode("utf-8", "backslashreplace").decode(), None))
                continue
            with np.errstate(over="ignore"):
                vector = np.asarray(row).astype(self._dtype)
            if not np.isfinite(vector).all():
                raise ConfigError(f"{recording.path}: embedding beyond {self._dtype.name}; index again with float32")
            stored.append((recording, None, vector.tobytes()))
        with self._transaction(write=True) as connection:
            for recording, problem, vector in stored:
                path = os.fsencode(recording.path)
                connection.execute(
                    "INSERT INTO recordings (path, folder, device, size, mtime_ns, problem) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (path) DO UPDATE SET folder = excluded.folder, device = excluded.device, "
                    "size = excluded.size, mtime_ns = excluded.mtime_ns, problem = excluded.problem",
                    (path, os.fsencode(recording.folder), *recording[2:], problem),
                )
                (key,) = connection.execute("SELECT id FROM recordings WHERE path = ?", (path,)).fetchone()
                connection.execute("DELETE FROM vectors WHERE id = ?", (key,))
                if vector is not None:
                    row = (key, zlib.crc32(vector), vector)
                    connection.execute("INSERT INTO vectors (id, crc32, vector) VALUES (?, ?, ?)", row)

    def remove(self, recordings):
        """Remove recordings in one transaction, unless another process has replaced them since."""
        with self._transaction(write=True) as connection:
            for recording in recordings:
                where = "path = ? AND size = ? AND mtime_ns = ?"
                key = (os.fsencode(recording.path), recording.size, recording.mtime_ns)
                connection.execute(f"DELETE FROM vectors WHERE id IN (SELECT id FROM recordings WHERE {where})", key)
                connection.execute(f"DELETE FROM recordings WHERE {where}", key)

    def recordings(self):
        """All recordings, by path: list of Recording."""
        select = "SELECT CAST(path AS BLOB), CAST(folder AS BLOB), device, size, mtime_ns FROM recordings ORDER BY path"
        with self._transaction() as connection:
            rows = connection.execute(select).fetchall()
        return [Recording(os.fsdecode(path), os.fsdecode(folder), *others) for path, folder, *others in rows]

    def n_found(self):
        """How many recordings have an embedding."""
        with self._transaction() as connection:
            return connection.execute("SELECT count(*) FROM recordings WHERE problem IS NULL").fetchone()[0]

    def skipped(self):
        """Recordings that have no embedding: dict of path to what is wrong with each."""
        select = "SELECT CAST(path AS BLOB), problem FROM recordings WHERE problem IS NOT NULL ORDER BY path"
        with self._transaction() as connection:
            return {os.fsdecode(path): problem for path, problem in connection.execute(select)}

    @contextlib.contextmanager
    def snapshot(self, stamp=None, embeddings=None):
        """Yields the stamp of the last change (int), the Embeddings, and ``paths_of(ids)``, within one transaction.

        `embeddings` of that `stamp` are given back where nothing was written since.
        """
        with self._transaction() as connection:
            (now,) = connection.execute("PRAGMA user_version").fetchone()
            if embeddings is None or stamp != now:
                embeddings = self._embeddings(connection, now)
            select = "SELECT CAST(path AS BLOB) FROM recordings WHERE id = ?"

            def paths_of(ids):
                found = [connection.execute(select, (int(key),)).fetchone() for key in ids]
                if None in found:
                    raise CheckpointError(f"{self.path}: embeddings without a recording; {_ANEW}")
                return [os.fsdecode(path) for (path,) in found]

            yield now, embeddings, paths_of

    def verify(self):
        """Read the whole database and every vector; CheckpointError where something has changed."""
        with self._transaction() as connection:
            (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if first != "ok":
                raise CheckpointError(f"{self.path}: damaged ({first}); {_ANEW}")
            with open(os.devnull, "wb") as nowhere:
                self._copy(connection, nowhere)

    def _embeddings(self, connection, stamp):
        """The embeddings, from their memory-mapped copy where there are many."""
        (last,) = connection.execute("SELECT max(id) FROM vectors").fetchone()
        copy = self.folder / f"vectors-{stamp & 0xFFFFFFFF:08x}.f32"
        if (last or 0) >= _MAPPED_FROM:
            try:
                # a cut copy, or none, is made again
                width = 4 * self.model["embed_dim"] + 12
                if copy.is_symlink() or not copy.is_file() or not copy.stat().st_size or copy.stat().st_size % width:
                    with atomic_path(copy) as part, open(part, "wb") as file:
                        self._copy(connection, file)
                    self._clear(copy)
                return self._views(np.memmap(copy, np.uint8, "r"))
            except OSError:  # no space, or no right to write: into memory then
                pass
        memory = io.BytesIO()
        self._copy(connection, memory)
        return self._views(np.frombuffer(memory.getbuffer(), np.uint8))

    def _copy(self, connection, file):
        """Write the embeddings into a binary file: vectors as float32, then their lengths, then the ids."""
        width, ids, norms = self._dtype.itemsize * self.model["embed_dim"], [], []
        cursor = connection.execute("SELECT id, crc32, vector FROM vectors ORDER BY id")
        while rows := cursor.fetchmany(_CHUNK):
            for key, crc32, vector in rows:
                if not isinstance(vector, bytes) or len(vector) != width or zlib.crc32(vector) != crc32:
                    raise CheckpointError(f"{self.path}: the vector of recording {key} is damaged; {_ANEW}")
            chunk = np.frombuffer(b"".join(vector for *_, vector in rows), self._dtype).reshape(len(rows), -1)
            chunk = chunk.astype("<f4")
            norms.append(np.linalg.norm(chunk, axis=1).astype("<f4"))
            if not np.isfinite(norms[-1]).all():
                raise CheckpointError(f"{self.path}: vectors that are not finite; {_ANEW}")
            ids.extend(key for key, *_ in rows)
            file.write(chunk.data if chunk.size else b"")
        file.write(b"".join(part.tobytes() for part in norms))
        file.write(np.array(ids, "<i8").tobytes())

    def _views(self, content):
        width = 4 * self.model["embed_dim"]
        n_rows = len(content) // (width + 12)
        vectors = content[: n_rows * width].view("<f4").reshape(n_rows, self.model["embed_dim"])
        norms, ids = content[n_rows * width : n_rows * (width + 4)], content[n_rows * (width + 4) :]
        return Embeddings(vectors, np.maximum(norms.view("<f4"), 1e-12), np.frombuffer(ids.tobytes(), "<i8"))

    def _clear(self, kept):
        """Delete older copies, and temporary files that killed processes left."""
        for path in (*self.folder.glob("vectors-*.f32"), *self.folder.glob(".*.part")):
            with contextlib.suppress(OSError):  # gone already; or mapped by a reader, on Windows
                if path != kept and (path.suffix == ".f32" or time.time() - path.stat().st_mtime > _OLD_S):
                    path.unlink()

    @contextlib.contextmanager
    def _transaction(self, write=False, create=False):
        """A connection within a transaction, which an error undoes; SQLite's errors become ours."""
        wait_s = _WAIT_S if write else min(_READ_WAIT_S, _WAIT_S)
        try:
            uri = f"{Path(os.path.abspath(self.path)).as_uri()}?mode={'rwc' if create else 'rw'}"
            connection = sqlite3.connect(uri, timeout=wait_s, isolation_level=None, uri=True)
            with contextlib.closing(connection):
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA page_size = 16384")  # of a new database: 15 vectors of 527 float16 a page
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                select = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
                if not create and dict(connection.execute(select)) != _TABLES:
                    raise CheckpointError(f"{self.path}: a database of another program; {_ANEW}")
                yield connection
                if write:
                    # any other number: readers and copies of the embeddings know by it that something was written
                    connection.execute(f"PRAGMA user_version = {secrets.randbelow(1 << 31)}")
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explained(error, wait_s) from error

    def _explained(self, error, wait_s):
        code, kept = getattr(error, "sqlite_errorcode", 0) & 0xFF, "what was committed is kept"
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            return ConfigError(f"{self.path}: another process has it locked for {wait_s:.0f} s; try again later")
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return ConfigError(f"{self.path}: {error} (no space left?); {kept}: run the same command again")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return ConfigError(f"{self.path}: {error}; check the permissions of the index's folder")
        return CheckpointError(f"{self.path}: not a search index, or damaged ({error}); {_ANEW}")


def _folder_of(path):
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(f"an index is the path of its folder, not {path!r:.60}")
    path = Path(path)
    return path.parent if path.name in (INDEX, DATABASE) and not path.is_dir() else path


def _is_ours(name):
    return name.startswith((DATABASE, "vectors-")) or name in (INDEX, ".lock") or name.endswith(".part")


def _wrong_in(state):
    """What is wrong in the content of an ``index.json`` of this format; empty where nothing is."""
    model = state.get("model")
    if not isinstance(model, dict):
        return f"model is {model!r}"
    for key, kind in {"name": str, "sha256": str, "score": str, "embed_dim": int}.items():
        if type(model.get(key)) is not kind:
            return f"model.{key} is {model.get(key)!r}"
    if not 0 < model["embed_dim"] <= 1 << 20:
        return f"model.embed_dim is {model['embed_dim']}"
    if state.get("dtype") not in list(DTYPES):
        return f"dtype is {state.get('dtype')!r}"
    return "" if state.get("shards") == [{"name": DATABASE}] else f"shards name other files than {DATABASE}"
