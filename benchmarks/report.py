#!/usr/bin/env python3
"""Tables and a plot of the benchmarks' records.

    python benchmarks/report.py results/benchmarks [--output results/benchmarks]

Takes the newest record of each case from every ``*.jsonl`` of the folder; writes ``benchmarks.md`` and ``ratios.png``.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

CLAIMS = Path(__file__).with_name("claims.csv")
ALLOCATORS = ("default", "tuned")
_HEAD = (
    "| shape | threads | case | ms a clip [tenths], malloc default | malloc tuned "
    "| ratio, malloc default | ratio, malloc tuned | % of fp32 peak |"
)
_KEY = ("benchmark", "group", "shape", "case", "threads", "allocator")


def read_records(folder):
    """The newest record of each case, in the order in which cases were first written: list of dict."""
    newest = {}
    for path in sorted(Path(folder).glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                sys.exit(
                    f"{path}, line {number}: not JSON ({error}); a benchmark was stopped while it wrote: delete it"
                )
            if "group" in record:  # others measure what is not a time
                newest[tuple(record[key] for key in _KEY)] = record
    if not newest:
        sys.exit(f"{folder}: no records (*.jsonl); run a benchmark first, such as python benchmarks/front_end.py")
    return list(newest.values())


def tables(records):
    """The Markdown of each benchmark: dict of name to text."""
    return {name: table([r for r in records if r["benchmark"] == name]) for name in _unique(records, "benchmark")}


def table(records):
    """The Markdown of one benchmark: a table for each of its groups, and where it ran."""
    parts = []
    for title in _unique(records, "group"):
        of_title = [record for record in records if record["group"] == title]
        rows = []
        for shape in _unique(of_title, "shape"):
            rows += _rows([record for record in of_title if record["shape"] == shape])
        parts += [f"**{title}**", "", _HEAD, "|---" * (_HEAD.count("|") - 1) + "|", *rows, *_notes(of_title), ""]
    return "\n".join([*parts, where(records)])


def _rows(records):
    """Rows of one group and shape: one a case and number of threads."""
    for threads in sorted({record["threads"] for record in records}):
        for case in _unique(records, "case"):
            found = {
                record["allocator"]: record
                for record in records
                if record["case"] == case and record["threads"] == threads
            }
            if found:
                record = found.get("tuned") or found["default"]
                times = [_time(found.get(allocator)) for allocator in ALLOCATORS]
                ratios = [_ratio(found.get(allocator)) for allocator in ALLOCATORS]
                share = f"{100 * record['peak_share']:.0f}" if record["peak_share"] else ""
                name = f"{case} (peer)" if record["is_peer"] else case
                yield f"| {record['shape']} | {threads} | {' | '.join([name, *times, *ratios, share])} |"


def _time(record):
    if record is None:
        return ""
    scale = record["n_clips"]
    low, high = record["p10_ms"] / scale, record["p90_ms"] / scale
    return f"{_ms(record['ms_per_clip'])} [{_ms(low)}, {_ms(high)}]"


def _ms(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(record):
    if record is None:
        return ""
    shown = {peer: ratio for peer, ratio in record["ratio"].items() if peer != record["case"]}
    if len(shown) == 1:
        return f"{next(iter(shown.values())):.1f}"
    return ", ".join(f"{ratio:.1f} ({peer})" for peer, ratio in shown.items())


def _notes(records):
    """What the groups say of themselves, once."""
    said = {}
    for record in records:
        for key, value in record["notes"].items():
            if value is not None:
                said.setdefault((key, json.dumps(value, ensure_ascii=False)), []).append(record["case"])
    n_cases = len(_unique(records, "case"))
    lines = []
    for (key, value), cases in said.items():
        whose = "" if len(set(cases)) == n_cases else f" ({', '.join(dict.fromkeys(cases))})"
        lines.append(f"* {key}{whose}: {value}")
    return ["", *lines] if lines else []


def facts(path):
    """The Markdown of the last record of a script that measures what is not a time."""
    record = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    rows = [f"| {key.replace('_', ' ')} | {value} |" for key, value in record.items() if key != "benchmark"]
    return "\n".join(["| | |", "|---|---|", *rows])


def where(records):
    """Peak and bandwidth of the machine, versions, commit, date."""
    lines = []
    for threads in sorted({record["threads"] for record in records}):
        of = [record for record in records if record["threads"] == threads]
        peak, gemm, copy = (
            max(record[key] for record in of) for key in ("peak_gflops", "gemm_gflops", "copy_gb_per_s")
        )
        lines.append(
            f"{threads} thread{'s' * (threads > 1)}: fp32 peak {peak:.0f} GFLOP/s ({of[-1]['peak_by']}), matrix "
            f"product {gemm:.0f}, copy {copy:.0f} GB/s."
        )
    last = max(records, key=lambda record: record["date"])
    commits = ", ".join(dict.fromkeys((record["commit"] or "no commit")[:7] for record in records))
    return " ".join([*lines, f"torch {last['versions']['torch']}, commit {commits}, {last['date'][:10]}."])


def claimed(records, benchmarks=None):
    """The rows of ``claims.csv`` of some benchmarks, or of all: list of (claim, threads, records by allocator)."""
    with open(CLAIMS, newline="", encoding="utf-8") as file:
        claims = [row for row in csv.DictReader(file) if benchmarks is None or row["benchmark"] in benchmarks]
    rows = []
    for claim in claims:
        for threads in map(int, claim["threads"].split()):
            wanted = {key: claim[key] for key in ("benchmark", "group", "shape", "case")} | {"threads": threads}
            found = {
                record["allocator"]: record
                for record in records
                if all(record[key] == value for key, value in wanted.items())
            }
            if not found:
                sys.exit(f"no record of {wanted}; run benchmarks/{claim['benchmark']}.py")
            rows.append((claim, threads, found))
    return rows


def summary(records, benchmarks=None):
    """The Markdown of the claims: one row each."""
    lines = [
        "| what | against | threads | ms a clip | times as fast, malloc default | malloc tuned |",
        "|---|---|---|---|---|---|",
    ]
    shown = []
    for claim, threads, found in claimed(records, benchmarks):
        best = found.get("tuned") or found["default"]
        ratios = [f"{found[name]['ratio'][claim['peer']]:.1f}" if name in found else "" for name in ALLOCATORS]
        cells = [claim["what"], claim["against"], str(threads), _ms(best["ms_per_clip"]), *ratios]
        lines.append(f"| {' | '.join(cells)} |")
        shown += found.values()
    return "\n".join([*lines, "", where(shown)])


def plot(records, path):
    """Draw the claims' ratios to their peers, with both allocators."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = claimed(records)
    figure, axis = pyplot.subplots(figsize=(10, 0.36 * len(rows) + 1.2))
    labels = [f"{claim['what']}, {threads} thread{'s' * (threads > 1)}" for claim, threads, _ in rows]
    for allocator, colour, shift in (("default", "#9ecae1", -0.2), ("tuned", "#1f77b4", 0.2)):
        places = [place for place, (_, _, found) in enumerate(rows) if allocator in found]
        ratios = [rows[place][2][allocator]["ratio"][rows[place][0]["peer"]] for place in places]
        name = f"both with glibc's allocator {'as it comes' if allocator == 'default' else 'keeping freed memory'}"
        axis.barh([place + shift for place in places], ratios, height=0.38, color=colour, label=name)
        for place, ratio in zip(places, ratios, strict=True):
            axis.text(ratio * 1.03, place + shift, f"{ratio:.1f}", va="center", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(1, 100)
    axis.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axis.set_yticks(range(len(labels)), labels, fontsize=9)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_xlabel("times as fast as the peer (see the README's table)")
    axis.grid(axis="x", linewidth=0.4)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.3, 1.07), ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150, facecolor="white")


def _unique(records, key):
    return list(dict.fromkeys(record[key] for record in records))


def main():
    """Write the tables and the plot; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", help="folder of the records (*.jsonl)")
    parser.add_argument("--output", help="folder for benchmarks.md and ratios.png (default: that of the records)")
    options = parser.parse_args()
    output = Path(options.output or options.records)
    output.mkdir(parents=True, exist_ok=True)
    records = read_records(options.records)
    text = "\n\n".join(f"## {name}\n\n{body}" for name, body in tables(records).items())
    (output / "benchmarks.md").write_text(text + "\n", encoding="utf-8")
    plot(records, output / "ratios.png")
    print(f"{text}\n\nwritten to {output}/benchmarks.md and {output}/ratios.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
