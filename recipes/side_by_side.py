#!/usr/bin/env python3
"""What several captioners say of the same clips, beside what people said: Markdown to read, not to average.

    python recipes/side_by_side.py --output results/captions.md --row "text captioner=FOLDER" --row "student=FOLDER"

Each row is one system and the folder of its scores, or several folders (one a corpus), as evaluate.py wrote them. The
clips are those that all systems captioned and that have references; which of them are shown is decided by a hash of
their names, never by a score, and the bad ones are shown with the good.
"""

import argparse
import csv
import hashlib
import sys
from pathlib import Path


def read_system(text):
    """``label=folder,folder`` → (label, {(folder's name, id): row of predictions.csv})."""
    label, _, folders = text.partition("=")
    if not folders:
        sys.exit(f"--row {text!r}: write it as label=folder[,folder…]")
    rows = {}
    for folder in map(Path, folders.split(",")):
        path = folder / "predictions.csv"
        if not path.is_file():
            sys.exit(f"--row {label}: no {path}; run evaluate.py first")
        with open(path, newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        if found and "caption_predicted" not in found[0]:
            sys.exit(f"--row {label}: {path} holds no captions; it was written by a classification")
        rows |= {(folder.name, row["id"]): row for row in found}
    return label, rows


def references_of(row):
    """The references of one row."""
    return [text for name, text in row.items() if name.startswith("caption_") and name[8:].isdigit() and text]


def chosen(systems, n_clips, seed):
    """Keys of the clips that are shown, in the order of their hashes."""
    shared = set.intersection(*(set(rows) for _, rows in systems))
    first = systems[0][1]
    shared = [key for key in shared if references_of(first[key])]
    return sorted(shared, key=lambda key: hashlib.sha256(f"{seed}/{'/'.join(key)}".encode()).hexdigest())[:n_clips]


def markdown(systems, keys):
    """One section a clip: what each system said, then the references."""
    width = max(len(label) for label, _ in systems)
    lines = [
        f"{len(keys)} clips, chosen by a hash of their names. Systems: {', '.join(label for label, _ in systems)}."
    ]
    for number, key in enumerate(keys, 1):
        rows = [(label, rows[key]) for label, rows in systems]
        lines += ["", f"**{number}. {key[0]}: {rows[0][1]['file_name']}**", ""]
        lines += [f"* {label.ljust(width)}: **{row['caption_predicted'] or '(nothing)'}**" for label, row in rows]
        lines += [f"* person: {text}" for text in references_of(rows[0][1])]
    return "\n".join(lines) + "\n"


def main():
    """Read the systems, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file")
    parser.add_argument("--row", required=True, action="append", metavar="LABEL=FOLDER[,…]", help="a system")
    parser.add_argument("--n_clips", type=int, default=20, help="how many clips (20)")
    parser.add_argument("--seed", default="0", help="another seed, other clips")
    arguments = parser.parse_args()
    systems = [read_system(text) for text in arguments.row]
    keys = chosen(systems, arguments.n_clips, arguments.seed)
    if not keys:
        sys.exit("the systems share no clip with references: give folders of the same names, one a corpus")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(markdown(systems, keys), encoding="utf-8")
    print(f"{len(keys)} clips: {arguments.output}")


if __name__ == "__main__":
    main()
