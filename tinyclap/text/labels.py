"""Label lists: what ``--labels`` means to every command, and the check of labels that are given in Python."""

from __future__ import annotations

import codecs
import csv
import io
import os
import reprlib
import stat
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from tinyclap.config.shipped import shipped_folder
from tinyclap.errors import ConfigError

COLUMNS = ("label", "name", "display_name", "category", "class")
_BANKS = (".npz", ".json")
_LISTS = (".txt", ".lst", ".list")
_TABLES = {".csv": ",;\t", ".tsv": "\t", ".tab": "\t"}  # suffix → delimiters; the header's most frequent one counts
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after UTF-32, which begins alike
_PATHS = ("/", "./", "../", "~/", "@")  # no label begins so
_MAX_BYTES = 2**24
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def read_labels(given: Any, model_name: str | None = None) -> Any:
    """Read the labels that the command line names: list of str (each once), LabelBank, or None for None.

    Arguments
    ---------
    given : str or None
        ``'dog barking,rain,"siren, far"'``; a text file with a label a line; a ``.csv`` or ``.tsv`` file with a column
        of :data:`COLUMNS` (the first that holds more than numbers; standard error says which); a label bank, ``.npz``
        or ``.json``; or the name of a ready bank, such as ``"esc50"``.
    model_name : str, optional. Shipped model whose ready banks are meant.

    Example
    -------
    >>> read_labels('dog barking, rain, "siren, far",rain')
    ['dog barking', 'rain', 'siren, far']
    """
    if given is None:
        return None
    given = os.fspath(given)
    suffix, mode, is_one_word = Path(given).suffix.lower(), _mode_of(given), "," not in given
    is_folder = mode is not None and stat.S_ISDIR(mode)
    try:
        if is_folder and is_one_word:
            raise ConfigError(f'a folder, not a list of labels; for the label of that name write "{given},"')
        is_file_name = suffix in (*_BANKS, *_LISTS, *_TABLES) or given.startswith(_PATHS)
        if mode is not None and not is_folder or is_one_word and is_file_name:
            if suffix in _BANKS:
                from tinyclap.text.bank import LabelBank

                return LabelBank.load(given)
            if mode is None:
                raise ConfigError("no such file")
            text = _text_of(given)
            return _cleaned(_column(text, _TABLES[suffix], given) if suffix in _TABLES else text.splitlines())
        bank = _ready(given, model_name) if is_one_word else None
        return bank or _cleaned(word for row in _rows(given, ",") for word in row)
    except (ConfigError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--labels {given if len(given) < 300 else given[:60] + '…'}: {reason}") from error


def read_names(given: Any, model_name: str | None = None, minimum: int = 1) -> list[str]:
    """As :func:`read_labels`, of a bank its labels: list of str, at least `minimum` of them."""
    labels = read_labels(given, model_name)
    names = list(getattr(labels, "labels", labels))
    if len(names) < minimum:
        needed = "two" if minimum == 2 else minimum
        raise ConfigError(f"--labels {given}: {len(names)} label(s); at least {needed} needed")
    return names


def checked_texts(texts: Any, what: str = "labels") -> list[str]:
    """Labels or sentences given in Python as a list of str; a ConfigError, calling them `what`, for what is none."""
    try:
        if isinstance(texts, bytes) or getattr(texts, "ndim", 1) != 1:  # ndim: a table is its columns' names
            raise TypeError
        texts = [texts] if isinstance(texts, str) else list(texts)
    except TypeError:
        raise ConfigError(f"{what}: {reprlib.repr(texts)} is no list of texts") from None
    if not texts:
        raise ConfigError(f"{what}: the list is empty; give at least one")
    wrong = [text for text in texts if not isinstance(text, str) or not text.strip()]
    if wrong:
        raise ConfigError(f"{what}: each is a text that is not empty, which {shown(wrong)} is not")
    odd = [text for text in texts if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text)]
    if odd:
        raise ConfigError(f"{what}: control characters, or bytes that are no UTF-8, in {shown(odd)}")
    return [str(text) for text in texts]


def repeated_in(texts: Any) -> list[str]:
    """Texts that are there more than once."""
    return [text for text, count in Counter(texts).items() if count > 1]


def shown(texts: Any, n_shown: int = 5) -> str:
    """Some of the texts for a message, in quotes and cut where long."""
    return ", ".join(map(_SHORT.repr, texts[:n_shown])) + (f" and {len(texts) - n_shown} more" * (len(texts) > n_shown))


def _mode_of(given):
    """The file mode of what has this name, None if nothing has."""
    try:
        return os.stat(given).st_mode
    except PermissionError:
        raise ConfigError(f"--labels {given}: no permission to look there") from None
    except (OSError, ValueError):  # ValueError: a null character
        return None


def _ready(name, model_name):
    """The bank of this name that comes with a shipped model, or None."""
    if model_name is None or shipped_folder(model_name) is None:
        return None
    from tinyclap.text.bank import ready_bank, ready_names

    return ready_bank(name, model_name) if name in ready_names(model_name) else None


def _text_of(path):
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark."""
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start + 1}); save the labels as UTF-8, one a line") from None
    if len(data) > _MAX_BYTES or any(character < " " and not character.isspace() for character in text):
        raise ConfigError("a binary file, or too large; labels are text, one a line")
    return text


def _rows(text, delimiter):
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise ConfigError(f"not readable as a table ({error})") from error


def _column(text, delimiters, path):
    """The cells of the first known column that holds more than numbers."""
    header, *rows = _rows(text, max(delimiters, key=text.partition("\n")[0].count)) or [[]]
    names = [name.strip().lower() for name in header]
    for name in COLUMNS:
        cells = [row[names.index(name)] for row in rows if name in names and len(row) > names.index(name)]
        if not all(cell.strip().replace(".", "", 1).isdecimal() or not cell.strip() for cell in cells):
            sys.stderr.write(f"{path}: labels are the column {header[names.index(name)]!r}\n")
            return cells
    there = f"there are: {', '.join(header)[:200]}"
    raise ConfigError(f"no column named {', '.join(COLUMNS)}; {there} (a list without a header is .txt)")


def _cleaned(labels):
    """Labels with single spaces, each once, none empty."""
    names = list(dict.fromkeys(filter(None, (" ".join(label.split()) for label in labels))))
    if not names:
        raise ConfigError("holds no label")
    return checked_texts(names)
