#!/usr/bin/env python3
"""The ladder's table, plot and verdict, from the metrics.json files that its runs left.

    python recipes/captioning/ladder_report.py --folder results/captioner/ladder
    python recipes/captioning/ladder_report.py --table recipes/captioning/results/ladder.csv --output …

Writes ladder.md, ladder.csv, ladder.png and ladder.svg into the folder, and prints the table. Cells without a result
are left empty.
"""

import argparse
import csv
import json
import math
import re
import statistics
import sys
from pathlib import Path

# Okabe & Ito's colours: told apart with any colour vision, in print and on a dark page.
LOSSES = {
    "supervised": ("supervised", "#999999"),
    "sequence": ("+ sequence", "#0072B2"),
    "mse": ("+ sequence + MSE", "#D55E00"),
    "contrastive": ("+ sequence + contrastive", "#009E73"),
    "audio_only": ("+ sequence + contrastive + audio only", "#CC79A7"),
    "mse_student": ("+ sequence + MSE in the teacher's space", "#E69F00"),
}
TEACHER = "teacher"
FIELDS = ("loss", "labelled_fraction", "seed", "cider_d", "low", "high", "n_clips", "commit", "date")
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def read_runs(folder):
    """Rows of the ladder's table, from ``<loss>_<fraction>/<seed>/scores/metrics.json``."""
    rows = []
    for path in sorted(Path(folder).glob("*/*/scores/metrics.json")):
        match = re.fullmatch(r"(?:(\w+)_([\d.]+)|teacher)", path.parts[-4])
        loss = match and (match[1] or TEACHER)
        if loss in (*LOSSES, TEACHER):
            record = json.loads(path.read_text(encoding="utf-8"))
            low, high = record["metrics"]["cider_d"]["interval_95"]
            values = (record["metrics"]["cider_d"]["value"], low, high)
            run = [loss, float(match[2] or 1.0), path.parts[-3], *(f"{value:.6f}" for value in values)]
            facts = [*run, record["n_items"], record["commit"], record["date"]]
            rows.append(dict(zip(FIELDS, map(str, facts), strict=True)))
    return rows


def read_table(path):
    """Rows that an earlier report wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cells_of(rows):
    """(loss, fraction) → {seed: CIDEr-D}, without the teacher."""
    cells = {}
    for row in rows:
        if row["loss"] != TEACHER:
            key = row["loss"], float(row["labelled_fraction"])
            cells.setdefault(key, {})[row["seed"]] = float(row["cider_d"])
    return cells


def half_width(values):
    """Half of the 95 % interval of a mean over seeds, by Student's t; None for one value."""
    if len(values) < 2:
        return None
    return T_95.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values))


