#!/usr/bin/env python3
"""Make the folders under tinyclap/shipped_models again, and the figures of their page.

    python recipes/shipped/build_shipped.py --esc50 ESC-50-master --urbansound8k UrbanSound8K \\
        --captioner results/captioner/real_audio/mn04/1234 --caption_audio clotho/evaluation

Needs the recordings of ESC-50 and UrbanSound8K that are named in README.md of this folder, the sentence encoder's files
and about ten minutes. What is left out (--captioner) keeps the folder that is there.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from data_prep import esc50_prepare, tut17_prepare, urbansound8k_prepare  # noqa: E402
from recipes.shipped import figures  # noqa: E402
from tinyclap.export.captioner import export_captioner  # noqa: E402
from tinyclap.export.sources import open_source  # noqa: E402
from tinyclap.export.write import ExportOptions, export_audio_model, summary  # noqa: E402
from tinyclap.prompts import readable  # noqa: E402
from tinyclap.shipped import DEFAULT_CAPTIONER, DEFAULT_MODEL  # noqa: E402

SHIPPED = ROOT / "tinyclap" / "shipped_models"
SOURCE = ROOT / "weights" / DEFAULT_MODEL
TRAINING = {"esc50": [1, 2, 3], "urbansound8k": [1]}  # folds that the student was trained on
HELD_OUT = {"esc50": [5], "urbansound8k": [2]}
CLASSES = {
    "esc50": esc50_prepare.CLASSES,
    "urbansound8k": urbansound8k_prepare.CLASSES,
    "tut17": tut17_prepare.CLASSES,
}


def manifests(scratch, folders):
    """Write the manifests of training and held-out folds: two lists of ``MANIFEST.json@FOLDER``."""
    prepare = {"esc50": esc50_prepare.prepare_esc50, "urbansound8k": urbansound8k_prepare.prepare_urbansound8k}
    found = {"train": [], "test": []}
    for split, folds in (("train", TRAINING), ("test", HELD_OUT)):
        for name, folder in folders.items():
            prepare[name](str(folder), str(scratch), split=split, folds=folds[name], subset="listed")
            found[split].append(f"{scratch / f'{name}_{split}.json'}@{folder}")
    return found["train"], found["test"]


def build_model(training, held_out):
    """Export the student with its text side, temperature and background."""
    options = ExportOptions(
        labels=[readable(name) for name in CLASSES["esc50"]],
        text_side="yes",
        temperature_audio=training,
        background_audio=training,
        check_audio=held_out,
        n_check=144,
    )
    print(summary(SHIPPED / DEFAULT_MODEL, export_audio_model(open_source(SOURCE), SHIPPED / DEFAULT_MODEL, options)))


def build_captioner(run, caption_audio):
    """Export the captioner with its weights as int8."""
    options = ExportOptions(compact=True, check_audio=[caption_audio], n_check=60)
    done = export_captioner(open_source(run), SHIPPED / DEFAULT_CAPTIONER, options)
    print(summary(SHIPPED / DEFAULT_CAPTIONER, done))


def main(arguments=None):
    """Build what the options say; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc50", type=Path, required=True)
    parser.add_argument("--urbansound8k", type=Path, required=True)
    parser.add_argument("--captioner", type=Path, help="folder of the captioner's run")
    parser.add_argument("--caption_audio", help="clips that it is compared on, a folder")
    parser.add_argument("--only", choices=("model", "banks", "captioner", "figures"), help="one step alone")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        training, held_out = manifests(Path(scratch), {"esc50": given.esc50, "urbansound8k": given.urbansound8k})
        if given.only in (None, "model"):
            build_model(training, held_out)
        if given.only in (None, "model", "banks"):
            from recipes.shipped.banks import build_banks

            build_banks(SOURCE, SHIPPED / DEFAULT_MODEL, CLASSES)
        if given.only in (None, "captioner") and given.captioner is not None:
            build_captioner(given.captioner, given.caption_audio)
        if given.only in (None, "figures"):
            found = figures.measure(SOURCE, SHIPPED / DEFAULT_MODEL, held_out)
            (Path(__file__).parent / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(figures.table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
