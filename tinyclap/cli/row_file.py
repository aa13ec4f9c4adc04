"""Files that grow by a row at a time: locked by one run, and resumed after a kill."""

import contextlib
import csv
import json
import os
import time
from pathlib import Path

from tinyclap.cli.outputs import FILE, json_line
from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path

_SYNC_S = 1.0  # a power cut loses this much at most


class RowFile:
    """A file at `path` of `kind` "csv" or "jsonl", which nothing creates or changes before `lock`, `write` or `finish`.

    `encode` makes of (name, result) a row, as text: the name is its first cell, or the field ``file``. `head` is the
    first line of a CSV.
    """

    def __init__(self, path, kind, encode, head=""):
        self.path, self.done = Path(path), set()  # names that have a complete row
        self._kind, self._encode, self._head = kind, encode, head
        self._handle, self._is_new, self._synced = None, False, time.monotonic()

    def lock(self):
        """Lock the file until `close`, or until the process ends in whatever way; ConfigError if another run has it."""
        while self._handle is None:
            self._open()
            is_locked = _locked(self._handle)
            if not (is_locked and self.path.exists() and os.path.samestat(os.fstat(self._handle), self.path.stat())):
                self._is_new = False
                self.close()  # the run before has just removed it, where it is locked
            if not is_locked:
                raise ConfigError(f"{self.path}: another run is writing this file; wait for it, or give another --out")

    def resume(self):
        """Read which rows are complete and cut off the rest; ConfigError if the file is not of this command."""
        if not self.path.exists():
            return
        names, end = [], 0
        with open(self.path, "rb") as file:
            for row, end_of_row in _complete_rows(file, self._kind):
                if end == 0 and self._head and row != self._head.encode("utf-8", "surrogateescape"):
                    raise ConfigError(f"{self.path}: has other columns; give another --out, or --overwrite")
                names.append(self._name(row))
                end = end_of_row
        if end < self.path.stat().st_size:
            os.truncate(self.path, end)
        self.done = set(names[1:] if self._head else names)

    def clear(self):
        """Remove all rows."""
        self.done = set()
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path, 0)

    def write(self, name, result):
        """Append one row."""
        self._append(self._encode(name, result))
        self.done.add(name)

    def finish(self):
        """Complete a file without rows."""
        self._append("")

    def close(self):
        """Flush to the disk and close; a file that this run created and did not fill is removed."""
        if self._handle is None:
            return
        is_surplus = self._is_surplus()
        if not is_surplus:
            self._flush()
        elif os.name != "nt":  # before the lock ends, where the system allows
            self.path.unlink(missing_ok=True)
        os.close(self._handle)
        if is_surplus and os.name == "nt":
            self.path.unlink(missing_ok=True)
        self._handle = None

    def _is_surplus(self):
        return self._is_new and not os.fstat(self._handle).st_size

    def _open(self):
        flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._handle = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            self._is_new = True
        except FileExistsError:
            self._handle = os.open(self.path, flags | os.O_CREAT, 0o666)  # through a link to a file that is missing

    def _append(self, text):
        if self._handle is None:
            self._open()
        try:
            text = text if os.fstat(self._handle).st_size else self._head + text
            left = memoryview(text.encode("utf-8", "surrogateescape"))
            while left:
                left = left[os.write(self._handle, left) :]
            if time.monotonic() - self._synced > _SYNC_S:
                self._flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _flush(self):
        os.fsync(self._handle)
        self._synced = time.monotonic()

    def _name(self, row):
        text = row.decode("utf-8", errors="surrogateescape")
        try:
            if self._kind == "csv":
                return next(csv.reader(text.splitlines(keepends=True)))[0]
            return json.loads(text)[FILE]
        except (ValueError, KeyError, TypeError, IndexError, StopIteration, csv.Error) as error:
            problem = f"{self.path}: holds another kind of row ({text.strip()[:60]!r})"
            raise ConfigError(f"{problem}; give another --out, or --overwrite") from error


class WholeFile(RowFile):
    """An ``.npz`` or ``.parquet`` file of rows of a `form`, written atomically at the end.

    Until then they are in ``FILE.part.jsonl`` beside `path`, from which a run is resumed.
    """

    def __init__(self, path, form):
        self._target, self._form, self._earlier, self._is_done = path, form, {}, False
        self._is_npz = path.suffix.lower() == ".npz"
        super().__init__(part_of(path), "jsonl", lambda name, result: json_line({FILE: name, **form.record(result)}))

    def resume(self):
        """Read which rows are complete, in the finished file too."""
        super().resume()
        if self._target.exists():
            with _damage_named(self._target):
                self._earlier = {row[FILE]: row for row in self._read()}
            self.done |= set(self._earlier)

    def clear(self):
        """Remove all rows and the finished file."""
        super().clear()
        self._target.unlink(missing_ok=True)

    def finish(self):
        """Write the file, if there is a new row or none yet."""
        if not self._target.exists() or set(self._earlier) != self.done:
            with _damage_named(self.path), open(self.path, "rb") as file:
                rows = self._earlier | {row[FILE]: row for row in map(self._compact, map(json.loads, file))}
            with atomic_path(self._target) as part:
                self._write(part, list(rows.values()))
        self._is_done = True

    def _is_surplus(self):
        return self._is_done or super()._is_surplus()

    def _compact(self, row):
        import numpy as np

        vector = self._form.vector
        return row | {vector: np.asarray(row[vector], np.float32)} if vector else row

    def _read(self):
        if self._is_npz:
            from tinyclap.checkpoints.folder import read_arrays

            content = read_arrays(self._target, "files", "embeddings")
            for name, vector in zip(content["files"].tolist(), content["embeddings"], strict=True):
                yield {FILE: name, self._form.vector: vector}
            return
        from pyarrow.parquet import read_table

        for batch in read_table(self._target).to_batches(1000):
            yield from map(self._compact, batch.to_pylist())

    def _write(self, path, rows):
        vector, n_dims = self._form.vector, len(self._form.columns) - 1
        if self._is_npz:
            import numpy as np

            vectors = np.array([row[vector] for row in rows], np.float32).reshape(-1, n_dims)
            with open(path, "wb") as file:
                np.savez(file, embeddings=vectors, files=np.array([row[FILE] for row in rows], np.str_))
            return
        import pyarrow
        from pyarrow.parquet import write_table

        names = [FILE, vector] if vector else self._form.columns
        types = {vector: pyarrow.list_(pyarrow.float32(), n_dims)}
        columns = {name: pyarrow.array([row[name] for row in rows], types.get(name)) for name in names}
        write_table(pyarrow.table(columns), path)


def part_of(path):
    """Where the rows of a file that is written whole are until its end."""
    return Path(f"{path}.part.jsonl")


@contextlib.contextmanager
def _damage_named(path):
    try:
        yield
    except Exception as error:  # numpy, zipfile and pyarrow raise a dozen kinds
        reason = " ".join(str(error).split())
        problem = f"{path}: cut short, or not written by this command ({reason})"
        raise ConfigError(f"{problem}; begin anew with --overwrite") from error


def _complete_rows(file, kind):
    """Yield (row, end of row): a row of CSV may hold line breaks within quotes; zeros are what a power cut left."""
    row, end = b"", 0
    for line in file:
        end += len(line)
        row += line
        if b"\0" in line:
            return
        if line.endswith(b"\n") and (kind == "jsonl" or row.count(b'"') % 2 == 0):
            yield row, end
            row = b""


def _locked(handle):
    """Lock an open file; False where another process has."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, 1 << 40, os.SEEK_SET)  # a byte that nobody reads: locks of Windows are mandatory
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        pass
    return True
