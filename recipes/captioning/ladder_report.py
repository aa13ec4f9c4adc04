#!/usr/bin/env python3
"""The ladder's table, plot and verdict, from the metrics.json files that its runs left.

    python recipes/captioning/ladder_report.py --folder results/captioner/ladder

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
}
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def read_cells(folder, metric):
    """(loss, fraction) → {seed: value}, from ``<loss>_<fraction>/<seed>/scores/metrics.json``."""
    cells = {}
    for path in sorted(Path(folder).glob("*_*/*/scores/metrics.json")):
        match = re.fullmatch(r"(\w+)_([\d.]+)", path.parts[-4])
        if match and match[1] in LOSSES:
            value = json.loads(path.read_text(encoding="utf-8"))["metrics"][metric]["value"]
            cells.setdefault((match[1], float(match[2])), {})[path.parts[-3]] = value
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
        low, high = teacher["interval_95"]
        rows.append([f"teacher ({teacher['value']:.3f} [{low:.3f}, {high:.3f}] over clips)", *[""] * len(fractions)])
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
    for name, some in groups.items():
        found = paired(cells, "contrastive", "mse", some)
        if found is None:
            continue
        mean, half, n_pairs = found
        at = ", ".join(f"{100 * fraction:g} %" for fraction in some)
        if half is None:
            says = "one pair says nothing"
        elif abs(mean) <= half:
            says = "so these runs do not tell them apart"
        else:
            says = "so here contrastive is better" if mean > 0 else "so here MSE is better"
        interval = "" if half is None else f" ± {half:.3f} (95 % interval over pairs of one seed)"
        lines.append(
            f"With {name} ({at}), contrastive minus MSE is {mean:+.3f}{interval}, n = {n_pairs} pairs: {says}."
        )
    return lines


def plot(cells, fractions, teacher, folder):
    """Mean over seeds against the share of labels, with bands from the least to the greatest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.6, 3.8), constrained_layout=True)
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
        axes.axhline(teacher["value"], color="#555555", linestyle="--", linewidth=1, label="teacher")
    axes.set_xscale("log")
    axes.set_xticks([100 * fraction for fraction in fractions], [f"{100 * fraction:g}" for fraction in fractions])
    axes.minorticks_off()
    axes.set(xlabel="labelled scenes, % of 1200", ylabel="CIDEr-D on 300 scenes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"ladder.{suffix}", dpi=160, facecolor="white")


def main():
    """Write the report of a folder; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where ladder.sh put its runs")
    parser.add_argument("--output", type=Path, help="where the report goes; the folder by default")
    parser.add_argument("--metric", default="cider_d", help="a metric of the runs' metrics.json")
    options = parser.parse_args()
    cells = read_cells(options.folder, options.metric)
    if not cells:
        sys.exit(f"{options.folder}: no scored run in it; run recipes/captioning/ladder.sh first")
    output = options.output or options.folder
    output.mkdir(parents=True, exist_ok=True)
    fractions = sorted({fraction for _, fraction in cells}, reverse=True)
    path = options.folder / "teacher" / "1234" / "scores" / "metrics.json"
    teacher = json.loads(path.read_text(encoding="utf-8"))["metrics"][options.metric] if path.is_file() else None
    rows = table(cells, fractions, teacher)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    lines += ["", f"{options.metric} on 300 unseen scenes: mean ± standard deviation over seeds (number of seeds).", ""]
    lines += verdict(cells, fractions)
    (output / "ladder.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with open(output / "ladder.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["loss", "labelled_fraction", "seed", options.metric])
        for (loss, fraction), values in sorted(cells.items()):
            writer.writerows([loss, fraction, seed, f"{value:.6f}"] for seed, value in sorted(values.items()))
    plot(cells, fractions, teacher, output)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
