#!/usr/bin/env python3
"""A table and a plot of scores, from the metrics.json files that evaluate.py wrote.

    python recipes/report.py --output results/demo --row "teacher=FOLDER[,FOLDER…]" --row "student=FOLDER[,FOLDER…]"

Each row is one model and the folders of its scores, one a corpus; the first row is the teacher, to which the others are
compared. Writes table.md, table.csv, accuracy.png and accuracy.svg into the output folder, and prints the table.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

WIDTH_IN, HEIGHT_IN = 4.2, 3.6
# Okabe & Ito's colours: told apart with any colour vision, in print and on a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

CORPUS_CLASSES = {"esc50": 50, "urbansound8k": 10, "tut17": 15}


def read_row(text):
    """``label=folder,folder`` → (label, {dataset: metrics})."""
    label, _, folders = text.partition("=")
    if not folders:
        sys.exit(f"--row {text!r}: write it as label=folder[,folder…]")
    scores = {}
    for folder in folders.split(","):
        path = Path(folder) / "metrics.json"
        if not path.is_file():
            sys.exit(f"--row {label}: no {path}; run evaluate.py first")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        # A part of a corpus is called by the folds that were there.
        folds = list(metrics["per_fold"]) if metrics["options"].get("subset") else []
        name = metrics["dataset"] + (f" fold{'s' * (len(folds) > 1)} {', '.join(folds)}" if folds else "")
        whole = CORPUS_CLASSES.get(metrics["dataset"], 0)
        name += f", {metrics['n_classes']} of {whole} classes" if metrics["n_classes"] < whole else ""
        scores[name] = metrics
    return label, scores


def table_rows(rows):
    """Rows of strings, the head first."""
    datasets = list(dict.fromkeys(name for _, scores in rows for name in scores))
    head = ["model", "parameters", "MMACs (5 s)"]
    for name in datasets:
        head += [f"{name}: top-1 % [95 % interval] (n)", "% of teacher"]
    lines = [head]
    teacher = rows[0][1]
    for label, scores in rows:
        model = next(iter(scores.values()))["model"]
        line = [label, f"{model['n_parameters']:,}", f"{model['n_macs_paper'] / 1e6:.1f}"]
        for name in datasets:
            if name not in scores:
                line += ["", ""]
                continue
            metrics = scores[name]
            low, high = metrics["interval_95"]
            line.append(f"{100 * metrics['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}] ({metrics['n_items']})")
            compared = scores is not teacher and name in teacher
            line.append(f"{100 * metrics['value'] / teacher[name]['value']:.0f}" if compared else "")
        lines.append(line)
    return lines


def write_table(lines, folder):
    """Write the table as Markdown and CSV; returns the Markdown."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = "|".join(["", *("-" * (width + 2) for width in widths), ""])
    marked = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text = "\n".join([marked[0], rule, *marked[1:]]) + "\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return text


def draw(rows, folder):
    """Accuracy against parameters and against MACs, one panel each, a colour a corpus."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    datasets = list(dict.fromkeys(name for _, scores in rows for name in scores))
    figure, panels = pyplot.subplots(1, 2, figsize=(2 * WIDTH_IN, HEIGHT_IN), sharey=True, layout="constrained")
    for panel, key, title in (
        (panels[0], "n_parameters", "parameters"),
        (panels[1], "n_macs_paper", "multiply–accumulates of a 5 s clip"),
    ):
        for colour, name in zip(COLOURS, datasets, strict=False):
            shown = [(label, scores[name]) for label, scores in rows if name in scores]
            for index, (_, metrics) in enumerate(shown):
                value, (low, high) = 100 * metrics["value"], metrics["interval_95"]
                panel.errorbar(
                    metrics["model"][key], value, [[value - 100 * low], [100 * high - value]],
                    fmt="*" if index == 0 else "o", markersize=11 if index == 0 else 6, color=colour, capsize=3,
                    label=name if index == 0 else None,
                )  # fmt: skip
        # Names stand under the points, upright; neighbours on this axis lean to either side of their line.
        places = sorted((next(iter(scores.values()))["model"][key], label) for label, scores in rows)
        for rank, (place, label) in enumerate(places):
            side = "right" if rank % 2 else "left"
            panel.text(place, 3, label, rotation=90, ha=side, va="bottom", fontsize=7, color="#666666")
        panel.set_xscale("log")
        panel.set_xlabel(title)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylim(0, 104)
        panel.set_yticks(range(0, 101, 20))
        panel.margins(x=0.15)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("zero-shot top-1 accuracy, %")
    # above the panels, where no point can be
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, [f"{name} (star: teacher)" for name in names], fontsize=8, loc="outside upper center", ncols=3
    )
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"accuracy.{suffix}", dpi=150, facecolor="white")


def main():
    """Read the rows, write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="folder of the table and the plot")
    parser.add_argument(
        "--row", required=True, action="append", metavar="LABEL=FOLDER[,…]", help="a model; teacher first"
    )
    arguments = parser.parse_args()
    rows = [read_row(text) for text in arguments.row]
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(write_table(table_rows(rows), arguments.output))
    draw(rows, arguments.output)
    print(f"Written: {arguments.output}/table.md, table.csv, accuracy.png, accuracy.svg")


if __name__ == "__main__":
    main()
