#!/usr/bin/env python3
"""Which student fits a device: from budgets to a network, its cost, and the command that trains it.

    python recipes/design.py --params 1e6 --macs 50e6
    python recipes/design.py --params 4.5e6 --macs 360e6 --head clap --embed_width 2048      the official head
    python recipes/design.py --params 5e5 --macs 20e6 --memory 2e6 --latency_ms 10 --folded

Thousands of PhiNets and mns, heads and hops are costed by formulas; what fits is ranked, and the best of each family,
depth, head and hop are built and measured: parameters, multiply-accumulates (MACs), the most memory that activations
take at once, latency on this machine. The formulas must equal what is measured, or the program says so and stops.

The rank is no prediction of accuracy. It is the heuristic of hardware-aware scaling: put as much of every budget to use
as can be, in the backbone first (share: geometric mean over the budgets of backbone's parameters, backbone's MACs, and
memory). Beside each design stands the measured student that is nearest in parameters and MACs, where results are kept.
Rows s1 to s3 come from the budgets in one step, by the inverse of a PhiNet's cost (recipes/design_scaling.py). With
"β held" no shape factor from 0.25 to 1.5 spends parameters and MACs alike, and some of one is left over.

MACs are of one clip, convolutions and linear layers alone, as the paper counts; memory is in float32, from the log-mel
spectrogram on, without what kernels take for themselves (an int8 network needs about a quarter); latency is of one clip
from the waveform to the embedding.
"""

import argparse
import csv
import io
import json
import math
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import torch
from design_report import as_row, as_table, floor_table, read_results
from design_scaling import scaled
from design_search import N_LAYERS, Budgets, Space, best_of_each_kind, floors, search
from design_space import HEADS, Cost, build, spectrogram_of

from tinyclap.metrics.cost import count_macs, count_parameters, measure_latency, peak_activation_memory

ROOT = Path(__file__).resolve().parents[1]
EMBED_WIDTHS = (None, 256, 512, 1024, 2048)
HOP_LENGTHS = (320, 640)
N_MEASURED = 4  # times --top students are tried at most, where there is a limit of latency
N_SCALED = 3  # students that come from the budgets in one step


def main():
    """Search, measure, print, write."""
    options = read_options()
    space = Space(
        options.family, options.head, options.embed_width, options.hop_length, options.embed_dim, options.clip_s,
        options.folded, options.squeeze_excite,
    )  # fmt: skip
    budgets = Budgets(options.params, options.macs, options.memory)
    found = search(space, budgets)
    if "phinet" in space.families:
        print(floor_table(floors(space), options.embed_dim))
    if not found:
        sys.exit(why_nothing(space, budgets))
    kinds = found if options.alike else best_of_each_kind(found)
    print(f"\n{len(found):,} students fit; the best {min(options.top, len(kinds))} of {len(kinds)} kinds are measured.")
    best = measure_best(kinds, options)
    if not best:
        sys.exit(f"none of the best answers within {options.latency_ms} ms here; ask for fewer MACs, or more time")
    inverse = scaled_best(space, budgets)
    results = read_results(options.results)
    rows = [as_row(str(rank), entry, figures, results, options) for rank, (entry, figures) in enumerate(best, 1)]
    for rank, each in enumerate(inverse, 1):
        rows.append(as_row(f"s{rank}", each.found, measured(each.found, options), results, options, each.held_beta))
    rows = [row for row in rows if options.latency_ms is None or row["latency_ms"] <= options.latency_ms]
    print("\n" + as_table(rows) + "\n")
    for row in rows:
        print(f"{row['rank']}: {row['command']}")
    write(rows, space, budgets, options)


def read_options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    budget = parser.add_argument_group("budgets; one at least")
    budget.add_argument("--params", type=positive, help="parameters of the audio tower, e.g. 1e6")
    budget.add_argument("--macs", type=positive, help="MACs of one clip, e.g. 50e6")
    budget.add_argument("--memory", type=positive, help="bytes of activations that are alive at once, e.g. 2e6")
    budget.add_argument("--latency_ms", type=positive, help="median time of one clip on this machine")
    wanted = parser.add_argument_group("what is searched")
    wanted.add_argument("--family", nargs="+", choices=("phinet", "mn"), default=["phinet", "mn"])
    wanted.add_argument("--head", nargs="+", choices=(*HEADS, "all"), default=["all"], help="all is the default")
    wanted.add_argument(
        "--embed_width", nargs="+", type=width_or_none, default=list(EMBED_WIDTHS),
        help="1×1 convolution of a PhiNet before pooling; none leaves it out, 2048 is the official one",
    )  # fmt: skip
    wanted.add_argument("--hop_length", nargs="+", type=int, default=list(HOP_LENGTHS), help="samples between frames")
    wanted.add_argument("--embed_dim", type=int, default=1024, help="D, the teacher's (1024)")
    wanted.add_argument("--clip_s", type=positive, default=5.0, help="seconds that the student reads at once (5)")
    wanted.add_argument("--squeeze_excite", action="store_true", help="PhiNets with squeeze-excite and hard-swish")
    wanted.add_argument("--folded", action="store_true", help="budgets are for the folded form, as it runs on a device")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--top", type=int, default=10, help="how many are built and measured (10)")
    shown.add_argument("--alike", action="store_true", help="neighbours in the grid too, not the best of each kind")
    shown.add_argument("--threads", type=int, default=1, help="threads of the latency (1)")
    shown.add_argument("--results", type=Path, default=ROOT / "recipes", help="folder with kept metrics.json files")
    shown.add_argument("--json", type=Path, help="write everything there")
    shown.add_argument("--csv", type=Path, help="write the table there")
    options = parser.parse_args()
    if not (options.params or options.macs or options.memory):
        parser.error("give a budget: --params, --macs or --memory (with --latency_ms or without)")
    if options.clip_s < 0.1:
        parser.error("--clip_s is at least 0.1 seconds")
    if min(options.top, options.threads, options.embed_dim, *options.hop_length) < 1:
        parser.error("--top, --threads, --embed_dim and --hop_length are at least 1")
    if "all" in options.head:
        options.head = list(HEADS)
    return options


