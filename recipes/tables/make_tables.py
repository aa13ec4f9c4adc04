#!/usr/bin/env python3
"""Write our columns of the tables, and the pages' blocks, from the results that are kept in the repository.

    python recipes/tables/make_tables.py --keep results/tables    take over the scores of finished rows, then write
    python recipes/tables/make_tables.py                          write our columns and the pages anew
    python recipes/tables/make_tables.py --check                  say whether they are up to date; changes nothing

One JSON a score is kept in results/TABLE/ROW/SEED.json beside this file, with the commands that were run. A kept result
whose hash is no longer the row's (its words have changed since) is named and does not count. Nothing else writes our
columns.

ours_mean and ours_std are over seeds, ours_ci95 is half of the mean's 95 % interval by Student's t: what another seed
changes. clip_ci95 is the bootstrap interval over clips, its ends averaged over seeds: what other clips change.
"""

import argparse
import json
import shlex
import statistics
import sys
from pathlib import Path

from rows import HERE, NO_SEED, OURS, ROOT, TABLES, read_table, seeds_of, write_table
from tasks import Planner

sys.path.insert(1, str(ROOT / "recipes"))

from captioning.ladder_report import half_width  # noqa: E402 - of this folder's neighbour
from pruning_curve import merge, read_kept  # noqa: E402

from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402

# Costs that are kept of a scored model; see tinyclap.metrics.cost.
SIZES = ("n_parameters", "n_macs_paper", "n_macs")
KEPT = HERE / "results"
CURVE, KEPT_CURVES = "curve.csv", "pruning_curves.csv"  # of recipes/pruning_curve.py
ROUNDING = 1e-9


def read_all(folder=HERE):
    """The tables that are there: name → rows; every row's id is its own.

    Raises
    ------
    tinyclap.errors.ConfigError
        Two tables have a row of the same id.
    """
    tables = {name: read_table(name, folder) for name in TABLES if (Path(folder) / f"{name}.csv").is_file()}
    ids = [row["row_id"] for rows in tables.values() for row in rows]
    twice = [row_id for row_id in dict.fromkeys(ids) if ids.count(row_id) > 1]
    if twice:
        raise ConfigError(f"these rows are in more than one table: {', '.join(twice)}")
    return tables


def scores_of(tables):
    """(row id, seed) → the task that scores it."""
    planner = Planner({row["row_id"]: row for rows in tables.values() for row in rows})
    return {
        (row["row_id"], seed): planner.score(row["row_id"], seed)
        for rows in tables.values()
        for row in rows
        for seed in seeds_of(row)
    }


def hashes_of(tables):
    """(row id, seed) → the hash that its score must have."""
    return {key: task.hash for key, task in scores_of(tables).items()}


def at_path(record, path):
    """What stands in nested maps under a path of names with dots between them.

    Example
    -------
    >>> at_path({"metrics": {"cider_d": {"value": 0.5}}}, "metrics.cider_d.value")
    0.5
    """
    for name in path.split("."):
        if not isinstance(record, dict) or name not in record:
            raise ConfigError(f"there is no {path} in metrics.json; {name} is missing")
        record = record[name]
    return record


def kept_record(metrics, metric, task):
    """What is kept of a ``metrics.json`` that `task` wrote: nothing of this machine's folders."""
    where, _, last = metric.rpartition(".")
    around = at_path(metrics, where) if where else metrics
    folds = metrics["options"].get("folds")
    model = metrics.get("model") or {}
    return {
        "metric": metric,
        "value": at_path(metrics, metric),
        "interval_95": around.get("interval_95") if last == "value" else None,
        "n_items": metrics["n_items"],
        "seed": task.seed,
        "dataset": f"{metrics['dataset']} {metrics['split']}",
        "folds": list(metrics["per_fold"]) if metrics.get("per_fold") else folds,
        "model": {name: model.get(name) for name in SIZES},
        "hardware": f"{metrics.get('processor', metrics['machine'])}, {metrics['n_threads']} threads",
        **{name: metrics[name] for name in ("commit", "dirty", "date")},
        "commands": [shlex.join(step.words) for step in Planner.in_order([task])],
        "hash": task.hash,
    }


