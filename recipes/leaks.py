#!/usr/bin/env python3
"""What training has heard of a test: recordings that two lists of clips share, and scores without them.

    python recipes/leaks.py --train "FSD50K=FSD50K.ground_truth/dev.csv" --train "MACS=manifests/macs_train.json" \\
        --test "ESC-50=ESC-50-master/meta/esc50.csv" --test "US8K fold 2=UrbanSound8K.csv::2" --output results/leaks
    python recipes/leaks.py --predictions scores/esc50 --exclude results/leaks/leaks.csv --test_name ESC-50

A list is NAME=PATH, or NAME=PATH::FOLDS for some folds. PATH is a manifest of ours (JSON), a published table
(esc50.csv, UrbanSound8K.csv, clotho_metadata_*.csv or clotho_captions_*.csv with the metadata beside it, FSD50K's
dev.csv and eval.csv, AudioCaps' and AudioSet's lists), or a folder of ESC-50's, UrbanSound8K's or FSD50K's audio. A
name says which list it is: the same list on both sides is not compared with itself.

Written are leaks.json (each pair of lists) and leaks.csv (each test clip: shared, unknown or none_found). With
--predictions: exclusion.json, the accuracy with and without the clips that are shared. Equal ids are found, equal
sounds under different ids are not: the numbers are lower bounds. A clip without an id is unknown, never clean.
"""

import argparse
import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.metrics.leakage import (
    COLUMNS,
    JOINT,
    NONE_FOUND,
    UNKNOWN,
    accuracy_without,
    is_same,
    leak_rows,
    overlap,
    read_clips,
    union,
)
from tinyclap.metrics.predictions import percent_interval, read_predictions, write_table

FORMAT = 1
PARTS = {
    "all": "all clips",
    "without_shared": "without the shared",
    "without_shared_or_unknown": "without the shared and the unknown",
    "shared": "the shared alone",
    "unknown": "the unknown alone",
}


def read_lists(texts):
    """``NAME=PATH[::FOLDS]`` of the command line → list of Clips."""
    lists = []
    for text in texts:
        name, _, place = text.partition("=")
        path, _, folds = place.partition("::")
        if not name or not path or JOINT in name:
            raise ConfigError(f"{text!r}: write it as NAME=PATH or NAME=PATH::1,2,3, without {JOINT!r} in the name")
        lists.append(read_clips(name, path, [fold.strip() for fold in folds.split(",")] if folds else None))
    return lists


def check_names(train_lists, test_lists):
    """Refuse one name for two lists; the same list on both sides is fine."""
    names = [one.name for one in train_lists], [one.name for one in test_lists]
    twice = {name for side in names for name in side if side.count(name) > 1}
    twice |= {train.name for train in train_lists for test in test_lists
              if train.name == test.name and not is_same(train, test)}  # fmt: skip
    if twice:
        raise ConfigError(f"two lists have one name: {', '.join(sorted(twice))}")


def report(train_lists, test_lists, together=False):
    """What ``leaks.json`` holds: each list, each pair and, if asked for, each test against all training as one."""
    pairs = [(train, test) for test in test_lists for train in train_lists if not is_same(train, test)]
    if not pairs:
        raise ConfigError("the training lists are the test lists: there is nothing to compare")
    everything = union("all training lists", train_lists)
    return {
        "format": FORMAT,
        "train": [one.describe() for one in train_lists],
        "test": [one.describe() for one in test_lists],
        "pairs": [overlap(train, test) for train, test in pairs],
        "together": [overlap(everything, test) for test in test_lists] if together else [],
    }


