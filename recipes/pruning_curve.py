#!/usr/bin/env python3
"""How accuracy falls as dimensions of the shared space are removed: the paper's ranking beside others, for one model.

    python evaluate.py hparams/rank_latent.yaml --weights RUN --clotho_folder … --output_folder RUN_ranking
    python evaluate.py hparams/esc50.yaml --weights RUN --data_folder … --save_embeddings True --output_folder RUN_esc50
    python recipes/pruning_curve.py --ranking RUN_ranking --scores RUN_esc50 --model "PhiNet M" --output_folder OUT

Ways of choosing dimensions: plain (mean absolute activation over the training clips, the paper's), variance, random
(mean of five orders), pca and whitening (both towers turned by the training clips' second moment, not centred), nested
(as they come: for a student that was trained for it). What is masked and normalised: tinyclap/pruning/ranking.py.

Writes curve.csv (a row a point, with its bootstrap interval over clips), pruning_summary.json (the fewest dimensions
with which accuracy has not fallen by 1 and by 5 points) and metrics.json (the same for recipes/tables), and prints the
summary. With --merge the rows replace those of
the same model, benchmark, method and seed in a kept table.
"""

import argparse
import csv
import io
import json
import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tinyclap.config.kept_dims import RANKING, read_order
from tinyclap.errors import TinyclapError
from tinyclap.files import write_json
from tinyclap.pruning.curves import METHODS, curve_points, fall_interval, kept_at_fall, method_hits, read_scored
from tinyclap.pruning.ranking import EMBEDDINGS, MOMENTS, RIDGE, read_arrays
from tinyclap.training.provenance import provenance

COLUMNS = ("model", "benchmark", "method", "seed", "kept", "kept_fraction", "accuracy", "low", "high", "n_items",
           "full_accuracy")  # fmt: skip
KEY = COLUMNS[:4]
FRACTIONS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.035, 0.025,
             0.015, 0.01)  # fmt: skip
FALLS = (1, 5)
SHOWN = (0.75, 0.5, 0.25, 0.1)


def read_options(arguments):
    """What the command line says: list of str → argparse.Namespace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranking", required=True, type=Path, help="folder of hparams/rank_latent.yaml for this model")
    parser.add_argument("--scores", required=True, type=Path, nargs="+", metavar="FOLDER",
                        help="folders of evaluate.py … --save_embeddings True, one a benchmark")  # fmt: skip
    parser.add_argument("--output_folder", required=True, type=Path, help="folder of what is written")
    parser.add_argument("--model", required=True, help="what the model is called in the table")
    parser.add_argument("--seed", default="-", help="of its training, for the table; - where nothing was trained")
    parser.add_argument("--methods", nargs="+", default=list(METHODS[:-1]), choices=METHODS, metavar="METHOD",
                        help=f"of {', '.join(METHODS)}; default: all but nested")  # fmt: skip
    parser.add_argument("--order", type=Path, help="of nested: the ranking in whose order the student was trained")
    parser.add_argument("--any_ranking", action="store_true", help="take a ranking of another model, e.g. the teacher")
    parser.add_argument("--ridge", type=float, default=RIDGE, help="of whitening, as a share of the mean eigenvalue")
    parser.add_argument("--fractions", nargs="+", type=float, default=list(FRACTIONS), metavar="F", help="kept, (0, 1]")
    parser.add_argument("--by", choices=("clip", "recording"), default="clip", help="what the bootstrap draws")
    parser.add_argument("--bootstrap_seed", type=int, default=1234)
    parser.add_argument("--merge", type=Path, metavar="CSV", help="a kept table that gets the rows too")
    return parser.parse_args(arguments)


def read_metrics(folder, ranked, any_ranking):
    """``metrics.json`` of a score folder, which has to be of a whole model, the one that was ranked."""
    path = folder / "metrics.json"
    if not path.is_file() or not (folder / EMBEDDINGS).is_file():
        sys.exit(f"{folder}: no {path.name} or no {EMBEDDINGS}; run evaluate.py … --save_embeddings True")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if metrics["kept_dims"] != metrics["n_dims"]:
        sys.exit(
            f"{folder} was scored with {metrics['kept_dims']} of {metrics['n_dims']} dimensions; score all of them"
        )
    places = [(model["kind"], Path(model["weights"]).resolve()) for model in (metrics["model"], ranked)]
    if places[0] != places[1] and not any_ranking:
        names = [f"{kind} {path}" for kind, path in places]
        sys.exit(f"{folder} scores {names[0]}, the ranking is of {names[1]}; rank this model, or say --any_ranking")
    return metrics


def benchmark_name(metrics):
    """The corpus; of a part of it, with its folds."""
    folds = list(metrics["per_fold"]) if metrics["options"].get("subset") else []
    return metrics["dataset"] + (f" fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}" if folds else "")


def at_fall(hits, full_hits, points, groups, seed):
    """Dimensions that are left when accuracy has fallen by `points`: a dict, null where all of them have fallen."""
    n_dims = hits.shape[1]
    kept = int(kept_at_fall(hits.mean(axis=0), full_hits.mean(), points))
    ends = fall_interval(hits, full_hits, points, groups, seed=seed)
    return {
        "kept": kept if kept <= n_dims else None,
        "kept_fraction": kept / n_dims if kept <= n_dims else None,
        "interval_95": [end if end <= n_dims else None for end in ends],
    }


def score_folder(folder, moments, ranked, options):
    """Rows of the table and the summary of one benchmark."""
    metrics, scored = read_metrics(folder, ranked, options.any_ranking), read_scored(folder / EMBEDDINGS)
    n_items, groups = len(scored.labels), scored.groups if options.by == "recording" else None
    full_hits = method_hits(scored, moments, "plain")[:, -1]
    if abs(full_hits.mean() - metrics["value"]) > 1.5 / n_items:  # a tie may fall otherwise in another precision
        sys.exit(
            f"{folder}: its embeddings give {full_hits.mean():.4f}, its metrics {metrics['value']:.4f}; score again"
        )
    order = None if options.order is None else read_order(options.order)
    name, rows, methods = benchmark_name(metrics), [], {}
    for method in options.methods:
        hits = method_hits(scored, moments, method, order if method == "nested" else None, options.ridge)
        for point in curve_points(hits, options.fractions, groups, options.bootstrap_seed):
            values = {key: f"{point[key]:.6f}" for key in ("kept_fraction", "accuracy", "low", "high")}
            row = dict(zip(KEY, (options.model, name, method, options.seed), strict=True))
            full = f"{full_hits.mean():.6f}"
            rows.append({**row, "kept": str(point["kept"]), **values, "n_items": str(n_items), "full_accuracy": full})
        methods[method] = {
            "accuracy": {str(share): hits[:, max(1, round(share * hits.shape[1])) - 1].mean() for share in SHOWN},
            "falls": {
                str(points): at_fall(hits, full_hits, points, groups, options.bootstrap_seed) for points in FALLS
            },
        }
    facts = {key: metrics[key] for key in ("interval_95", "commit", "date")}
    summary = {"n_items": n_items, "n_dims": metrics["n_dims"], "full_accuracy": full_hits.mean(), **facts}
    return rows, name, {**summary, "methods": methods}


def write_rows(path, rows, columns=COLUMNS):
    """Write a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)


