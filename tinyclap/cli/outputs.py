"""Formats of results: a table for people, CSV and JSON Lines, row by row."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyclap.errors import ConfigError

FORMATS = ("table", "csv", "jsonl")
FILE = "file"


@dataclass(frozen=True)
class Form:
    """How one kind of result is written."""

    columns: list  # of CSV and Parquet, the recording's first
    cells: Callable  # result → values of the other columns
    fields: Callable  # result → dict, for JSON Lines
    text: Callable  # (name, result) → lines for people
    vector: str = ""  # the field that is a vector, one column of .npz and Parquet; "" for none
    shown_name: Callable = str  # path → name of the recording in the results

    def encoded(self, kind, name, result):
        """A result as text of one of FORMATS."""
        if kind == "csv":
            return csv_line([name, *self.cells(result)])
        if kind == "jsonl":
            return json_line({FILE: name, **self.fields(result)})
        return self.text(printable(name), result)

    def record(self, result):
        """A result as a row of Parquet, without its name: dict."""
        return self.fields(result) if self.vector else dict(zip(self.columns[1:], self.cells(result), strict=True))

    def head(self, kind):
        """The line above the first result."""
        return csv_line(self.columns) if kind == "csv" else ""


def csv_line(cells):
    """A row of CSV; commas, quotes and line breaks in a cell are quoted."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def json_line(content):
    """A line of JSON; names that are not UTF-8 are escaped, and read back as they were."""
    line = json.dumps(content, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(content)
    return line + "\n"


def printable(name):
    r"""A name on one line, for people: a line end in it becomes ``\n``."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(name))


def chosen_format(options, suffixes):
    """Format by the suffix of --out, one of `suffixes`, or by --format; else table at a terminal, CSV in a pipe."""
    if options.out is None:
        return options.format or ("table" if sys.stdout.isatty() else "csv")
    if options.out == "-":
        raise ConfigError("--out -: results go to standard output without --out")
    kind = Path(options.out).suffix.lower()
    if kind not in suffixes and not (options.format in ("csv", "jsonl") and not kind):
        raise ConfigError(f"--out {options.out}: the name ends in none of {', '.join(suffixes)}")
    kind = kind.removeprefix(".") or options.format
    if options.format not in (None, kind):
        raise ConfigError(f"--out {options.out} says {kind} and --format says {options.format}; leave one out")
    return kind


class StreamRows:
    """Rows of a `form` on standard output, as `kind`, with methods of :class:`tinyclap.cli.row_file.RowFile`."""

    done = frozenset()

    def __init__(self, form, kind):
        self._form, self._kind, self._head = form, kind, form.head(kind)
        if kind != "table" and hasattr(sys.stdout, "reconfigure"):  # not where a program put another object there
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")

    def write(self, name, result):
        """Write one result."""
        sys.stdout.write(self._head + self._form.encoded(self._kind, name, result))
        sys.stdout.flush()
        self._head = ""

    def finish(self):
        """The head of a table without rows."""
        sys.stdout.write(self._head)
