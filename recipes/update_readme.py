#!/usr/bin/env python3
"""Write the README's result tables from the result files that are kept in the repository.

    python recipes/update_readme.py            rewrite the blocks between <!-- table:NAME --> and <!-- end -->
    python recipes/update_readme.py --check    say whether they are up to date; changes nothing
    python recipes/update_readme.py --keep results/real_audio
                                               first take over the scores and the plot of a finished recipe

The numbers come from recipes/<recipe>/results/<model>/<corpus>/metrics.json, which evaluate.py wrote; none is typed.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from report import read_row, table_rows

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "recipes" / "real_audio" / "results"
FOLDS = ("esc50_fold5", "urbansound8k_fold2")
# The block's name → its rows: label in the table, folder of the model, its scores.
BLOCKS = {
    "real_audio_teacher": [("tagger teacher (mn04 + MiniLM)", "teacher", ("esc50", "urbansound8k"))],
    "real_audio": [
        ("teacher: mn04 tagger", "teacher", FOLDS),
        ("PhiNet L, from scratch", "phinet_l", FOLDS),
        ("PhiNet M, from scratch", "phinet_m", FOLDS),
        ("PhiNet S, from scratch", "phinet_s", FOLDS),
        ("mn04 trunk, hop doubled, 90 % of channels", "trunk_90", FOLDS),
    ],
}


def keep(output):
    """Copy the scores that the blocks need, without paths of this machine, and the plot."""
    for rows in BLOCKS.values():
        for _, model, corpora in rows:
            for corpus in corpora:
                source = output / "scores" / model / corpus / "metrics.json"
                metrics = json.loads(source.read_text(encoding="utf-8"))
                weights = Path(metrics["model"]["weights"])
                metrics["model"]["weights"] = weights.name if weights.is_absolute() else weights.as_posix()
                target = RESULTS / model / corpus / "metrics.json"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copy(output / "report" / "accuracy.png", RESULTS / "accuracy.png")


def table(name):
    """The Markdown of one block."""
    rows = [
        read_row(f"{label}={','.join(str(RESULTS / model / corpus) for corpus in corpora)}")
        for label, model, corpora in BLOCKS[name]
    ]
    lines = table_rows(rows)
    rule = "|" + "---|" * len(lines[0])
    return "\n".join(
        ["| " + " | ".join(lines[0]) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines[1:])]
    )


def updated(text):
    """The README's text with every block written anew."""
    for name in BLOCKS:
        pattern = re.compile(rf"(<!-- table:{name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"README.md has no block <!-- table:{name} --> … <!-- end -->")
        text = pattern.sub(lambda found, name=name: f"{found[1]}{table(name)}\n{found[2]}", text)
    return text


def main():
    """Rewrite or check; returns the exit status."""
    if "--keep" in sys.argv[1:]:
        keep(Path(sys.argv[sys.argv.index("--keep") + 1]))
    path = ROOT / "README.md"
    before = path.read_text(encoding="utf-8")
    after = updated(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print("README.md is not what the result files say; run: python recipes/update_readme.py")
        return int(before != after)
    path.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
