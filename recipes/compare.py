#!/usr/bin/env python3
"""Two models on the same clips: accuracies, their paired difference, McNemar's test, the clips on which they differ.

    python recipes/compare.py scores/student_a scores/student_b --labels "plain" "nested" --output results/compare

Each side is a predictions.csv that evaluate.py wrote of a classification, or the folder that has it. Differences are
second minus first. Written into --output: compare.json and differences.csv (the clips that one alone gets right).

Other sets of clips are refused, unless --common compares those that both have; other labels or classes always are: that
would compare two tasks. Intervals are of clips (and of whole recordings), not of training seeds: a difference between
two runs of one recipe says nothing of the recipe; compare means over seeds for that.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.metrics.classification import mcnemar, paired_difference
from tinyclap.metrics.leakage import scored
from tinyclap.metrics.predictions import percent_interval, read_predictions, write_table

FORMAT = 1
N_SHOWN = 5


def some(names):
    """A few of many names, for a message."""
    names = sorted(names)
    return ", ".join(names[:N_SHOWN]) + (" …" if len(names) > N_SHOWN else "")


def matched(first, second, common=False):
    """The same clips of both sides, in the first one's order.

    Arguments
    ---------
    first, second : tinyclap.metrics.predictions.Predictions
    common : bool
        Take the clips that both have; else other sets are refused.

    Returns
    -------
    (Predictions, Predictions, int)
        And how many clips were left out, of both sides together.

    Raises
    ------
    ConfigError
        Other clips, labels or classes.
    """
    if first.classes and second.classes and set(first.classes) != set(second.classes):
        only = some(set(first.classes) ^ set(second.classes))
        counts = f"{len(first.classes)} and {len(second.classes)}"
        raise ConfigError(f"the two chose among other classes ({counts}; one side alone has {only}): two tasks")
    places = {clip: place for place, clip in enumerate(second.ids)}
    kept = [place for place, clip in enumerate(first.ids) if clip in places]
    left_out = len(first.ids) + len(second.ids) - 2 * len(kept)
    if not kept:
        raise ConfigError("the two share no clip: they are of different corpora, folds or splits")
    if left_out and not common:
        strangers = some(set(first.ids) ^ set(second.ids))
        what = f"{left_out} clips are on one side alone ({strangers})"
        raise ConfigError(f"{what}; score both on the same clips, or compare the common ones with --common")
    first = first.at(kept)
    second = second.at([places[clip] for clip in first.ids])
    wrong = first.ids[first.labels != second.labels]
    if len(wrong):
        raise ConfigError(f"{len(wrong)} clips have another label on each side ({some(wrong)})")
    return first, second, left_out


def comparison(first, second, seed):
    """What ``compare.json`` holds of two matched sides."""
    difference, ends = paired_difference(first.correct, second.correct, seed=seed)
    _, group_ends = paired_difference(first.correct, second.correct, first.recordings, seed=seed)
    return {
        "format": FORMAT,
        "n_clips": len(first.ids),
        "n_recordings": len(set(first.recordings)),
        "recordings_from": first.grouped_by,
        "folds": sorted(set(first.folds) - {""}),
        "first": scored(first.correct, first.recordings, seed),
        "second": scored(second.correct, second.recordings, seed),
        "difference": difference,
        "interval_95": list(ends),
        "interval_95_by_recording": list(group_ends),
        "n_both_right": int(np.sum(first.correct & second.correct)),
        "n_both_wrong": int(np.sum(~first.correct & ~second.correct)),
        "n_same_answer": int(np.sum(first.answers == second.answers)),
        "mcnemar": mcnemar(first.correct, second.correct),
        "per_class": per_class(first, second),
    }


def per_class(first, second):
    """Class → clips, and those that one alone gets right."""
    counts = {}
    for name in sorted(set(first.labels)):
        ours, theirs = first.correct[first.labels == name], second.correct[first.labels == name]
        only = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
        counts[str(name)] = {"n": len(ours), "n_first_only": only[0], "n_second_only": only[1]}
    return counts


def page(content, labels):
    """The comparison in words: Markdown."""
    rows = [("model", "accuracy, %", "95 % over clips", "95 % over recordings"), ["---"] * 4]
    for label, side in zip(labels, (content["first"], content["second"]), strict=True):
        rows.append((label, f"{100 * side['accuracy']:.2f}", *map(percent_interval, _ends(side))))
    rows.append(
        (f"{labels[1]} − {labels[0]}", f"{100 * content['difference']:+.2f}", *map(percent_interval, _ends(content)))
    )
    test = content["mcnemar"]
    apart = not content["interval_95_by_recording"][0] <= 0 <= content["interval_95_by_recording"][1]
    return "\n".join(
        [
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"{content['n_clips']} clips of {content['n_recordings']} recordings ({content['recordings_from']}). Both "
            f"right {content['n_both_right']}, both wrong {content['n_both_wrong']}, {labels[0]} alone right "
            f"{test['n_first_only']}, {labels[1]} alone right {test['n_second_only']}.",
            f"McNemar: exact p = {test['exact_p']:.3g}, mid-p = {test['mid_p']:.3g} (clips taken as independent).",
            f"By whole recordings, these clips {'tell' if apart else 'do not tell'} the two models apart.",
        ]
    )


def _ends(side):
    return side["interval_95"], side["interval_95_by_recording"]


def differences(first, second):
    """The clips that one model alone gets right: rows, the head first."""
    rows = [["id", "recording", "fold", "label", "first", "second", "right"]]
    for place in np.flatnonzero(first.correct != second.correct):
        facts = [array[place] for array in (first.ids, first.recordings, first.folds, first.labels)]
        right = "first" if first.correct[place] else "second"
        rows.append([*facts, first.answers[place], second.answers[place], right])
    return rows


def main(arguments=None):
    """Compare two files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="predictions.csv of one model, or its folder")
    parser.add_argument("second", type=Path, help="predictions.csv of the other")
    parser.add_argument("--labels", nargs=2, metavar="NAME", default=("first", "second"), help="what they are called")
    parser.add_argument("--common", action="store_true", help="compare the clips that both have, if they differ")
    parser.add_argument("--output", type=Path, help="folder for compare.json and differences.csv; none by default")
    parser.add_argument("--bootstrap_seed", type=int, default=1234, help="of the intervals (1234)")
    options = parser.parse_args(arguments)
    sides = read_predictions(options.first), read_predictions(options.second)
    first, second, left_out = matched(*sides, options.common)
    content = comparison(first, second, options.bootstrap_seed)
    print(page(content, options.labels))
    if left_out:
        print(f"{left_out} clips are on one side alone and were left out.")
    if options.output:
        # loads torch, which the comparison does without
        from tinyclap.files import write_json
        from tinyclap.training.provenance import git_state

        facts = {
            "labels": list(options.labels),
            "n_left_out": left_out,
            **git_state(Path(__file__).parent),
        }
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(options.output / "compare.json", {**content, **facts})
        write_table(options.output / "differences.csv", differences(first, second))
        print(f"Written: {options.output}/compare.json, differences.csv")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
