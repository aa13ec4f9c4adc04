"""Rows of numbers in a ``.npy`` or ``.npz`` file that grows as they come, with their names beside it."""

import csv
import os
from pathlib import Path

import numpy as np

from tinyclap.errors import ConfigError

_N_HEAD = 128  # bytes before the numbers: one size for any number of rows, so that it can be written again
_DTYPE = "<f4"


def names_path(path):
    """Where the names of an array's rows are: ``rows.names.csv``; of a ``.npz``, until it is put together, another.

    Example
    -------
    >>> str(names_path("rows.npy")), str(names_path("rows.npz"))
    ('rows.names.csv', 'rows.npz.part.names.csv')
    """
    path = Path(path)
    return path.with_suffix(".npz.part.names.csv" if path.suffix == ".npz" else ".names.csv")


class ArrayFile:
    """An array of float32 that can be opened at any time (``np.load(path, mmap_mode="r")``) and continued.

    Arguments
    ---------
    path : pathlib.Path
        ``rows.npy``, with names in ``rows.names.csv``; of ``rows.npz`` both are parts of one file, written at the end.
    n_columns : int
    open_names : callable
        ``open_names(path)`` → what the names are written by: ``done``, ``write(name, row)``, ``close()``.

    Attributes
    ----------
    done : set of str
        Names whose rows are there.

    Raises
    ------
    ConfigError
        The file that is there has rows of another length.
    """

    def __init__(self, path, n_columns, open_names):
        self._path, self._n_columns = Path(path), n_columns
        self._is_zip = self._path.suffix == ".npz"
        self._rows_path = self._path.with_suffix(".npz.part") if self._is_zip else self._path
        self._names_path = names_path(path)
        if self._is_zip and self._path.exists():
            self._unpack(open_names)
        self._names = open_names(self._names_path)
        self.done = self._names.done
        self._file = open(self._rows_path, "r+b" if self._rows_path.exists() else "w+b")
        self._n_rows = self._agree()
        self._write_head()

    def write(self, name, result):
        """Write one row, then its name: a row without one is written again by the next run."""
        self._file.seek(_N_HEAD + 4 * self._n_columns * self._n_rows)
        self._file.write(result.astype(_DTYPE).tobytes())
        self._n_rows += 1
        self._write_head()
        self._names.write(name, result)

    def close(self):
        """Close the files."""
        self._file.close()
        self._names.close()

    def finish(self):
        """Put a ``.npz`` together, when all rows are there."""
        if not self._is_zip:
            return
        names = list(_names_in(self._names_path))
        rows = np.load(self._rows_path, mmap_mode="r")
        scratch = self._path.with_suffix(".npz.new")
        with open(scratch, "wb") as file:
            np.savez(file, embeddings=rows, files=np.array(names, dtype=np.str_))
        os.replace(scratch, self._path)
        del rows
        self._rows_path.unlink()
        self._names_path.unlink()

    def _unpack(self, open_names):
        """Make rows and names of a finished ``.npz`` parts again, which replace it at the end."""
        self._rows_path.unlink(missing_ok=True)
        self._names_path.unlink(missing_ok=True)
        names = open_names(self._names_path)
        with np.load(self._path, allow_pickle=False) as content, open(self._rows_path, "wb") as file:
            for name in content["files"]:
                names.write(str(name), None)
            np.save(file, content["embeddings"])
        names.close()
        self._path.unlink()

    def _agree(self):
        """Cut both files to the rows that have names; returns how many."""
        there = os.path.getsize(self._rows_path) - _N_HEAD
        if there > 0 and _columns_of(self._rows_path) != self._n_columns:
            self.close()
            raise ConfigError(f"{self._rows_path}: has rows of another length; give another --out, or --overwrite")
        n_rows = min(len(self.done), max(there, 0) // (4 * self._n_columns))
        if n_rows < len(self.done):
            self.close()
            raise ConfigError(
                f"{self._rows_path} has {n_rows} rows and {self._names_path} {len(self.done)} names: one of them was "
                "changed; give another --out, or --overwrite"
            )
        self._file.truncate(_N_HEAD + 4 * self._n_columns * n_rows)
        return n_rows

    def _write_head(self):
        shape = f"({self._n_rows}, {self._n_columns})"
        text = f"{{'descr': '{_DTYPE}', 'fortran_order': False, 'shape': {shape}, }}".encode("latin1")
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + (_N_HEAD - 10).to_bytes(2, "little"))
        self._file.write(text.ljust(_N_HEAD - 11) + b"\n")
        self._file.flush()


def _columns_of(path):
    with open(path, "rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            return None
        return shape[1] if len(shape) == 2 and dtype == _DTYPE and file.tell() == _N_HEAD else None


def _names_in(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield from (row[0] for row in list(csv.reader(file))[1:])
