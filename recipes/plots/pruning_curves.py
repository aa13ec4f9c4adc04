"""Curves of accuracy against kept dimensions, read from what recipes/pruning_curve.py wrote."""

import statistics
from dataclasses import dataclass, field, replace

from plots.kept import read_csv
from plots.scores import Score, is_teacher, mean_over, scope_of

from tinyclap.errors import ConfigError
from tinyclap.pruning.curves import METHODS

CURVE_COLUMNS = ("model", "benchmark", "method", "seed", "kept", "kept_fraction", "accuracy", "low", "high", "n_items")


@dataclass
class Curve:
    """Accuracy of one model at every number of kept dimensions, for one method, on one benchmark.

    ``points`` maps the number of kept dimensions to its Score; ``n_dims`` is the number of all.
    """

    model: str
    method: str
    benchmark: str
    n_dims: int
    points: dict = field(default_factory=dict)


def read_curves(path):
    """Curves of pruning_curves.csv.

    Raises
    ------
    ConfigError
        A column is missing or a value is no share of one; all that is wrong is listed.
    """
    lines = read_csv(path)
    absent = [name for name in CURVE_COLUMNS if lines and name not in lines[0]]
    if absent:
        raise ConfigError(f"{path}: no column {', '.join(absent)}; write it by recipes/pruning_curve.py")
    groups, problems = {}, []
    for number, line in enumerate(lines, 2):
        try:
            values = [float(line[name]) for name in ("kept_fraction", "accuracy", "low", "high")]
            key = line["model"], line["method"], line["benchmark"]
            groups.setdefault(key, {}).setdefault(int(line["kept"]), []).append(
                (line["seed"], values, int(line["n_items"]))
            )
        except (TypeError, ValueError):
            values = [-1.0]
        if not all(0 <= value <= 1 for value in values) or line["method"] not in METHODS:
            problems.append(f"line {number}")
    if problems:
        raise ConfigError(
            f"{path}: {', '.join(problems[:5])} ({len(problems)} in all): fractions and accuracies lie from 0 to 1, "
            f"kept is a whole number, and method is {', '.join(METHODS)}; write it by recipes/pruning_curve.py"
        )
    return [_curve(*key, points) for key, points in groups.items()]


def _curve(model, method, benchmark, points):
    most = max(points)
    fraction = points[most][0][1][0]
    if not fraction:
        raise ConfigError(
            f"{model}, {method}, {benchmark}: no point keeps anything; write it by recipes/pruning_curve.py"
        )
    scores = {}
    for kept_dims, some in sorted(points.items()):
        clips = tuple(statistics.mean(values[side] for _, values, _ in some) for side in (2, 3))
        values = {seed: values[1] for seed, values, _ in some}
        n_items = some[0][2]
        facts = {"clips": clips, "is_teacher": is_teacher(model), "n_items": n_items, "scope": scope_of([], n_items)}
        scores[kept_dims] = Score(model, benchmark, "part", values, **facts)
    return Curve(model, method, benchmark, round(most / fraction), scores)


def mean_curve(curves, benchmarks):
    """The mean of one model's curves over benchmarks, at the numbers of dimensions that all have; None without any."""
    chosen = {curve.benchmark: curve for curve in curves}
    if not set(benchmarks) <= set(chosen):
        return None
    first = chosen[benchmarks[0]]
    common = [kept for kept in first.points if all(kept in chosen[name].points for name in benchmarks)]
    points = {kept: mean_over([chosen[name].points[kept] for name in benchmarks], benchmarks) for kept in common}
    points = {kept: score for kept, score in points.items() if score}
    return replace(first, benchmark="mean", points=points) if points else None
