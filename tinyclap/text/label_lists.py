"""Class names from the command line: a list, a text file, or a column of a table."""

import csv
from pathlib import Path

from tinyclap.errors import ConfigError

_COLUMNS = ("label", "name", "display_name", "category", "class")


def read_names(given, least=2):
    """Class names, in order, each once.

    Arguments
    ---------
    given : str or os.PathLike
        ``dog,rain,siren``; or a ``.txt`` file with one name a line; or a ``.csv`` file with a column named label, name,
        display_name, category or class.
    least : int
        How many there have to be.

    Returns
    -------
    list of str

    Raises
    ------
    ConfigError
        The file or its column is missing, or there are too few names.

    Example
    -------
    >>> read_names("dog, rain,dog")
    ['dog', 'rain']
    """
    path = Path(given)
    if path.suffix not in (".txt", ".csv"):
        names = str(given).split(",")
    elif not path.is_file():
        raise ConfigError(f"--labels {given}: no such file")
    elif path.suffix == ".txt":
        names = path.read_text(encoding="utf-8").splitlines()
    else:
        names = _column(path)
    names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if len(names) < least:
        raise ConfigError(f"--labels {given}: {len(names)} name(s); at least {'two' if least == 2 else least} needed")
    return names


def _column(path):
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        rows = list(table)
    column = next((name for name in _COLUMNS if name in (table.fieldnames or ())), None)
    if column is None:
        found = ", ".join(table.fieldnames or ["nothing"])
        raise ConfigError(f"--labels {path}: no column named {', '.join(_COLUMNS)}; there are: {found}")
    return [row[column] or "" for row in rows]
