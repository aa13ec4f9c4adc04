#!/usr/bin/env python3
"""A linear probe beside zero-shot classification, on folds that neither was trained on.

    python recipes/probe.py --esc50 ESC-50-master --urbansound8k UrbanSound8K

Trains on ESC-50 folds 1–3 and UrbanSound8K fold 1, scores ESC-50 fold 5 and UrbanSound8K fold 2, with all training
clips and with few of each class, and writes recipes/real_audio/results/probe.json and the table of docs/adapters.md.
Clips cut from one recording are kept together in the choice of the regularisation.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import tinyclap
from data_prep.esc50_prepare import prepare_esc50
from data_prep.urbansound8k_prepare import prepare_urbansound8k
from tinyclap.data.manifest import read_manifest
from tinyclap.inference.probe import fit_probe
from tinyclap.metrics.classification import bootstrap_interval, paired_difference
from tinyclap.text.scores import audio_side

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "recipes" / "real_audio" / "results" / "probe.json"
PARTS = {"ESC-50": " (18 of 50 classes)"}  # the clips that were here when the student was trained
CORPORA = {
    "esc50": ("ESC-50", prepare_esc50, [1, 2, 3], [5]),
    "urbansound8k": ("UrbanSound8K", prepare_urbansound8k, [1], [2]),
}
N_OF_EACH = (1, 4, None)  # training clips of each class; None takes all
N_CLIPS_AT_ONCE, SEED = 32, 0


def clips(name, folder, folds, model, scratch):
    """Embeddings, class names and recordings of some folds."""
    split = "part" + "".join(map(str, folds))
    CORPORA[name][1](str(folder), scratch, split=split, folds=folds, subset="listed")
    items = read_manifest(Path(scratch) / f"{name}_{split}.json", folder).items
    paths = [item["wav"] for item in items]
    parts = [model.embed(paths[at : at + N_CLIPS_AT_ONCE]) for at in range(0, len(paths), N_CLIPS_AT_ONCE)]
    return np.concatenate(parts), np.array([i["label"] for i in items]), np.array([str(i["group"]) for i in items])


def few(names, n_of_each, seed=SEED):
    """Indices of some clips of each class, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(names))
    return np.sort(np.concatenate([order[names[order] == name][:n_of_each] for name in np.unique(names)]))


def compare(name, folder, model):
    """Rows of the table for one corpus."""
    title, _, train_folds, test_folds = CORPORA[name]
    with tempfile.TemporaryDirectory() as scratch:
        rows, names, groups = clips(name, folder, train_folds, model, scratch)
        test, truth, recordings = clips(name, folder, test_folds, model, scratch)
    classes, vectors = model.label_vectors(sorted(set(truth)))
    zero_shot = np.array(classes)[model.score_rows(test, vectors).argmax(1)] == truth
    found = [fact(title, test_folds, "zero-shot, class names alone", 0, zero_shot, recordings, None)]
    for n_of_each in N_OF_EACH:
        kept = np.arange(len(names)) if n_of_each is None else few(names, n_of_each)
        strength = None if n_of_each is None else 10.0
        features = audio_side(rows[kept], model.score_kind)
        probe = fit_probe(model, features, names[kept], strength, groups[kept] if strength is None else None)
        said = np.array(probe.classes)[probe.logits(test).argmax(1)]
        what = f"probe, {'all' if n_of_each is None else n_of_each} of each class"
        found.append(fact(title, test_folds, what, len(kept), said == truth, recordings, zero_shot))
    return found


def fact(title, folds, what, n_trained, correct, groups, zero_shot):
    """One row, with intervals over recordings."""
    low, high = bootstrap_interval(correct, groups)
    row = {
        "corpus": f"{title}{PARTS.get(title, '')} fold {', '.join(map(str, folds))}",
        "what": what,
        "n_trained": n_trained,
    }
    row |= {"accuracy": float(correct.mean()), "interval_95_by_recording": [low, high], "n_clips": len(correct)}
    return row if zero_shot is None else row | {"against_zero_shot": paired_difference(zero_shot, correct, groups)}


def table(rows):
    """The rows as Markdown."""
    lines = ["| corpus | what | trained on | accuracy (n) | 95 % interval over recordings |", "|---|---|---|---|---|"]
    for row in rows:
        low, high = row["interval_95_by_recording"]
        lines.append(
            f"| {row['corpus']} | {row['what']} | {row['n_trained'] or '–'} | {100 * row['accuracy']:.1f} % "
            f"({row['n_clips']}) | {100 * low:.1f} … {100 * high:.1f} |"
        )
    return "\n".join(lines)


def main():
    """Measure, and write the result and the page's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc50", type=Path)
    parser.add_argument("--urbansound8k", type=Path)
    parser.add_argument("--model", default="tinyclap-phinet-m")
    options = parser.parse_args()
    folders = {name: getattr(options, name) for name in CORPORA if getattr(options, name) is not None}
    if not folders:
        sys.exit("give --esc50, --urbansound8k or both")
    model = tinyclap.from_pretrained(options.model, n_threads=1)
    rows = [row for name, folder in folders.items() for row in compare(name, folder, model)]
    RESULT.write_text(json.dumps({"model": options.model, "seed": SEED, "rows": rows}, indent=1) + "\n", "utf-8")
    print(table(rows), "Now: python recipes/update_readme.py", sep="\n\n")


if __name__ == "__main__":
    main()