def shown(values):
    """Mean ± standard deviation over seeds (n)."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread} ({len(values)})"


def table(cells, fractions, teacher):
    """Rows of strings, the head first."""
    rows = [["loss", *(f"{100 * fraction:g} % of the labels" for fraction in fractions)]]
    if teacher is not None:
        value, low, high = (float(teacher[name]) for name in ("cider_d", "low", "high"))
        rows.append([f"teacher: {value:.3f} [{low:.3f}, {high:.3f}], over clips", *[""] * len(fractions)])
    for loss, (label, _) in LOSSES.items():
        rows.append([label, *(shown(list(cells.get((loss, fraction), {}).values())) for fraction in fractions)])
    return rows


def paired(cells, one, other, fractions):
    """Mean difference of two losses over the seeds that both have, and half its 95 % interval, at some fractions."""
    differences = [
        value - cells[other, fraction][seed]
        for fraction in fractions
        for seed, value in cells.get((one, fraction), {}).items()
        if seed in cells.get((other, fraction), {})
    ]
    return (statistics.mean(differences), half_width(differences), len(differences)) if differences else None


def verdict(cells, fractions):
    """What the numbers say of contrastive against MSE, in sentences."""
    lines = []
    groups = {"all labels": [f for f in fractions if f == 1.0], "scarce labels": [f for f in fractions if f <= 0.25]}
    for other, label in (("mse", "the published MSE"), ("mse_student", "the MSE in the teacher's own space")):
        for name, some in groups.items():
            found = paired(cells, "contrastive", other, some)
            if found is None:
                continue
            mean, half, n_pairs = found
            at = ", ".join(f"{100 * fraction:g} %" for fraction in some)
            if half is None:
                says = "one pair says nothing"
            elif abs(mean) <= half:
                says = "these runs do not tell them apart"
            else:
                says = "contrastive is better here" if mean > 0 else "the MSE is better here"
            interval = "" if half is None else f" ± {half:.3f} (95 % interval over pairs of one seed)"
            lines.append(
                f"With {name} ({at}), contrastive minus {label} is {mean:+.3f}{interval}, n = {n_pairs}: {says}."
            )
    return lines


def markdown(rows):
    """The table and the verdict."""
    cells = cells_of(rows)
    fractions = sorted({fraction for _, fraction in cells}, reverse=True)
    teacher = next((row for row in rows if row["loss"] == TEACHER), None)
    lines = [f"| {' | '.join(row)} |" for row in table(cells, fractions, teacher)]
    lines.insert(1, f"|{'---|' * (len(fractions) + 1)}")
    n_clips = ", ".join(sorted({row["n_clips"] for row in rows}))
    lines += ["", f"CIDEr-D on {n_clips} unseen scenes: mean ± standard deviation over seeds (number of seeds).", ""]
    return "\n".join([*lines, *verdict(cells, fractions)])


def plot(rows, folder):
    """Mean over seeds against the share of labels, with bands from the least to the greatest."""
    import matplotlib

    cells = cells_of(rows)
    fractions = sorted({fraction for _, fraction in cells}, reverse=True)
    teacher = next((row for row in rows if row["loss"] == TEACHER), None)

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.6, 4.6), constrained_layout=True)
    for loss, (label, colour) in LOSSES.items():
        points = [
            (fraction, list(cells[loss, fraction].values())) for fraction in fractions if (loss, fraction) in cells
        ]
        if points:
            shares = [100 * fraction for fraction, _ in points]
            axes.plot(
                shares, [statistics.mean(v) for _, v in points], marker="o", markersize=4, color=colour, label=label
            )
            axes.fill_between(
                shares, *zip(*((min(v), max(v)) for _, v in points), strict=True), color=colour, alpha=0.18
            )
    if teacher is not None:
        axes.axhline(float(teacher["cider_d"]), color="#555555", linestyle="--", linewidth=1, label="teacher")
    axes.set_xscale("log")
    axes.set_xticks([100 * fraction for fraction in fractions], [f"{100 * fraction:g}" for fraction in fractions])
    axes.minorticks_off()
    axes.set(xlabel="labelled scenes, % of 1200", ylabel="CIDEr-D on 300 scenes")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7.5, frameon=False)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"ladder.{suffix}", dpi=160, facecolor="white")


def main():
    """Write the report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="where ladder.sh put its runs")
    parser.add_argument("--table", type=Path, help="ladder.csv of an earlier report, instead")
    parser.add_argument("--output", type=Path, help="where the report goes; the folder by default")
    options = parser.parse_args()
    if (options.folder is None) == (options.table is None):
        parser.error("give --folder or --table")
    rows = read_table(options.table) if options.folder is None else read_runs(options.folder)
    if not cells_of(rows):
        sys.exit(f"{options.folder or options.table}: no scored run in it; run recipes/captioning/ladder.sh first")
    output = options.output or options.folder or options.table.parent
    output.mkdir(parents=True, exist_ok=True)
    text = markdown(rows)
    (output / "ladder.md").write_text(text + "\n", encoding="utf-8")
    with open(output / "ladder.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, output)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