def read_kept(path):
    """Rows of a kept table; none where there is no file yet."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and tuple(rows[0]) != COLUMNS:
        sys.exit(f"{path} is another table: its columns are {', '.join(rows[0])}")
    return rows


def merge(path, rows):
    """Put rows into a kept table, in the place of those with the same key; what is kept is sorted."""
    before = read_kept(path)
    new = {tuple(row[key] for key in KEY) for row in rows}
    kept = [row for row in before if tuple(row[key] for key in KEY) not in new]
    ranks = {method: rank for rank, method in enumerate(METHODS)}

    def place(row):
        return row["model"], row["benchmark"], ranks[row["method"]], row["seed"], -int(row["kept"])

    write_rows(path, sorted([*kept, *rows], key=place))


def shown(summary):
    """The summary as lines for people."""
    lines = []
    for name, found in summary["benchmarks"].items():
        full = f"{100 * found['full_accuracy']:.1f} % with {found['n_dims']} dimensions (n = {found['n_items']})"
        lines.append(f"{summary['model']}, {name}: {full}")
        lines.append(f"  {'method':10} " + " ".join(f"{f'{share:.0%} kept':>9}" for share in SHOWN)
                     + "".join(f"   kept at -{points} [95 %]" for points in FALLS))  # fmt: skip
        for method, values in found["methods"].items():
            cells = " ".join(f"{100 * value:9.1f}" for value in values["accuracy"].values())
            falls = "".join(f"   {fall['kept'] or '-':>5} [{fall['interval_95'][0] or '-'}, "
                            f"{fall['interval_95'][1] or '-'}]" for fall in values["falls"].values())  # fmt: skip
            lines.append(f"  {method:10} {cells}{falls}")
    return "\n".join(lines)


def table_record(summary):
    """What recipes/tables keeps: ``falls``, benchmark → method → points → the share of dimensions that is left."""
    falls = {
        name: {
            method: {
                points: {"value": fall["kept_fraction"], "kept": fall["kept"]} for points, fall in of["falls"].items()
            }
            for method, of in found["methods"].items()
        }
        for name, found in summary["benchmarks"].items()
    }
    n_items = sum(found["n_items"] for found in summary["benchmarks"].values())
    return {"dataset": ", ".join(falls), "split": "test", "options": {}, "n_items": n_items, "falls": falls}


def main(arguments):
    """Read the ranking and the scores, write the curves."""
    options = read_options(arguments)
    if options.merge is not None:
        read_kept(options.merge)  # a wrong table is refused before the work
    try:
        moments = read_arrays(options.ranking / MOMENTS, ("mean_abs", "std", "second_moment"))
        read_order(options.ranking)
        record = json.loads((options.ranking / RANKING).read_text(encoding="utf-8"))
        rows, benchmarks = [], {}
        for folder in dict.fromkeys(options.scores):
            of_folder, name, found = score_folder(folder, moments, record["model"], options)
            if name in benchmarks:
                sys.exit(f"{folder}: {name} was given twice")
            rows += of_folder
            benchmarks[name] = found
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    summary = {
        "model": options.model,
        "seed": options.seed,
        "intervals": f"95 % bootstrap, drawn by {options.by}",
        "ranking": {key: record[key] for key in ("ranking", "n_clips", "corpora", "model")},
        "benchmarks": benchmarks,
    }
    write_rows(options.output_folder / "curve.csv", rows)
    options.output_folder.mkdir(parents=True, exist_ok=True)
    write_json(options.output_folder / "pruning_summary.json", summary)
    write_json(options.output_folder / "metrics.json", {**table_record(summary), **provenance("cpu")})
    if options.merge is not None:
        merge(options.merge, rows)
    print(shown(summary))
    more = f"; {options.merge}" if options.merge else ""
    print(f"Written: {options.output_folder}/curve.csv, pruning_summary.json, metrics.json{more}")


if __name__ == "__main__":
    main(sys.argv[1:])
