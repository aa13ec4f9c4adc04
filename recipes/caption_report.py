#!/usr/bin/env python3
"""A table of caption scores, from the metrics.json files that evaluate.py wrote.

    python recipes/caption_report.py --output results/captions --row "teacher=FOLDER[,FOLDER…]" --row "student=FOLDER…"

Each row is one system and the folders of its scores, one a corpus. Writes captions.md and captions.csv into the output
folder, and prints the table. A metric that could not be had is left empty, and named with its reason below the table.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

SHOWN = {
    "cider_d": "CIDEr-D",
    "spider": "SPIDEr",
    "fense": "FENSE",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "bleu_4": "BLEU-4",
}


def read_row(text):
    """``label=folder,folder`` → (label, [metrics])."""
    label, _, folders = text.partition("=")
    if not folders:
        sys.exit(f"--row {text!r}: write it as label=folder[,folder…]")
    scores = []
    for folder in folders.split(","):
        path = Path(folder) / "metrics.json"
        if not path.is_file():
            sys.exit(f"--row {label}: no {path}; run evaluate.py first")
        scores.append(json.loads(path.read_text(encoding="utf-8")))
    return label, scores


def cell(record, metric):
    """Value and interval of a metric, or nothing."""
    found = record["metrics"].get(metric) or {}
    if found.get("value") is None:
        return ""
    if found.get("interval_95") is None or "mean_of_clips" in found:  # the interval of another number
        return f"{found['value']:.3f}"
    low, high = found["interval_95"]
    return f"{found['value']:.3f} [{low:.3f}, {high:.3f}]"


def table(rows):
    """Rows of strings, the head first: one line a system and corpus."""
    lines = [["corpus", "n", "system", "parameters", *(f"{name}" for name in SHOWN.values())]]
    datasets = list(dict.fromkeys((r["dataset"], str(r["split"])) for _, scores in rows for r in scores))
    for dataset in datasets:
        for label, scores in rows:
            for record in scores:
                if (record["dataset"], str(record["split"])) == dataset:
                    facts = [f"{dataset[0]} ({dataset[1]})", str(record["n_items"]), label]
                    size = f"{record['model']['n_parameters']:,}"
                    lines.append([*facts, size, *(cell(record, metric) for metric in SHOWN)])
    return lines


def missing(rows):
    """Metrics without a value anywhere, with the reason."""
    reasons = {}
    for _, scores in rows:
        for record in scores:
            for metric in SHOWN:
                reason = (record["metrics"].get(metric) or {}).get("missing")
                if reason:
                    reasons[SHOWN[metric]] = reason
    return [f"* {name} is missing: {reason}" for name, reason in reasons.items()]


def markdown(rows):
    """Table, what the brackets are, and what is missing."""
    lines = table(rows)
    text = [f"| {' | '.join(line)} |" for line in lines]
    text.insert(1, f"|{'---|' * len(lines[0])}")
    text += [
        "",
        "In brackets: 95 % bootstrap interval over clips. CIDEr-D's document frequencies are those of the same",
    ]
    text += ["clips' references.", *missing(rows)]
    return "\n".join(text)


def main():
    """Write the report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--row", action="append", required=True, help="label=folder[,folder…]; once for each system")
    parser.add_argument("--output", type=Path, required=True, help="folder for captions.md and captions.csv")
    options = parser.parse_args()
    rows = [read_row(text) for text in options.row]
    options.output.mkdir(parents=True, exist_ok=True)
    text = markdown(rows)
    (options.output / "captions.md").write_text(text + "\n", encoding="utf-8")
    with open(options.output / "captions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table(rows))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
