#!/usr/bin/env python3
"""Run rows of a table: train, rank, prune and score what each says, whatever is not done yet.

    python recipes/tables/run_rows.py zero_shot --dry-run             every row: cost, and what it lacks here
    python recipes/tables/run_rows.py zero_shot --rows real --seeds "1234 1235"
    python recipes/tables/run_rows.py zero_shot --rows "A3* A6_esc50" --jobs 2 --keep-going
    python recipes/tables/run_rows.py zero_shot --rows smoke          every row in a tiny form on the built-in corpus

The scripts zero_shot.sh, pruning.sh, … beside this file call it. Corpora and weights are named by environment
variables (see README.md); rows that lack one are left out and said. A finished task is known by the hash of its words:
stopped at any moment and run again, it goes on with the first task that has not finished. Folders: OUTPUT/runs
(trainings, rankings, pruned students) and OUTPUT/scores/ROW/SEED (for make_tables.py --keep), each with task.log.
"""

import argparse
import fcntl
import os
import sys
from pathlib import Path

from rows import ROOT, TABLES, read_table, seeds_of, select
from runner import Runner
from smoke import smoke_rows
from tasks import Planner, missing_for

from tinyclap.errors import ConfigError, TinyclapError


def parse(words):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="+", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--rows", default="all", help="all, paper, real, soundscapes, smoke, ids or patterns ('A5*')")
    parser.add_argument("--seeds", help="these in the place of the rows' own, for example '1234 1235'")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failed task; the exit status is 1")
    parser.add_argument("--output", type=Path, help="results/tables; of --rows smoke results/tables_smoke")
    parser.add_argument("--jobs", type=int, help="tasks at a time: 1; of --rows smoke the number of CPUs, at most 4")
    options = parser.parse_args(words)
    options.rows = options.rows.replace(",", " ").split()
    options.seeds = (options.seeds or "").replace(",", " ").split() or None
    options.is_smoke = options.rows == ["smoke"]
    if "smoke" in options.rows and not options.is_smoke:
        parser.error("--rows smoke stands alone: it is every row, in another form")
    if options.seeds and not all(seed.isdigit() for seed in options.seeds):
        parser.error(f"--seeds {' '.join(options.seeds)}: seeds are whole numbers")
    options.output = options.output or Path("results/tables_smoke" if options.is_smoke else "results/tables")
    options.jobs = options.jobs or (min(4, os.cpu_count() or 1) if options.is_smoke else 1)
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    return options


def plan(options, environment):
    """What is asked for: (rows chosen, {row id: its score tasks}, {row id: what it lacks here}, planner).

    Raises
    ------
    tinyclap.errors.ConfigError
        A table, a row or a placeholder is wrong.
    """
    tables = {name: read_table(name) for name in TABLES if name in options.table or _exists(name)}
    everything = {row["row_id"]: row for rows in tables.values() for row in rows}
    chosen = [row for name in options.table for row in tables[name]]
    if options.is_smoke:
        everything, chosen = smoke_rows(everything, chosen)
    else:
        chosen = select(chosen, options.rows)
    planner = Planner(everything)
    scores = {
        row["row_id"]: [planner.score(row["row_id"], seed) for seed in seeds_of(row, options.seeds)] for row in chosen
    }
    lacks = {row_id: missing_for(tasks[0], environment) for row_id, tasks in scores.items()}
    return chosen, scores, lacks, planner


def _exists(name):
    return (Path(__file__).resolve().parent / f"{name}.csv").is_file()


def report(chosen, scores, lacks, planner, output):
    """What every row costs and lacks, and the totals, as lines."""
    lines = [f"{'row':<34} {'seeds':>5} {'done':>4} {'h/seed':>7} {'GB':>6}  runs here?"]
    for row in chosen:
        tasks = scores[row["row_id"]]
        n_done = sum(task.is_done(output) for task in tasks)
        missing = lacks[row["row_id"]]
        says = f"no: {', '.join(missing)}" if missing else "yes"
        lines.append(
            f"{row['row_id']:<34} {len(tasks):>5} {n_done:>4} {float(row['hours'] or 0):>7.2f} "
            f"{float(row['disk_gb'] or 0):>6.2f}  {says}\n    {row['title']}"
        )
    for name, some in (
        ("all of them", chosen),
        ("those that can run here", [r for r in chosen if not lacks[r["row_id"]]]),
    ):
        tasks = planner.in_order([task for row in some for task in scores[row["row_id"]]])
        left = [task for task in tasks if not task.is_done(output)]
        lines.append(
            f"{name}: {len(some)} rows, {len(tasks)} tasks, {len(left)} to do; about "
            f"{sum(task.hours for task in left):.1f} h and {sum(task.disk_gb for task in left):.1f} GB for these"
        )
    lines.append(
        "Hours and disk are rough, for one seed on the hardware that the row's note names; what rows share counts once."
    )
    return lines


def main(words):
    """Say, then run; returns the exit status."""
    options = parse(words)
    chosen, scores, lacks, planner = plan(options, os.environ)
    output = ROOT / options.output
    print("\n".join(report(chosen, scores, lacks, planner, output)), flush=True)
    if options.dry_run:
        return 0
    runnable = [task for row in chosen if not lacks[row["row_id"]] for task in scores[row["row_id"]]]
    left_out = [row["row_id"] for row in chosen if lacks[row["row_id"]]]
    if not runnable:
        raise ConfigError("none of these rows can run here; the list above says what each lacks")
    output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    with open(output / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{output} is in use by another run; wait for it, or give another --output") from error
        n_failed = Runner(output, options.jobs, options.keep_going).run(planner.in_order(runnable))
    if left_out:
        print(f"not run, for what they lack here: {', '.join(left_out)}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
