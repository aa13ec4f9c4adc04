#!/usr/bin/env python3
"""What the runs of loss_sweep.sh scored: OUTPUT/loss_sweep.jsonl, a row a run, and OUTPUT/loss_sweep.md, the table.

    python recipes/real_audio/loss_sweep_report.py OUTPUT TRAINED

TRAINED is the esc50.csv of the training audio: classes that it lacks are held out. A loss's accuracy of a clip is its
mean over seeds; intervals (95 %, bootstrap) draw whole recordings. The difference from the cosine is paired, by clip
and seed: where its interval includes 0, neither is better.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from tinyclap.files import read_json, write_text
from tinyclap.metrics.classification import bootstrap_interval, paired_difference
from tinyclap.metrics.predictions import read_predictions

BASE = "cosine"


def read_run(folder, trained):
    """Clips and right answers of a scored folder, of classes that were trained on and of those held out."""
    found = read_predictions(folder)
    is_heard = np.isin(found.labels, sorted(trained))
    return {
        kind: (found.ids[kept], found.recordings[kept], found.correct[kept].astype(float))
        for kind, kept in (("held_out", ~is_heard), ("trained", is_heard))
    }


def run_row(folder, scores):
    """The row of a run in loss_sweep.jsonl."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    metrics = read_json(folder / "esc50/metrics.json")
    row = {"loss": folder.parent.name, "seed": int(folder.name), "epochs": len(history)}
    row["valid_cosine"] = max(epoch["valid"]["cosine"] for epoch in history)
    for kind, (ids, _, correct) in scores.items():
        row |= {kind: float(correct.mean()), f"n_{kind}": len(ids)}
    return {**row, "commit": metrics["commit"], "dirty": metrics["dirty"]}


def percent(value, ends, sign=""):
    """``61.2 [57.0, 65.1]``"""
    return f"{100 * value:{sign}.1f} [{', '.join(f'{100 * end:{sign}.1f}' for end in ends)}]"


def table(runs, teacher):
    """The Markdown table of runs, a dict loss → seed → scores by kind of class."""
    counts = {kind: len(ids) for kind, (ids, *_) in teacher.items()}
    head = f"| loss | seeds | held-out classes, % (n = {counts['held_out']}) | less cosine | over seeds, ± "
    lines = [f"{head}| trained classes, % (n = {counts['trained']}) |", "|---|---|---|---|---|---|"]
    cells = [percent(rows.mean(), bootstrap_interval(rows, groups)) for _, groups, rows in teacher.values()]
    lines.append(f"| the teacher | | {cells[0]} | | | {cells[1]} |")
    for loss, by_seed in runs.items():
        means = {kind: np.mean([scores[kind][2] for scores in by_seed.values()], axis=0) for kind in teacher}
        held_out, trained = (
            percent(means[kind].mean(), bootstrap_interval(means[kind], teacher[kind][1])) for kind in teacher
        )
        shared = [seed for seed in by_seed if seed in runs.get(BASE, {})]
        less = ""
        if loss != BASE and shared:
            sides = [np.mean([runs[name][seed]["held_out"][2] for seed in shared], axis=0) for name in (BASE, loss)]
            less = percent(*paired_difference(*sides, teacher["held_out"][1]), "+")
        values = [100 * scores["held_out"][2].mean() for scores in by_seed.values()]
        spread = f"{np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        lines.append(f"| {loss} | {len(by_seed)} | {held_out} | {less} | {spread} | {trained} |")
    return "\n".join(lines) + "\n"


def main(arguments):
    """Write rows and table; returns the exit status."""
    if len(arguments) != 2:
        sys.exit(__doc__.strip())
    output = Path(arguments[0])
    with open(arguments[1], newline="", encoding="utf-8") as file:
        trained = {row["category"].replace(" ", "_") for row in csv.DictReader(file)}
    runs, rows = {}, []
    for metrics in sorted(output.glob("*/*/esc50/metrics.json")):
        folder = metrics.parents[1]
        scores = read_run(metrics.parent, trained)
        runs.setdefault(folder.parent.name, {})[folder.name] = scores
        rows.append(run_row(folder, scores))
    if not rows:
        sys.exit(f"{output}: no finished run; run recipes/real_audio/loss_sweep.sh first")
    runs = dict(sorted(runs.items(), key=lambda item: (item[0] != BASE, item[0])))
    write_text(output / "loss_sweep.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = table(runs, read_run(output / "teacher", trained))
    write_text(output / "loss_sweep.md", found)
    sys.stdout.write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