def positive(text):
    """A number above zero."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above zero")
    return number


def width_or_none(text):
    """A width, or None for ``none``."""
    return None if text.lower() in ("none", "null") else int(positive(text))


def measure_best(kinds, options):
    """The first students that keep the limit of latency, built and measured: list of (Found, figures)."""
    kept = []
    for entry in kinds[: options.top * (N_MEASURED if options.latency_ms else 1)]:
        figures = measured(entry, options)
        if options.latency_ms is None or figures["latency_ms"] <= options.latency_ms:
            kept.append((entry, figures))
        if len(kept) == options.top:
            break
    return kept


def measured(entry, options):
    """What the network itself costs; stops where the formulas are wrong."""
    student = build(entry.design, options.clip_s, options.folded)
    spectrogram = torch.zeros(1, *spectrogram_of(entry.design.family, entry.design.hop_length, options.clip_s))
    wavs = torch.zeros(1, round(options.clip_s * student.sample_rate_hz))
    peak = peak_activation_memory(lambda log_mel: student(log_mel=log_mel).clip, spectrogram)["peak_bytes"]
    macs = count_macs(student, wavs)
    cost = Cost(count_parameters(student), macs["n_macs_paper"], peak)
    if cost != entry.whole:
        sys.exit(f"the formulas give {entry.whole}, the network {cost}: recipes/design_space.py is out of date")
    latency = measure_latency(student, wavs, n_repeats=15, n_threads=options.threads)
    with_front_end = peak_activation_memory(lambda wavs: student(wavs).clip, wavs)["peak_bytes"]
    return {
        "latency_ms": latency["median_ms"],
        "n_macs_with_mel_bands": macs["n_macs"],
        "peak_bytes_with_front_end": with_front_end,
    }


def scaled_best(space, budgets):
    """PhiNets from the budgets in one step: the best ending and hop of each depth, and of those the best three."""
    if budgets.n_parameters is None or budgets.n_macs is None or "phinet" not in space.families:
        return []
    if space.squeeze_excite:
        return []  # its cost is not linear in the expansion
    candidates = [
        scaled(space, budgets, n_layers, hop_length, last)
        for n_layers in N_LAYERS
        for hop_length in space.hop_lengths
        for last in space.endings("phinet")
    ]
    firsts = {}
    for each in sorted(filter(None, candidates), key=lambda each: -each.found.share):
        firsts.setdefault(dict(each.found.design.encoder)["n_layers"], each)
    return list(firsts.values())[:N_SCALED]


def why_nothing(space, budgets):
    """What to say when nothing fits: whether it is the head, and what else could be asked."""
    advice = "give more, or ask for less: --folded, a larger --hop_length, a shorter --clip_s, another --head"
    key = "smallest_folded" if space.folded else "smallest"
    least = min(floors(space), key=lambda row: row[key]) if space.families == ["phinet"] else None
    if least and budgets.n_parameters is not None and least[key] > budgets.n_parameters:
        return (
            f"nothing fits: with head {least['head']} for D = {space.embed_dim} no PhiNet of the search has fewer than "
            f"{least[key]:,} parameters, and {int(budgets.n_parameters):,} are allowed; {advice}"
        )
    words = ("parameters", "MACs", "bytes of activations")
    asked = [f"{int(limit):,} {word}" for limit, word in zip(budgets, words, strict=True) if limit is not None]
    return f"nothing of the search fits {', '.join(asked)} (heads {', '.join(space.heads)}); {advice}"


def write(rows, space, budgets, options):
    """The files that were asked for; each appears whole or not at all."""
    if options.json:
        record = {
            "budgets": {**budgets._asdict(), "latency_ms": options.latency_ms},
            "space": space._asdict(),
            "threads": options.threads,
            "floors": floors(space) if "phinet" in space.families else [],
            "designs": rows,
        }
        replace(options.json, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if options.csv:
        fields = [key for key in rows[0] if key not in ("encoder", "nearest_scores")]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        replace(options.csv, text.getvalue())


def replace(path, text):
    """Write a file under another name, then give it its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
