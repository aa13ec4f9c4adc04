#!/usr/bin/env python3
"""Draw the curves of one or several training runs: losses, terms, learning rate, what the best epoch was chosen by.

    python tools/curves.py results/distill_phinet/soundscapes/1234 [RUN …] [--output curves.png]

Each quantity of history.jsonl has a panel, but a term that alone is the loss.
"""

import argparse
import json
import os
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
    """Names of the quantities of all runs, the total first and the learning rate last; none that is the loss again."""
    records = [record[part] for epochs in histories for record in epochs for part in ("train", "valid")]
    names = dict.fromkeys(["loss", *(name for record in records for name in record)])
    again = [name for name in names if all(record.get(name) == record.get("loss") for record in records)]
    return [*(name for name in names if name == "loss" or name not in again), "lr"]


def labels_of(runs):
    """The runs' names: of their paths the parts in which they differ."""
    if len(runs) == 1:
        return [str(runs[0])]
    paths = [Path(run).resolve() for run in runs]
    parts = [path.relative_to(os.path.commonpath([path.parent for path in paths])).parts for path in paths]
    while min(map(len, parts)) > 1 and len({own[-1] for own in parts}) == 1:
        parts = [own[:-1] for own in parts]
    return ["/".join(own) for own in parts]


def draw(runs, output):
    """Draw the runs' folders into a PNG, SVG or PDF file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    histories = [read_history(run) for run in runs]
    bests = [best_epoch(run, epochs) for run, epochs in zip(runs, histories, strict=True)]
    names = panels(histories)
    n_columns = 2 if len(names) in (2, 4) else 3
    n_rows = -(-len(names) // n_columns)
    size = (4.2 * n_columns, 3 * n_rows)
    figure, axes = pyplot.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
    for name, axis in zip(names, axes.flat, strict=False):
        draw_panel(axis, name, list(zip(histories, bests, strict=True)))
    for axis in axes.flat[len(names) :]:
        axis.remove()
    marks = [Line2D([], [], color=f"C{number % 10}", label=label) for number, label in enumerate(labels_of(runs))]
    styles = {"training": {}, "validation": {"linestyle": "--"}, "best epoch": {"marker": "o", "linestyle": ""}}
    marks += [Line2D([], [], color="grey", label=label, **style) for label, style in styles.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 5), fontsize=8)
    with atomic_path(output) as part:
        figure.savefig(part, format=Path(output).suffix[1:], dpi=120)
    pyplot.close(figure)


def draw_panel(axis, name, curves):
    """Draw one quantity of all runs: `curves` are (epochs, best epoch)."""
    from matplotlib.ticker import MaxNLocator

    for number, (epochs, best) in enumerate(curves):
        above = len(curves) - 1 - number if name == "lr" else 0  # rates are often the same, and none hides another
        look = {"color": f"C{number % 10}", "linewidth": 1.5 + min(above, 4)}
        for part, style in (("train", "-"), ("valid", "--")):
            values = [(record["epoch"], record if name == "lr" else record[part]) for record in epochs]
            points = [(epoch, of_epoch[name]) for epoch, of_epoch in values if name in of_epoch]
            if points and (name != "lr" or part == "train"):
                axis.plot(*zip(*points, strict=True), style + ("." if len(points) == 1 else ""), **look)
            for point in points if part == "valid" and name != "lr" else ():
                if point[0] == best:
                    axis.plot(*point, "o", color=look["color"], markersize=6)
    axis.set_title({"lr": "learning rate", "cider_d": "CIDEr-D"}.get(name, name), fontsize=10)
    axis.set_xlabel("epoch", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_xlim(left=1 if max(len(epochs) for epochs, _ in curves) > 1 else None)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "lr":
        axis.set_ylim(bottom=0)
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
