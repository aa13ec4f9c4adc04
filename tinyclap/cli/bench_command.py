"""``tinyclap bench``: latency and throughput of a model on this machine."""

import json
import sys

from tinyclap.cli.common import ENGINES, MAX_THREADS, PRECISIONS, above_zero, add_source_arguments, whole

DESCRIPTION = """\
Measure a model on this machine: single passes of the network by clip length, engine, precision and threads; a recording
from disk to result; throughput; and a cold start with its peak memory. The real-time factor is time divided by duration
of the audio: at 0.01 the model is a hundred times faster than real time."""
EXAMPLES = """\
examples:
  tinyclap bench
  tinyclap bench --model exported/student --lengths 2 10 --threads 1 4 --precisions fp32 int8
  tinyclap bench --engines onnxruntime --starts 0 --json > bench.json"""
_COLUMNS = {
    "clip": ("clip_s", "{:g} s"),
    "engine": ("engine", "{}"),
    "precision": ("precision", "{}"),
    "threads": ("n_threads", "{}"),
    "median ms": ("median_ms", "{:.2f}"),
    "min ms": ("least_ms", "{:.2f}"),
    "max ms": ("greatest_ms", "{:.2f}"),
    "real-time factor": ("real_time_factor", "{:.5f}"),
}


def add_arguments(parser):
    """Add the options of the command."""
    add_source_arguments(parser)
    add, threads, what = parser.add_argument, whole(1, MAX_THREADS), "of clips, in s (default: 1 5 10)"
    add("--lengths", type=above_zero, nargs="+", default=[1.0, 5.0, 10.0], metavar="S", help=what)
    add("--threads", type=threads, nargs="+", default=[1, 2], metavar="N", help="of a pass (default: 1 2)")
    add("--engines", nargs="+", choices=(*ENGINES, "torch"), default=[], help="default: all installed")
    add("--precisions", nargs="+", choices=PRECISIONS[1:], default=[], help="default: all of the model")
    for name, default, minimum, what in (
        ("--repeats", 9, 1, "timed passes"),
        ("--clips", 64, 1, "clips for the throughput"),
        ("--starts", 3, 0, "cold starts; 0 for none"),
    ):
        add(name, type=whole(minimum, 10**6), default=default, metavar="N", help=f"{what} (default: {default})")
    add("--json", action="store_true", help="print one JSON object")


def run(options):
    """Measure and print."""
    from tinyclap.cli.bench import BenchOptions, bench

    names = ("lengths", "threads", "engines", "precisions", "repeats", "clips", "starts", "imports")
    chosen = BenchOptions(*(getattr(options, name) for name in names))
    report = bench(options.model, chosen, options.revision, options.offline)
    sys.stdout.write((json.dumps(report, indent=1) if options.json else as_text(report)) + "\n")


def as_text(report):
    """A report of :func:`tinyclap.cli.bench.bench` for people: str."""
    machine, recording, many = report["machine"], report["recording"], report["many"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    cells = [list(_COLUMNS), *([form.format(row[key]) for key, form in _COLUMNS.values()] for row in report["passes"])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        f"{report['model']} ({report['kind']}) on {machine['processor']}, {machine['n_cores']} cores, "
        f"load {machine['load']}",
        f"{versions}; {' '.join(machine['instructions'])}",
        "",
        *("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells),
        "",
        f"recording ({recording['what']}): {recording['median_ms']:.1f} ms from disk to result",
        f"throughput: {many['clips_per_s']:g} clips of {many['clip_s']:g} s a second, "
        f"real-time factor {many['real_time_factor']:.5f}",
    ]
    if "cold_start" in report:
        cold = report["cold_start"]
        memory = f"; peak memory {cold['peak_mb']:.0f} MB" if "peak_mb" in cold else ""
        lines.append(
            f"cold start ({cold['what']}): {cold['whole_ms']:.0f} ms for a new process (minimum "
            f"{cold['least_whole_ms']:.0f}); {cold['open_ms']:.0f} to open the model, {cold['answer_ms']:.0f} to answer"
            f"{memory}"
        )
    return "\n".join(lines)
