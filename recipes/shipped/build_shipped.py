#!/usr/bin/env python3
"""Make the folders under tinyclap/shipped_models again, and the figures of their page.

    python recipes/shipped/build_shipped.py --esc50 ESC-50-master --urbansound8k UrbanSound8K \\
        --captioner results/captioner/real_audio/mn04/1234 --caption_audio AudioCaps

Needs the recordings of ESC-50 and UrbanSound8K that are named in README.md of this folder, the sentence encoder's files
and about three minutes. What is left out (--captioner) keeps the folder that is there.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[2]))

from shipped_banks import build_banks
from shipped_figures import measure, table

from data_prep import esc50_prepare, tut17_prepare, urbansound8k_prepare
from tinyclap.checkpoints.folder import amend
from tinyclap.config.shipped import DEFAULT_CAPTIONER, DEFAULT_MODEL
from tinyclap.export.sources import open_source
from tinyclap.export.write import ExportOptions, export_model, summary
from tinyclap.text.prompts import readable

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "tinyclap" / "shipped_models"
SOURCE = ROOT / "weights" / DEFAULT_MODEL
TRAINING = {"esc50": [1, 2, 3], "urbansound8k": [1]}  # folds that the student was trained on
HELD_OUT = {"esc50": [5], "urbansound8k": [2]}
CLASSES = {
    "esc50": esc50_prepare.CLASSES,
    "urbansound8k": urbansound8k_prepare.CLASSES,
    "tut17": tut17_prepare.CLASSES,
}


_CHAIN = [["network and code", "Apache-2.0"], ["teacher: EfficientAT's AudioSet tagger, none of it in here", "MIT"]]
_AUDIO = [
    ["training audio: ESC-50", "CC BY-NC 3.0 (clips marked esc10: CC BY)"],
    ["training audio: UrbanSound8K", "CC BY-NC 3.0"],
    ["training audio: AudioCaps", "excerpts of YouTube videos, of their owners"],
]
CARDS = {
    DEFAULT_MODEL: {
        "summary": "A PhiNet of 0.3 million parameters that names sounds zero-shot, best those of its training audio; "
        "it runs without torch.",
        "limits": [
            "On audio that is not in this repository it names 50.0 % [45, 55] of clips of all 50 ESC-50 classes "
            "(its teacher 78.0 %), and 38.3 % of clips of the classes that its training audio lacked.",
            "The training audio is two hours long; sounds far from it are recognised worse than by the teacher.",
            "Only what AudioSet's labels can say can be named. Shares are among the labels asked for, and no others.",
            "Not meant for surveillance, or where a missed sound does harm.",
        ],
        "datasets": ["esc50", "urbansound8k", "audiocaps"],
        "licences": [
            *_CHAIN,
            ["text tower: sentence encoder all-MiniLM-L6-v2, weights as int8", "Apache-2.0"],
            *_AUDIO,
        ],
    },
    DEFAULT_CAPTIONER: {
        "summary": "A captioner that hears with a small MobileNet and says what it hears in a sentence, without torch.",
        "limits": ["Trained on few hours of audio: captions are plain, and may name what is not there."],
        "datasets": ["esc50", "urbansound8k", "audiocaps", "clotho"],
        "licences": [
            *_CHAIN[:1],
            ["encoder: began as EfficientAT's mn04", "MIT"],
            *_AUDIO[:2],
            ["its teacher's words: captions of AudioCaps", "MIT"],
            ["its teacher's words: captions of Clotho", "Tampere University, non-commercial"],
        ],
    },
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
    target = SHIPPED / DEFAULT_MODEL
    print(summary(target, export_model(open_source(SOURCE), target, options)))
    amend(target, card=CARDS[DEFAULT_MODEL])


def build_captioner(run, caption_audio):
    """Export the captioner with its weights as int8."""
    target = SHIPPED / DEFAULT_CAPTIONER
    options = ExportOptions(compact=True, check_audio=caption_audio, n_check=30)
    print(summary(target, export_model(open_source(run), target, options)))
    amend(target, card=CARDS[DEFAULT_CAPTIONER])


def main(arguments=None):
    """Build what the options say; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc50", type=Path, required=True)
    parser.add_argument("--urbansound8k", type=Path, required=True)
    parser.add_argument("--captioner", type=Path, help="folder of the captioner's run")
    parser.add_argument("--caption_audio", nargs="*", default=[], help="further clips that it is compared on: folders")
    parser.add_argument("--only", choices=("model", "banks", "captioner", "figures"), help="one step alone")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        training, held_out = manifests(Path(scratch), {"esc50": given.esc50, "urbansound8k": given.urbansound8k})
        if given.only in (None, "model"):
            build_model(training, held_out)
        if given.only in (None, "model", "banks"):
            build_banks(SOURCE, SHIPPED / DEFAULT_MODEL, CLASSES)
        if given.only in (None, "captioner") and given.captioner is not None:
            build_captioner(given.captioner, [held_out[0], *given.caption_audio])
        if given.only in (None, "figures"):
            found = measure(SOURCE, SHIPPED / DEFAULT_MODEL, held_out, SHIPPED / DEFAULT_CAPTIONER)
            (Path(__file__).parent / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(table(found), "Now: python recipes/update_readme.py", sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
