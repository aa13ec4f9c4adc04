"""Which rows of a file of results are whole: a process that was killed may have left half a one."""

import csv
import json
import os

from tinyclap.errors import ConfigError


def cut_to_whole_rows(path, kind, column="file"):
    """Cut a half-written last row off a file of results, and tell whose rows remain.

    Arguments
    ---------
    path : str or os.PathLike
        May be missing.
    kind : {"csv", "jsonl"}
    column : str
        Which one names the recording, in JSON lines; in CSV it is the first.

    Returns
    -------
    set of str
        Names of the recordings.

    Raises
    ------
    ConfigError
        A whole row is none of this kind.
    """
    if not os.path.exists(path):
        return set()
    names, end = [], 0
    with open(path, "rb") as file:
        for row, end_of_row in (_csv_rows if kind == "csv" else _lines)(file):
            names.append(_name(path, kind, column, row))
            end = end_of_row
    if end < os.path.getsize(path):
        os.truncate(path, end)
    return set(names[1:] if kind == "csv" else names)


def _lines(file):
    end = 0
    for line in file:
        end += len(line)
        if line.endswith(b"\n"):
            yield line, end


def _csv_rows(file):
    """Rows of CSV, which may go over line breaks within quotes: a row is whole when its quotes are closed."""
    row, end = b"", 0
    for line in file:
        end += len(line)
        row += line
        if line.endswith(b"\n") and row.count(b'"') % 2 == 0:
            yield row, end
            row = b""


def _name(path, kind, column, row):
    text = row.decode("utf-8", errors="surrogateescape")
    try:
        return next(csv.reader(text.splitlines(keepends=True)))[0] if kind == "csv" else json.loads(text)[column]
    except (ValueError, KeyError, TypeError, IndexError, StopIteration, csv.Error) as error:
        raise ConfigError(
            f"{path}: a row of it is none of this command's ({text.strip()[:60]!r}); give another --out, or --overwrite"
        ) from error
