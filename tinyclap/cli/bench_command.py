"""``tinyclap bench``: how quick a model is on this machine."""

import json
import sys

from tinyclap.cli.common import ENGINES, PRECISIONS
from tinyclap.cli.exit_status import DONE
from tinyclap.config.shipped import DEFAULT_MODEL

DESCRIPTION = """Time a model on this machine: one pass of the network for clips of several lengths, in each engine,
precision and number of threads; a recording from the disk to its result; many clips; and a new
process to its first answer, with its peak memory. The real-time factor is time by duration: 0.01 is
a hundred times quicker than the sound."""
EXAMPLES = """examples:
  tinyclap bench
  tinyclap bench --model exported/student --lengths 2 10 --threads 1 4 --precisions fp32 int8
  tinyclap bench --engines onnxruntime --starts 0 --json > bench.json"""
_COLUMNS = {
    "clip": "clip_s",
    "engine": "engine",
    "precision": "precision",
    "threads": "n_threads",
    "median ms": "median_ms",
    "least ms": "least_ms",
    "greatest ms": "greatest_ms",
    "real-time factor": "real_time_factor",
}


def add_arguments(parser):
    """Add the options of the command."""
    what = f"shipped name, folder, or owner/name on the hub (default: {DEFAULT_MODEL})"
    parser.add_argument("--model", default=DEFAULT_MODEL, help=what)
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--offline", action="store_true", help="never ask the network")
    parser.add_argument(
        "--lengths", type=float, nargs="+", default=[1.0, 5.0, 10.0], metavar="S", help="clips, in seconds (1 5 10)"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="threads of a pass (1 2)")
    parser.add_argument("--engines", nargs="+", choices=(*ENGINES, "torch"), default=[], help="default: all installed")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS[1:], default=[], help="default: all there are")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="passes that count (9)")
    parser.add_argument("--clips", type=int, default=64, metavar="N", help="clips in the measurement of many (64)")
    parser.add_argument("--starts", type=int, default=3, metavar="N", help="new processes; 0 for none (3)")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(options):
    """Measure, and write a table to standard output; returns the exit status."""
    from tinyclap.cli.bench import BenchOptions, bench

    wanted = BenchOptions(
        tuple(options.lengths),
        tuple(options.threads),
        tuple(options.engines),
        tuple(options.precisions),
        options.repeats,
        options.clips,
        options.starts,
    )
    report = bench(options.model, wanted, options.revision, options.offline)
    sys.stdout.write((json.dumps(report, indent=1) if options.json else as_text(report)) + "\n")
    return DONE


def as_text(report):
    """A report of :func:`tinyclap.cli.bench.bench` for people: str."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    lines = [
        f"{report['model']} ({report['kind']}) on {machine['processor']}, {machine['n_cores']} cores, "
        f"load {machine['load']}",
        f"{versions}; {' '.join(machine['instructions'])}",
        "",
        *_table(report["passes"]),
        "",
    ]
    recording, many = report["recording"], report["many"]
    lines.append(f"recording ({recording['what']}): {recording['median_ms']:.1f} ms from the disk to the result")
    lines.append(
        f"many: {many['n_clips']} clips of {many['clip_s']:g} s, {many['clips_per_s']:g} clips a second, "
        f"real-time factor {many['real_time_factor']:.5f}"
    )
    if "cold_start" in report:
        cold = report["cold_start"]
        lines.append(
            f"cold start ({cold['what']}): {cold['whole_ms']:.0f} ms for a new process (least "
            f"{cold['least_whole_ms']:.0f}); {cold['open_ms']:.0f} to open the model, {cold['answer_ms']:.0f} to "
            f"answer; peak memory {cold['peak_mb']:.0f} MB"
        )
    return "\n".join(lines)


def _table(rows):
    """Rows as lines, each column as wide as it must be."""
    cells = [list(_COLUMNS), *([_cell(name, row[name]) for name in _COLUMNS.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _cell(name, value):
    if name == "clip_s":
        return f"{value:g} s"
    return f"{value:.5f}" if name == "real_time_factor" else f"{value:.2f}" if isinstance(value, float) else str(value)
