#!/usr/bin/env python3
"""Draw the curves of one or several training runs: losses, terms, learning rate, what the best epoch was chosen by.

    python tools/curves.py results/distill_phinet/soundscapes/1234 [RUN …] [--output curves.png]

Each quantity of history.jsonl has a panel; solid lines are training, dashed ones validation, a dot is the best epoch.
"""

import argparse
import json
import sys
from pathlib import Path

from tinyclap.errors import TinyclapError
from tinyclap.files import atomic_path, read_json

MAXIMISED = ("cosine", "cider_d")
FORMATS = (".png", ".svg", ".pdf")


def read_history(run):
    """The epochs of a run's folder, a list of dict."""
    path = Path(run) / "history.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        epochs = [json.loads(line) for line in lines if line.endswith("}")]
        if not all({"epoch", "lr", "train", "valid"} <= set(record) for record in epochs):
            raise ValueError("epoch, lr, train or valid is missing")
    except OSError as error:
        raise TinyclapError(f"{path}: {error.strerror}; give the output_folder of a training run") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TinyclapError(f"{path}: not the history of a training run ({error!r})") from error
    if not epochs:
        raise TinyclapError(f"{path}: no epoch has ended yet")
    return sorted(epochs, key=lambda record: record["epoch"])


def best_epoch(run, epochs):
    """The epoch that was released or, before that, the best by CIDEr-D, cosine or loss."""
    config = Path(run) / "student" / "config.json"
    selected = read_json(config).get("selected") if config.is_file() else None
    if isinstance(selected, dict) and selected.get("epoch"):
        return selected["epoch"]
    key = next((name for name in reversed(MAXIMISED) if name in epochs[0]["valid"]), "loss")
    sign = -1 if key in MAXIMISED else 1
    return min(epochs, key=lambda record: sign * record["valid"].get(key, 0.0))["epoch"]


def panels(histories):
    """Names of the quantities of all runs, the total first and the learning rate last."""
    names = [name for epochs in histories for record in epochs for name in (*record["train"], *record["valid"])]
    return [*dict.fromkeys(["loss", *names]), "lr"]


def draw(runs, output):
    """Draw the runs' folders into a PNG, SVG or PDF file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    histories = [read_history(run) for run in runs]
    short = [Path(run).resolve().name for run in runs]
    labels = short if len(set(short)) == len(short) else [str(run) for run in runs]
    curves = [
        (label, epochs, best_epoch(run, epochs)) for label, run, epochs in zip(labels, runs, histories, strict=True)
    ]
    names = panels(histories)
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, axes = pyplot.subplots(n_rows, n_columns, figsize=(4.2 * n_columns, 3 * n_rows), squeeze=False)
    for name, axis in zip(names, axes.flat, strict=False):
        draw_panel(axis, name, curves)
    for axis in axes.flat[len(names) :]:
        axis.remove()
    axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    with atomic_path(output) as part:
        figure.savefig(part, format=Path(output).suffix[1:], dpi=120)
    pyplot.close(figure)


def draw_panel(axis, name, curves):
    """Draw one quantity of all runs: `curves` are (label, epochs, best epoch)."""
    from matplotlib.ticker import MaxNLocator

    for number, (label, epochs, best) in enumerate(curves):
        for part, style in ((None, "-"),) if name == "lr" else (("train", "-"), ("valid", "--")):
            values = [(record["epoch"], record if part is None else record[part]) for record in epochs]
            points = [(epoch, of_epoch[name]) for epoch, of_epoch in values if name in of_epoch]
            marker = "." if len(points) == 1 else ""
            shown = label if part is None else f"{label}, {part}"
            axis.plot(
                [p[0] for p in points], [p[1] for p in points], style + marker, color=f"C{number % 10}", label=shown
            )
            for point in points:
                if point[0] == best and part == "valid":
                    axis.plot(*point, "o", color=f"C{number % 10}", markersize=6)
    axis.set_title({"lr": "learning rate", "cider_d": "CIDEr-D"}.get(name, name), fontsize=10)
    axis.set_xlabel("epoch", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)


def main(arguments=None):
    """Draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output_folder of a training run")
    parser.add_argument("--output", default="curves.png", help="file to write: .png, .svg or .pdf (curves.png)")
    options = parser.parse_args(arguments)
    if Path(options.output).suffix not in FORMATS:
        raise TinyclapError(f"--output {options.output}: give a name that ends in {', '.join(FORMATS)}")
    if not Path(options.output).absolute().parent.is_dir():
        raise TinyclapError(f"--output {options.output}: there is no such folder")
    draw(options.runs, options.output)
    print(options.output)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (TinyclapError, ImportError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
