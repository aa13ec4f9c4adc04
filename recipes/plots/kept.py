"""Read what is kept in the repository: CSV tables, and the tables' rows that have been run, with their results."""

import csv
import json
import sys
from functools import cache
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(RECIPES / "tables"))

import make_tables  # noqa: E402 - the tables' own reader says which kept results count

from tinyclap.errors import ConfigError  # noqa: E402


def read_csv(path):
    """Rows of a CSV file as dictionaries, or none where there is no file."""
    if not Path(path).is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path):
    """The content of a JSON file.

    Raises
    ------
    ConfigError
        It is none.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON ({error}); write it again, or take it back from git") from error


@cache
def tables_of(folder):
    """The tables of a folder and the hashes that their results must have."""
    tables = make_tables.read_all(folder)
    return tables, make_tables.hashes_of(tables)


def run_rows(recipes, table):
    """The rows of a table that have been run.

    Arguments
    ---------
    recipes : pathlib.Path
    table : str

    Returns
    -------
    list of tuple
        (row, seed to record). A result whose hash is no longer the row's does not count.
    """
    tables, wanted = tables_of(recipes / "tables")
    found = []
    for row in tables.get(table, []):
        paths = sorted((recipes / "tables/results" / table / row["row_id"]).glob("*.json"))
        records = {path.stem: read_json(path) for path in paths}
        records = {seed: one for seed, one in records.items() if one["hash"] == wanted.get((row["row_id"], seed))}
        if records:
            found.append((row, records))
    return found