def keep(output, tables, kept=KEPT):
    """Take over every finished score; returns how many."""
    n_kept = 0
    wanted = scores_of(tables)
    for name, rows in tables.items():
        for row in rows:
            for seed in seeds_of(row):
                folder = Path(output) / "scores" / row["row_id"] / seed
                note, metrics = folder / "task.json", folder / "metrics.json"
                if not (note.is_file() and metrics.is_file()):
                    continue
                task = wanted[row["row_id"], seed]
                if _read(note)["hash"] != task.hash:
                    print(f"left: {folder} was made with other words than the row has now")
                    continue
                record = kept_record(_read(metrics), row["metric"], task)
                _write(kept / name / row["row_id"] / f"{seed}.json", record)
                if (folder / CURVE).is_file():
                    merge(kept / KEPT_CURVES, read_kept(folder / CURVE))
                n_kept += 1
    return n_kept


def filled(name, rows, wanted, kept=KEPT):
    """Rows of a table with our columns made anew from what is kept; and what does not count any more, as sentences."""
    stale, made = [], []
    for row in rows:
        records = []
        for seed in seeds_of(row):
            path = kept / name / row["row_id"] / f"{seed}.json"
            if path.is_file():
                record = _read(path)
                if record["hash"] == wanted[row["row_id"], seed] and record["metric"] == row["metric"]:
                    records.append(record)
                else:
                    stale.append(f"{path} was made with other words than the row has now; it does not count")
        made.append({**row, **ours(row, records)})
    return made, stale


def ours(row, records):
    """Our columns of one row.

    Arguments
    ---------
    row : dict
    records : list of dict
        What is kept of it, one a seed.

    Returns
    -------
    dict of str to str
        Empty cells where nothing has run.
    """
    if not records:
        return {**dict.fromkeys(OURS, ""), "status": "not run"}
    values = [record["value"] for record in records]
    ends = [record["interval_95"] for record in records]
    half = half_width(values)
    return {
        "ours_mean": number(statistics.mean(values)),
        "ours_std": number(statistics.stdev(values)) if len(values) > 1 else "",
        "ours_ci95": "" if half is None else number(half),
        "clip_ci95": "..".join(number(statistics.mean(end)) for end in zip(*ends, strict=True)) if all(ends) else "",
        "n_seeds": "" if row["seeds"] == NO_SEED else str(len(values)),
        "n_items": " ".join(dict.fromkeys(str(record["n_items"]) for record in records)),
        "commit": " ".join(dict.fromkeys(_commit(record) for record in records)),
        "date": max(record["date"] for record in records)[:10],
        "hardware": "; ".join(dict.fromkeys(record["hardware"] for record in records)),
        "status": status(row, statistics.mean(values)),
    }


def status(row, mean):
    """reproduced | differs | ours, of a row that has run.

    Example
    -------
    >>> status({"paper_value": "0.763", "tolerance": "0.02"}, 0.75), status({"paper_value": ""}, 0.75)
    ('reproduced', 'ours')
    """
    if not row["paper_value"]:
        return "ours"
    near = abs(mean - float(row["paper_value"])) <= float(row["tolerance"]) * (1 + ROUNDING)
    return "reproduced" if near else "differs"


def number(value):
    """A number as the tables write it: whole ones whole, others with six decimals.

    Example
    -------
    >>> number(4434547), number(0.25)
    ('4434547', '0.250000')
    """
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.6f}"


def _commit(record):
    return (record["commit"] or "unknown")[:12] + ("+changes" if record["dirty"] else "")


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(words):
    """Keep, write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="what run_rows.py wrote, such as results/tables")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; the status is 1 where the tables are stale"
    )
    options = parser.parse_args(words)
    if options.keep and options.check:
        parser.error("--keep changes files, --check changes none")
    tables = read_all()
    if options.keep:
        if not (options.keep / "scores").is_dir():
            raise ConfigError(f"{options.keep} has no scores/; give the output folder of run_rows.py")
        print(f"{keep(options.keep, tables)} scores kept under {KEPT.relative_to(ROOT)}")
    wanted, changed = hashes_of(tables), []
    for name, rows in tables.items():
        made, stale = filled(name, rows, wanted)
        print("".join(f"{text}\n" for text in stale), end="")
        if made != rows:
            changed.append(f"recipes/tables/{name}.csv")
            if not options.check:
                write_table(name, made)
    if options.check:
        print(f"not what the kept results say: {', '.join(changed)}" if changed else "the tables are up to date")
        return 1 if changed else 0
    import update_readme  # the pages show the tables, so it reads this module

    return update_readme.main([])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
