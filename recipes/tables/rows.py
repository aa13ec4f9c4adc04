"""The rows of the tables: reading them, choosing some, and writing our columns.

A table is a CSV file beside this module, one row an experiment on one benchmark. A person types the columns of `TYPED`;
`make_tables.py` alone writes those of `OURS`.
"""

import csv
import fnmatch
import os
import sys
from difflib import get_close_matches
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(1, str(ROOT))

from tinyclap.errors import ConfigError  # noqa: E402 - this checkout's package, from any folder

TABLES = ("zero_shot", "pruning", "complexity", "captioning", "data_scarce")
GROUPS = ("paper", "real", "soundscapes")
TYPED = (
    *("row_id", "experiment", "group", "title", "paper_value", "paper_source", "hparams", "overrides", "rank", "prune"),
    *("score", "score_overrides", "metric", "seeds", "tolerance", "hours", "disk_gb", "note"),
)
OURS = (
    *("ours_mean", "ours_std", "ours_ci95", "clip_ci95", "n_seeds", "n_items"),
    *("commit", "date", "hardware", "status"),
)
NO_SEED = "-"


def read_table(name, folder=HERE):
    """Rows of the table `name`, as dictionaries.

    Raises
    ------
    ConfigError
        The file is missing or a row breaks the rules; all that is wrong is listed.
    """
    path = Path(folder) / f"{name}.csv"
    if not path.is_file():
        raise ConfigError(
            f"no table {path}; there are: {', '.join(sorted(p.stem for p in Path(folder).glob('*.csv')))}"
        )
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
        columns = tuple(reader.fieldnames or ())
    if columns != (*TYPED, *OURS):
        raise ConfigError(f"{path}: its columns are {', '.join(columns)}; they must be {', '.join((*TYPED, *OURS))}")
    problems = [f"{path.name} {row['row_id']}: {text}" for row in rows for text in problems_of(row)]
    ids = [row["row_id"] for row in rows]
    problems += [f"{path.name}: row_id {row_id} occurs twice" for row_id in dict.fromkeys(ids) if ids.count(row_id) > 1]
    if problems:
        raise ConfigError("; ".join(problems))
    return rows


def problems_of(row):
    """What is wrong with one row, as a list of sentences."""
    problems = []
    if None in row or None in row.values():
        return [f"it must have {len(TYPED) + len(OURS)} cells"]
    problems += [f"{name} is empty" for name in ("row_id", "experiment", "title", "score", "metric") if not row[name]]
    if row["group"] not in GROUPS:
        problems.append(f"group is {row['group']!r}; it can be {', '.join(GROUPS)}")
    for name in ("paper_value", "tolerance", "hours", "disk_gb"):
        if row[name] and not _is_number(row[name]):
            problems.append(f"{name} is {row[name]!r}; it must be a number or empty")
    if row["paper_value"] and not (row["paper_source"] and row["tolerance"]):
        problems.append("a paper_value needs its paper_source and a tolerance")
    if row["paper_value"] and row["group"] != "paper":
        problems.append("only rows of the group paper are compared with a published value")
    seeds = row["seeds"].split()
    if row["seeds"] != NO_SEED and not (seeds and all(seed.isdigit() for seed in seeds)):
        problems.append(f"seeds is {row['seeds']!r}; write numbers with blanks between them, or {NO_SEED}")
    if row["hparams"] and row["seeds"] == NO_SEED:
        problems.append("it trains, so it needs seeds")
    return problems


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def seeds_of(row, wanted=None):
    """The seeds of a row: its own, or those `wanted`; ``["-"]`` where nothing is trained."""
    return [NO_SEED] if row["seeds"] == NO_SEED else list(wanted or row["seeds"].split())


def select(rows, patterns):
    """The rows that any of the patterns names, in the table's order.

    Arguments
    ---------
    rows : list of dict
    patterns : list of str
        ``all``, a group (paper, real, soundscapes), a row's id, or a pattern of ids such as ``A5*``.

    Raises
    ------
    ConfigError
        A pattern names no row.

    Example
    -------
    >>> rows = [{"row_id": "A0_esc50", "group": "paper"}, {"row_id": "S_esc50", "group": "real"}]
    >>> [row["row_id"] for row in select(rows, ["A*"])], [row["row_id"] for row in select(rows, ["real"])]
    (['A0_esc50'], ['S_esc50'])
    """

    def fits(row, pattern):
        return pattern in ("all", row["group"], row["row_id"]) or fnmatch.fnmatchcase(row["row_id"], pattern)

    strangers = [pattern for pattern in patterns if not any(fits(row, pattern) for row in rows)]
    if strangers:
        names = [row["row_id"] for row in rows]
        near = [name for pattern in strangers for name in get_close_matches(pattern, names, cutoff=0.5)]
        raise ConfigError(
            f"--rows {' '.join(strangers)}: no such row. "
            + (f"Did you mean {' or '.join(near)}? " if near else "")
            + f"Groups are {', '.join(GROUPS)}, smoke and all; --dry-run lists the {len(names)} rows"
        )
    return [row for row in rows if any(fits(row, pattern) for pattern in patterns)]


def write_table(name, rows, folder=HERE):
    """Write a table whole or not at all."""
    path = Path(folder) / f"{name}.csv"
    part = path.with_name(path.name + ".part")
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*TYPED, *OURS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
