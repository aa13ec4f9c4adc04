#!/usr/bin/env python3
"""How far a student without some dimensions is from the whole one with those masked, and what their removal saves.

    python recipes/pruning_exactness.py RUN --ranking RANKING --check_audio ESC-50-master/audio --output_folder OUT

RANKING is the folder of hparams/rank_latent.yaml for this run. Each share of dimensions is removed with several numbers
of statistic rows (see prune.py and tinyclap/models/pruned_head.py), and with the LayerNorm's bias set to zero, where
removal is exact. Writes OUT/exactness.csv: greatest difference of an entry of the unit rows, least cosine, the saved
parameters and multiply-accumulates, of the student as it is and folded. --keep FILE writes the table there too.
"""

import argparse
import copy
import csv
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from pruning_curve import write_rows  # noqa: E402

from tinyclap.errors import TinyclapError  # noqa: E402
from tinyclap.metrics.cost import count_macs, count_parameters  # noqa: E402
from tinyclap.pruning.exactness import clips_to_compare_on, difference, how_exact  # noqa: E402
from tinyclap.pruning.prune import open_model, read_ranking  # noqa: E402
from tinyclap.training.provenance import git_state  # noqa: E402

COLUMNS = ("removed", "kept", "bias", "statistic_rows", "max_abs", "cosine_min", "n_windows", "parameters",
           "saved_parameters", "saved_macs", "saved_parameters_folded", "exact", "commit")  # fmt: skip
REMOVED = (0.25, 0.5, 0.75, 0.9)
ROWS = (0, 8, 32, 128, None)
CLIP_S = 5.0


def without_bias(student):
    """The same student with a LayerNorm that shifts nothing, so that its scale cancels in a cosine."""
    student = copy.deepcopy(student)
    with torch.no_grad():
        student.projection.layer_norm.bias.zero_()
    return student


def cost(student):
    """Parameters and multiply-accumulates (the paper's count) of a clip of 5 s."""
    wavs = torch.zeros(1, round(CLIP_S * student.sample_rate_hz))
    return count_parameters(student), count_macs(student, wavs)["n_macs_paper"]


def compared(student, order, moments, clips, removed, rows, commit):
    """One row of the table."""
    kept = order[: max(1, round((1 - removed) * len(order)))]
    smaller = student.keep_dims(kept, moments, rows)
    before, after, folded = cost(student), cost(smaller), (count_parameters(each.fold()) for each in (student, smaller))
    found, (whole, part) = difference(student, smaller, kept, *clips), folded
    values = {
        "removed": f"{removed:g}",
        "kept": len(kept),
        "bias": "as trained" if student.projection.layer_norm.bias.any() else "zero",
        "statistic_rows": "all" if rows is None else rows,
        "max_abs": f"{found['max_abs']:.3g}",
        "cosine_min": f"{found['cosine_min']:.8f}",
        "n_windows": found["n_windows"],
        "parameters": after[0],
        "saved_parameters": f"{1 - after[0] / before[0]:.6f}",
        "saved_macs": f"{1 - after[1] / before[1]:.6f}",
        "saved_parameters_folded": f"{1 - part / whole:.6f}",
        "exact": how_exact(smaller, True)["exact"],
        "commit": commit,
    }
    return {name: str(value) for name, value in values.items()}


def read(path):
    """Rows of a kept table."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(rows):
    """The table for a page."""
    head = ["removed", "LayerNorm's bias", "statistic rows", "greatest difference", "least cosine", "exact",
            "parameters saved", "folded", "MACs saved"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        shares = [f"{100 * float(row[name]):.2f} %" for name in COLUMNS[8:11]]
        cells = [f"{100 * float(row['removed']):g} %", *(row[name] for name in COLUMNS[2:6])]
        exact = "yes" if row["exact"] == "True" else "no"
        lines.append("| " + " | ".join([*cells, exact, shares[0], shares[2], shares[1]]) + " |")
    facts = rows[0]
    return "\n".join([*lines, "", f"{facts['n_windows']} windows; commit {facts['commit'][:7]}."])


def main():
    """Read the student, remove, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="folder of a run or of a saved student that ends in CLAP's head")
    parser.add_argument("--ranking", required=True, type=Path, help="its ranking")
    parser.add_argument("--check_audio", help="recordings to compare on; without them, noise")
    parser.add_argument("--n_check", type=int, default=64, help="recordings at most")
    parser.add_argument("--output_folder", required=True, type=Path)
    parser.add_argument("--keep", type=Path, metavar="CSV", help="also write the table here")
    options = parser.parse_args()
    try:
        student, note = open_model(options.run)
        if not hasattr(getattr(student, "projection", None), "layer_norm"):
            sys.exit(f"{options.run}: its head has no LayerNorm, so every removal is exact; nothing to compare")
        order, _, moments = read_ranking(options.ranking, student, note)
        clips = clips_to_compare_on(student, options.check_audio, options.n_check)
        commit = git_state(Path(__file__).parent)["commit"] or ""
        plain = without_bias(student)
        table = []
        for removed in REMOVED:
            for rows in ROWS:
                table.append(compared(student, order, moments, clips, removed, rows, commit))
            table.append(compared(plain, order, moments, clips, removed, 0, commit))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for path in filter(None, (options.output_folder / "exactness.csv", options.keep)):
        write_rows(path, table, COLUMNS)
    print(markdown(table))


if __name__ == "__main__":
    main()