def report_table(content):
    """The pairs as Markdown, then what could not be compared."""
    head = ("training", "test", "shared recordings", "training clips", "test clips", "% of the test")
    rows = [head, ["---"] * len(head)]
    for pair in [*content["pairs"], *content["together"]]:
        found = [pair[key] for key in ("n_shared_recordings", "n_train_clips", "n_test_clips")]
        shown = [f"{value:,}" for value in found] + [f"{100 * pair['test_share']:.1f}"]
        rows.append([pair["train"], pair["test"], *(shown if pair["comparable"] else ["not comparable", "", "", ""])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        f"\n{one['name']}: the recording of {one['n_unknown']:,} of {one['n_clips']:,} clips is not known; they count "
        "as unknown, not as clean."
        for one in [*content["train"], *content["test"]]
        if one["n_unknown"]
    ]
    return "\n".join(lines)


def read_rows(path, test_name):
    """Rows of one test in ``leaks.csv``: clip → row."""
    if not path.is_file():
        raise ConfigError(f"no {path}; write it first, with --train and --test")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or set(COLUMNS) - set(rows[0]):
        raise ConfigError(f"{path} is no leaks.csv: it must have the columns {', '.join(COLUMNS)}, and a row")
    names = list(dict.fromkeys(row["test"] for row in rows))
    if test_name is None and len(names) > 1:
        raise ConfigError(f"{path} has several tests; choose one by --test_name: {', '.join(names)}")
    if test_name is not None and test_name not in names:
        raise ConfigError(f"{path} has no test {test_name!r}; it has: {', '.join(names)}")
    return {row["clip"]: row for row in rows if row["test"] == (test_name or names[0])}


def exclusion(predictions, rows, seed):
    """Accuracies with and without what training has heard; ``per_training_list``: without the clips of one list."""
    listed = [clip in rows for clip in predictions.ids]
    if not any(listed):
        raise ConfigError("none of the clips of --predictions is in --exclude: they are of different corpora")
    found = [rows.get(clip, {"status": UNKNOWN, "train": "", "recording": ""}) for clip in predictions.ids]
    statuses = [row["status"] for row in found]
    recordings = [row["recording"] or own for row, own in zip(found, predictions.recordings, strict=True)]
    correct = predictions.correct
    whole = accuracy_without(correct, recordings, statuses, predictions.labels, seed)
    folds = sorted(set(predictions.folds) - {""})
    names = sorted({name for row in found for name in row["train"].split(JOINT) if name})
    each = {}
    for name in names:
        heard = [name in row["train"].split(JOINT) for row in found]
        own = [
            status if status == UNKNOWN or shared else NONE_FOUND
            for status, shared in zip(statuses, heard, strict=True)
        ]
        each[name] = accuracy_without(correct, recordings, own, predictions.labels, seed)
    by_fold = {}
    for fold in folds if len(folds) > 1 else []:
        kept = np.flatnonzero(predictions.folds == fold)
        picked = [[part[place] for place in kept] for part in (recordings, statuses, predictions.labels)]
        by_fold[fold] = accuracy_without(correct[kept], *picked, seed)
    return {
        "format": FORMAT,
        "n_not_listed": listed.count(False),
        "folds": folds,
        **whole,
        "per_training_list": each,
        "per_fold": by_fold,
    }


def exclusion_table(content):
    """The accuracies as Markdown."""
    head = ("clips", "accuracy, %", "95 % over clips", "95 % over recordings", "clips", "recordings")
    rows = [head, ["---"] * len(head)]
    for key, words in PARTS.items():
        part = content[key]
        if part is not None:
            rows.append([words, f"{100 * part['accuracy']:.2f}", *(percent_interval(part[name]) for name in
                         ("interval_95", "interval_95_by_recording")), str(part["n_clips"]),
                         str(part["n_recordings"])])  # fmt: skip
    lines = [f"| {' | '.join(row)} |" for row in rows]
    moved = content["moves_by"]
    says = "no clip is left" if moved is None else f"the accuracy moves by {100 * moved:+.2f} points"
    lines.append(f"\nWithout the shared clips {says}.")
    if content["n_not_listed"]:
        lines.append(f"{content['n_not_listed']} clips are not in the list of --exclude: they count as unknown.")
    return "\n".join(lines)


def write_record(path, content):
    """Write a result with the commit and the date."""
    # loads torch, which the counting does without
    from tinyclap.files import write_json
    from tinyclap.training.provenance import git_state

    date = datetime.now(UTC).isoformat(timespec="seconds")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**content, **git_state(Path(__file__).parent), "date": date})


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="append", default=[], metavar="NAME=PATH", help="a training list; repeat it")
    parser.add_argument("--test", action="append", default=[], metavar="NAME=PATH", help="a test list; repeat it")
    parser.add_argument("--together", action="store_true", help="report all training lists as one, too")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write leaks.json to this file, too")
    parser.add_argument("--predictions", type=Path, help="predictions.csv, or its folder: accuracy without the shared")
    parser.add_argument("--exclude", type=Path, help="leaks.csv of an earlier report; the one just written by default")
    parser.add_argument("--test_name", help="which test of leaks.csv the predictions are of, if it has several")
    parser.add_argument(
        "--output", type=Path, default=Path("results/leaks"), help="folder of the report (results/leaks)"
    )
    parser.add_argument("--bootstrap_seed", type=int, default=1234, help="of the intervals (1234)")
    options = parser.parse_args(arguments)
    if bool(options.train) != bool(options.test):
        parser.error("give both --train and --test")
    if not options.train and not (options.predictions and options.exclude):
        parser.error("give --train and --test, or --predictions and --exclude")
    return options


def main(arguments=None):
    """Write the report; returns the exit status."""
    options = parse(arguments)
    if options.train:
        train_lists, test_lists = read_lists(options.train), read_lists(options.test)
        check_names(train_lists, test_lists)
        content = report(train_lists, test_lists, options.together)
        write_record(options.output / "leaks.json", content)
        rows = [list(row.values()) for row in leak_rows(train_lists, test_lists)]
        write_table(options.output / "leaks.csv", [COLUMNS, *rows])
        if options.keep:
            write_record(options.keep, content)
        print(report_table(content), f"\nWritten: {options.output}/leaks.json, leaks.csv")
    if options.predictions:
        rows = read_rows(options.exclude or options.output / "leaks.csv", options.test_name)
        content = exclusion(read_predictions(options.predictions), rows, options.bootstrap_seed)
        write_record(options.output / "exclusion.json", content)
        print(exclusion_table(content), f"\nWritten: {options.output}/exclusion.json")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
