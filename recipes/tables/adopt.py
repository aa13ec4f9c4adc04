#!/usr/bin/env python3
"""Take a run that train.py and evaluate.py made by hand for a row's own, if it was made with the row's words.

    python recipes/tables/adopt.py data_scarce --row B6_sequence_10_soundscapes --seed 1234 \\
        --run results/captioner/ladder/sequence_0.1/1234 --scores results/captioner/ladder/sequence_0.1/1234/scores

Both folders say in run.json with which options they were made. Those of the row and of the folder must be the same, but
for paths, which the row has as placeholders. The folders are copied, without checkpoints; what the row builds on (a
teacher's run) is adopted first, as a row of its own.
"""

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path

from rows import NO_SEED, ROOT, TABLES
from run_rows import plan
from tasks import PLACEHOLDER

from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.files import write_json
from tinyclap.training.command_line import parse_command_line
from tinyclap.training.values import read_value

PLACES = ("output_folder", "seed", "noprogressbar")


def options_of(task):
    """What a task asks of its recipe: (options with values, options whose values are placeholders)."""
    words = task.words[1:]
    placed = {word[2:] for word, value in zip(words, words[1:], strict=False) if PLACEHOLDER.search(value)}
    _, _, asked = parse_command_line([PLACEHOLDER.sub("x", word) for word in words])
    return {key: read_value(key, word, None) for key, word in asked.items() if key not in placed}, placed


def differences(task, folder):
    """How the options of `folder` differ from the task's, as sentences; empty where it is the task's own run."""
    path = folder / "run.json"
    if not path.is_file():
        return [f"{folder} has no run.json"]
    run = json.loads(path.read_text(encoding="utf-8"))
    asked, placed = options_of(task)
    had = {key: read_value(key, word, None) for key, word in run["overrides"].items() if key not in (*placed, *PLACES)}
    found = (
        [f"recipe {run['recipe']}, not {Path(task.words[1]).name}"] if run["recipe"] != Path(task.words[1]).name else []
    )
    absent = "not given"
    for key in sorted({*asked, *had}):
        mine, theirs = asked.get(key, absent), had.get(key, absent)
        if mine != theirs:
            found.append(f"--{key}: {theirs}, where the row says {mine}")
    seed = run["overrides"].get("seed", 1234)
    if task.kind == "train" and str(seed) != task.seed:
        found.append(f"seed {seed}, not {task.seed}")
    return found


def adopt(task, folder, output):
    """Copy a folder to where the task would have written, with the note that it has finished.

    Raises
    ------
    tinyclap.errors.ConfigError
        It was made with other options, or has not finished.
    """
    problems = differences(task, folder)
    done = folder / ("metrics.json" if task.kind == "score" else "student/config.json")
    if not done.is_file():
        problems.append(f"{done} is missing: it has not finished")
    if problems:
        raise ConfigError(f"{folder} is not {task.label}: {'; '.join(problems)}")
    note = {"hash": task.hash, "kind": task.kind, "row": task.row_id, "seed": task.seed, "words": task.words}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for place in task.folders:
        if not task.is_done(output, place):
            ignored = shutil.ignore_patterns("save", "scores", "task.json")
            shutil.copytree(folder, output / place, dirs_exist_ok=True, ignore=ignored)
            (output / place).mkdir(parents=True, exist_ok=True)
            write_json(output / place / "task.json", {**note, "seconds": None, "date": date, "adopted": str(folder)})


def main(words):
    """Adopt what the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs=1, choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--row", required=True, help="the row's id")
    parser.add_argument("--seed", default=NO_SEED, help="one of its seeds; none where nothing is trained")
    parser.add_argument("--run", type=Path, help="the folder of its training")
    parser.add_argument("--scores", type=Path, help="the folder of its metrics.json")
    parser.add_argument("--output", type=Path, default=Path("results/tables"), help="as of run_rows.py (%(default)s)")
    options = parser.parse_args(words)
    options.rows, options.is_smoke = [options.row], False
    options.seeds = None if options.seed == NO_SEED else [options.seed]
    _, scores, _, planner = plan(options, {})
    ((score,),) = scores.values()
    for task in planner.in_order([score]):
        folder = {"train": options.run, "score": options.scores}.get(task.kind) if task.row_id == options.row else None
        if folder is not None:
            adopt(task, folder, ROOT / options.output)
            print(f"adopted: {folder} as {task.label}")
        elif not task.is_done(ROOT / options.output):
            print(f"still to do: {task.label}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
