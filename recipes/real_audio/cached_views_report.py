#!/usr/bin/env python3
"""Write what the runs of cached_views.sh scored as one table: OUTPUT/cached_views.csv.

python recipes/real_audio/cached_views_report.py OUTPUT
"""

import csv
import json
import sys
from pathlib import Path

FIELDS = (
    "views", "seed", "epochs", "valid_loss", "valid_cosine",
    "esc50", "esc50_low", "esc50_high", "esc50_n", "us8k", "us8k_low", "us8k_high", "us8k_n", "commit", "dirty",
)  # fmt: skip


def read_run(folder):
    """The row of one run, or None where it is not finished."""
    scores = {name: folder / name / "metrics.json" for name in ("esc50", "us8k")}
    if not all(path.exists() for path in scores.values()):
        return None
    overrides = json.loads((folder / "run.json").read_text(encoding="utf-8"))["overrides"]
    last = json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])["valid"]
    row = {
        "views": overrides["n_views"],
        "seed": overrides["seed"],
        "epochs": overrides["number_of_epochs"],
        "valid_loss": last["loss"],
        "valid_cosine": last["cosine"],
    }
    for name, path in scores.items():
        metrics = json.loads(path.read_text(encoding="utf-8"))
        low, high = metrics["interval_95"]
        row |= {name: metrics["value"], f"{name}_low": low, f"{name}_high": high, f"{name}_n": metrics["n_items"]}
        row |= {"commit": metrics["commit"], "dirty": metrics["dirty"]}
    return row


def markdown(rows):
    """The table of cached_views.csv's rows, dicts of text."""
    head = "| views a clip | each seen | seed | validation loss | ESC-50 fold 5, % (n) | UrbanSound8K fold 2, % (n) |"
    lines = [head, "|---|---|---|---|---|---|"]
    for row in rows:
        views = row["views"] if int(row["epochs"]) > 1 else "all new, as on the fly"
        cells = [views, f"{row['epochs']} ×", row["seed"]]
        cells.append(f"{float(row['valid_loss']):.3f}")
        for name in ("esc50", "us8k"):
            value, low, high = (100 * float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
            cells.append(f"{value:.1f} [{low:.1f}, {high:.1f}] ({row[f'{name}_n']})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read_table(path):
    """The rows of a cached_views.csv."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(arguments):
    """Write the table; returns the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(__doc__.strip())
    output = Path(arguments[0])
    found = [read_run(path.parent) for path in sorted(output.glob("*/run.json"))]
    rows = sorted(filter(None, found), key=lambda row: (int(row["seed"]), int(row["views"])))
    if not rows:
        sys.exit(f"{output}: no finished run; run recipes/real_audio/cached_views.sh first")
    with open(output / "cached_views.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print(markdown(read_table(output / "cached_views.csv")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
