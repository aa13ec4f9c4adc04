"""What the benchmarks share: cases that take turns in child processes of known threads and allocator; ratios to a peer.

A benchmark is a module with ``groups(options)``, which yields :class:`Group` objects, and ends in
``sys.exit(benchmark_main(__doc__, __file__, groups))``. Absolute times differ between machines and hours; a ratio of
two cases that took turns in one process differs little. Importing this makes ``tinyclap`` importable from a checkout.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from roofline import machine_limits
from turns import take_turns

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# What glibc reads before main(): no block of its own from the kernel for a large tensor, and none given back.
TUNED_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MARK = "BENCHMARK-RECORD "


@dataclass
class Group:
    """Cases that do one and the same work, and take turns.

    Arguments
    ---------
    title : str
        What is done.
    shape : str
        On what: lengths, rates, batch.
    cases : dict of str to callable
        Name → a function without arguments that does the work once.
    peer : str or tuple of str
        The case, or cases, that the others are compared with.
    n_clips : int
        Clips in one call.
    n_macs : int, optional
        Multiply–accumulates of one call: gives the share of the machine's fp32 peak.
    notes : dict
        JSON-able: errors, sizes, what a reader has to know. A value may be a dict by case.
    """

    title: str
    shape: str
    cases: dict
    peer: str | tuple = ()
    n_clips: int = 1
    n_macs: int | None = None
    notes: dict = field(default_factory=dict)


def benchmark_main(doc, file, groups, add_arguments=None):
    """Run a benchmark's groups in child processes, print the table, append the records; returns the exit status.

    Arguments
    ---------
    doc : str
        The benchmark's docstring, for ``--help``.
    file : str
        Its ``__file__``.
    groups : callable
        ``groups(options)`` → iterable of :class:`Group`; called in the children.
    add_arguments : callable, optional
        ``add_arguments(parser)``, for options of its own.

    Returns
    -------
    int
    """
    name = Path(file).stem
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads, one run each (default: 1 2)")
    parser.add_argument(
        "--allocators",
        nargs="+",
        choices=("default", "tuned"),
        default=["default", "tuned"],
        help="glibc's malloc as it comes, or told to keep freed memory (default: both)",
    )
    parser.add_argument("--repeats", type=int, default=15, help="turns of each case (default: 15)")
    parser.add_argument("--only", default="", metavar="REGEX", help="groups whose title and shape match this")
    parser.add_argument("--output", default=f"results/benchmarks/{name}.jsonl", help="records are appended here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    if add_arguments is not None:
        add_arguments(parser)
    options = parser.parse_args()
    if options.child:
        options.threads, options.allocator = options.threads[0], options.allocators[0]
        _run_child(name, options, groups)
        return 0
    failed = 0
    for threads in options.threads:
        for allocator in options.allocators:
            failed |= _run_parent(file, threads, allocator, Path(options.output))
    print(f"\nrecords appended to {options.output}")
    return failed


def _run_parent(file, threads, allocator, output):
    """Run one child; print its rows as they come, and append its records."""
    environment = {key: value for key, value in os.environ.items() if key not in TUNED_ALLOCATOR}
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if allocator == "tuned":
        environment |= TUNED_ALLOCATOR
    own = ["--child", "--threads", str(threads), "--allocators", allocator]
    command = [sys.executable, file, *_without(sys.argv[1:], ("--threads", "--allocators")), *own]
    print(f"\n== {threads} thread(s), {allocator} allocator")
    output.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if not line.startswith(_MARK):
                print(line, end="", flush=True)
                continue
            with open(output, "a", encoding="utf-8") as stream:
                stream.write(line.removeprefix(_MARK))
    if child.returncode:
        print(f"the child ended with status {child.returncode}", file=sys.stderr)
    return int(child.returncode != 0)


def _without(words, names):
    """A command line without some options and their values."""
    kept, skipping = [], False
    for word in words:
        if word.startswith("--"):
            skipping = word.partition("=")[0] in names
        if not skipping:
            kept.append(word)
    return kept


def _run_child(name, options, groups):
    """Time the groups and print rows for people and records for the parent."""
    import torch

    from tinyclap.training.provenance import provenance

    torch.set_num_threads(options.threads)
    limits = machine_limits(options.threads)
    print(
        f"   fp32 peak {limits['peak_gflops']:.0f} GFLOP/s ({limits['peak_by']}), matrix product "
        f"{limits['gemm_gflops']:.0f}, copy {limits['copy_gb_per_s']:.0f} GB/s"
    )
    common = {
        "benchmark": name,
        "threads": options.threads,
        "allocator": options.allocator,
        **limits,
        **provenance("cpu"),
    }
    for group in groups(options):
        if not re.search(options.only, f"{group.title}, {group.shape}"):
            continue
        rows = list(measured(group, options.repeats, limits))
        print(table(group, rows), flush=True)
        for row in rows:
            print(_MARK + json.dumps({**common, **row}), flush=True)


def measured(group, repeats, limits):
    """The record of each case of a group."""
    peers = (group.peer,) if isinstance(group.peer, str) else tuple(group.peer)
    times = take_turns(group.cases, repeats)
    for case, timing in times.items():
        seconds = timing.median_ms / 1000
        yield {
            "group": group.title,
            "shape": group.shape,
            "case": case,
            "is_peer": case in peers,
            "n_clips": group.n_clips,
            **timing.record(),
            "ms_per_clip": timing.median_ms / group.n_clips,
            "ratio": {peer: times[peer].median_ms / timing.median_ms for peer in peers},
            "paired_ratio_quartiles": {peer: times[peer].paired_quartiles(timing) for peer in peers},
            "n_macs": group.n_macs,
            "peak_share": group.n_macs and 2e-9 * group.n_macs / seconds / limits["peak_gflops"],
            "notes": {key: _of_case(value, case, group.cases) for key, value in group.notes.items()},
        }


def _of_case(value, case, cases):
    """A note's part for one case, where it is a dict by case."""
    return value.get(case) if isinstance(value, dict) and set(value) & set(cases) else value


def table(group, rows):
    """The rows of a group, for reading."""
    lines = [f"\n{group.title}, {group.shape}"]
    for row in rows:
        ratios = ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in row["ratio"].items() if peer != row["case"])
        share = f"{100 * row['peak_share']:5.1f} % of peak" if row["peak_share"] else ""
        spread = f"[{row['p10_ms']:.2f}, {row['p90_ms']:.2f}]"
        lines.append(
            f"  {row['case']:34s} {row['median_ms']:9.2f} ms {spread:22s} cpu {row['cpu_ms']:9.2f}  "
            f"{row['ms_per_clip']:8.3f} a clip  {share:15s} {ratios}"
        )
        shown = {key: value for key, value in row["notes"].items() if isinstance(group.notes[key], dict) and value}
        if shown and shown != group.notes:
            lines.append(f"  {'':34s} {json.dumps(shown)}")
    whole = {key: value for key, value in group.notes.items() if not isinstance(value, dict)}
    return "\n".join([*lines, *([f"  {json.dumps(whole)}"] if whole else [])])
