"""Results as they come: a table for people, CSV and JSON lines for programs, arrays; a later run can go on."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyclap.cli.finished_rows import cut_to_whole_rows
from tinyclap.errors import ConfigError

FORMATS = ("table", "csv", "jsonl")
FILE = "file"


@dataclass(frozen=True)
class Form:
    """What a result looks like.

    Arguments
    ---------
    columns : list of str
        Of CSV, the recording's first.
    cells : callable
        result → list of what the other columns hold.
    fields : callable
        result → dict, JSON-able, for JSON lines.
    text : callable
        (name, result) → str of whole lines, for people.
    n_columns : int or None
        Of the row of numbers that a result is, where it may be kept in an array.
    shown_name : callable
        Path → how the results name the recording; a file that is continued knows it by that.
    """

    columns: list
    cells: Callable
    fields: Callable
    text: Callable
    n_columns: int | None = None
    shown_name: Callable = str

    def encoded(self, kind, name, result):
        """A result as text of one of FORMATS."""
        if kind == "csv":
            return csv_line([name, *self.cells(result)])
        if kind == "jsonl":
            return json_line({FILE: name, **self.fields(result)})
        return self.text(printable(name), result)

    def head(self, kind):
        """What stands before the first result."""
        return csv_line(self.columns) if kind == "csv" else ""


def csv_line(cells):
    r"""A row of CSV: quoted where it must be, so names may hold commas, quotes and line breaks.

    Example
    -------
    >>> csv_line(["a,b.wav", 0.5])
    '"a,b.wav",0.5\n'
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def json_line(content):
    r"""A line of JSON; names that are no UTF-8 are escaped, and read back as they were.

    Example
    -------
    >>> json_line({"file": "été\n.wav"})
    '{"file": "été\\n.wav"}\n'
    """
    line = json.dumps(content, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(content)
    return line + "\n"


def printable(name):
    r"""A name on one line, for people.

    Example
    -------
    >>> printable("two\nlines.wav")
    'two\\nlines.wav'
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(name))


def chosen_format(options, suffixes):
    """The form of the results: as asked for, by the suffix of --out, else a table at a terminal and CSV in a pipe.

    Arguments
    ---------
    options : argparse.Namespace
        With ``format`` and ``out``.
    suffixes : sequence of str
        That --out may have: ``.csv``, ``.jsonl``, ``.npy``, ``.npz``.

    Returns
    -------
    str

    Raises
    ------
    ConfigError
        The suffix is none of these, or says something else than --format.
    """
    if options.out is None:
        return options.format or ("table" if sys.stdout.isatty() else "csv")
    kind = Path(options.out).suffix.lower()
    if kind not in suffixes and not (options.format in ("csv", "jsonl") and not kind):
        raise ConfigError(f"--out {options.out}: the name ends in none of {', '.join(suffixes)}")
    kind = kind.removeprefix(".") or options.format
    if options.format not in (None, kind):
        raise ConfigError(f"--out {options.out} says {kind} and --format says {options.format}; leave one out")
    return kind


class StreamRows:
    """Results on standard output, each as soon as it is there.

    Arguments
    ---------
    form : Form
    kind : {"table", "csv", "jsonl"}
    """

    done = frozenset()

    def __init__(self, form, kind):
        self._form, self._kind = form, kind
        if hasattr(sys.stdout, "reconfigure"):  # not where a program put something else in its place
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
        self._say(form.head(kind))

    def write(self, name, result):
        """Write one result."""
        self._say(self._form.encoded(self._kind, name, result))

    def close(self):
        """Nothing is left to do."""

    def _say(self, text):
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()


class FileRows:
    """Results in a file of CSV or JSON lines, each whole when the next begins; a later run can go on with it.

    Arguments
    ---------
    path : pathlib.Path
    form : Form
    kind : {"csv", "jsonl"}

    Attributes
    ----------
    done : set of str
        Names that the file has already.
    """

    def __init__(self, path, form, kind):
        self._form, self._kind = form, kind
        self.done = cut_to_whole_rows(path, kind)
        head = form.head(kind)
        if path.exists() and path.stat().st_size and head:
            _require_head(path, head)
        self._file = open(path, "a", encoding="utf-8", errors="surrogateescape", newline="\n")
        if head and not path.stat().st_size:
            self._say(head)

    def write(self, name, result):
        """Write one result."""
        self._say(self._form.encoded(self._kind, name, result))

    def close(self):
        """Close the file."""
        self._file.close()

    def _say(self, text):
        self._file.write(text)
        self._file.flush()  # what was said survives the process


def _require_head(path, head):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        if file.readline() != head:
            raise ConfigError(f"{path}: has other columns; give another --out, or --overwrite")


def open_rows(path, form, kind):
    """What takes the results: :class:`StreamRows` without a path, else :class:`FileRows`, or an array with its names.

    Arguments
    ---------
    path : pathlib.Path or None
    form : Form
    kind : str
        From :func:`chosen_format`.

    Returns
    -------
    object
        With ``done``, ``write(name, result)`` and ``close()``.
    """
    if path is None:
        return StreamRows(form, kind)
    if kind in ("npy", "npz"):
        from tinyclap.cli.array_file import ArrayFile

        names = Form([FILE], lambda row: [], lambda row: {}, lambda name, row: name)
        return ArrayFile(path, form.n_columns, lambda names_path: FileRows(names_path, names, "csv"))
    return FileRows(path, form, kind)
