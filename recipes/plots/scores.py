"""What the figures show, read from the kept results: scores, sizes, curves, and what others have published.

A score is either ours on a part of a corpus, ours on the whole of it, or published; the three are never joined.
"""

import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from captioning import ladder_report
from plots.kept import RECIPES, read_csv, read_json, run_rows

BENCHMARKS = {"esc50": "ESC-50", "urbansound8k": "UrbanSound8K", "tut17": "TUT17"}
ORIGINS = {"real": "part", "paper": "whole"}
# teacher, headline student, CNN14 student, PhiNet family; the other experiments vary one thing at one size
EXPERIMENTS = ("A0", "A3", "A4", "A5", "ours")


@dataclass(frozen=True)
class Score:
    """One model on one benchmark.

    Arguments
    ---------
    model, benchmark : str
    origin : str
        ``part`` or ``whole``: ours, on that much of the corpus; ``published``.
    values : dict
        Seed to value, a share of one (or the metric's own unit).
    clips : tuple
        Low and high of the 95 % interval over clips, each the mean over the seeds; empty where there is none.
    n_parameters, n_macs : int or None
    is_teacher : bool
    n_items : int or None
    scope : str
        Which part of the corpus, for people.
    """

    model: str
    benchmark: str
    origin: str
    values: dict
    clips: tuple = ()
    n_parameters: int | None = None
    n_macs: int | None = None
    is_teacher: bool = False
    n_items: int | None = None
    scope: str = ""

    @property
    def mean(self):
        """Mean over the seeds."""
        return statistics.mean(self.values.values())

    @property
    def seeds_half(self):
        """Half of the 95 % interval over the seeds; None for one seed."""
        return ladder_report.half_width(list(self.values.values()))


def interval(records):
    """Low and high over clips, each the mean over records; empty where one of them has no interval."""
    bounds = [record.get("interval_95") for record in records]
    return tuple(statistics.mean(column) for column in zip(*bounds, strict=True)) if bounds and all(bounds) else ()


def scope_of(folds, n_items):
    """``fold 5, 144 clips``.

    Example
    -------
    >>> scope_of([5], 144), scope_of([], 8732)
    ('fold 5, 144 clips', '8,732 clips')
    """
    named = ", ".join(map(str, folds or []))
    return (f"fold{'s' * (len(folds) > 1)} {named}, " if named else "") + f"{n_items:,} clips"


def sizes(recipes):
    """Parameters and MACs of models, by the beginning of their rows' ids in complexity.csv."""
    found = {}
    for row, records in run_rows(recipes, "complexity"):
        if row["metric"] in ("model.n_parameters", "model.n_macs_paper"):
            model = row["row_id"].rpartition("_")[0]
            found.setdefault(model, {})[row["metric"].partition(".")[2]] = next(iter(records.values()))["value"]
    return found


def title_of(benchmark):
    """A benchmark for people, with the part of it that was scored where its name says so.

    Example
    -------
    >>> title_of("esc50 fold 5"), title_of("urbansound8k")
    ('ESC-50 fold 5', 'UrbanSound8K')
    """
    name, _, part = benchmark.partition(" ")
    return f"{BENCHMARKS.get(name, name)} {part}".strip()


def in_order(benchmarks):
    """Those of the pages' benchmarks, and parts of them, in the order of the pages."""
    known = {name: [one for one in benchmarks if one.partition(" ")[0] == name] for name in BENCHMARKS}
    return [one for some in known.values() for one in sorted(some)]


def label_of(title):
    """A row's title without its benchmark.

    Example
    -------
    >>> label_of("PhiNet M, nested, ESC-50 fold 5"), label_of("PhiNet M on UrbanSound8K"), label_of("mn04")
    ('PhiNet M, nested', 'PhiNet M', 'mn04')
    """
    names = "|".join([*BENCHMARKS.values(), *BENCHMARKS, "soundscapes", "AudioCaps", "Clotho"])
    return re.sub(rf"[\s,:;(–-]*(?:\bon )?(?:{names})\b.*$", "", title, flags=re.IGNORECASE).strip()


def table_scores(recipes=RECIPES):
    """Scores of zero_shot.csv's rows that have been run."""
    known, found = sizes(recipes), []
    for row, records in run_rows(recipes, "zero_shot"):
        benchmark = Path(row["score"]).stem
        wanted = row["experiment"] in EXPERIMENTS and row["group"] in ORIGINS and "stage 1 alone" not in row["title"]
        if not (wanted and benchmark in BENCHMARKS and row["metric"] == "value"):
            continue
        first = next(iter(records.values()))
        size = first.get("model") or known.get(row["row_id"].removesuffix(f"_{benchmark}"), {})
        label = label_of(row["title"])
        found.append(
            Score(
                label, benchmark, ORIGINS[row["group"]], {seed: one["value"] for seed, one in records.items()},
                interval(records.values()), size.get("n_parameters"), size.get("n_macs_paper"),
                is_teacher(label), first["n_items"], scope_of(first.get("folds"), first["n_items"]),
            )
        )  # fmt: skip
    return found


def is_teacher(label):
    """Whether a label names a teacher."""
    return re.match(r"(?:\w+ )?teacher\b", label, re.IGNORECASE) is not None


def real_audio_scores(recipes=RECIPES):
    """Scores that the recipe real_audio has kept, one seed each, by the labels of the README's table."""
    from update_readme import BLOCKS, FOLDS

    found = []
    for label, folder, _ in BLOCKS["real_audio"]:
        for corpus in FOLDS:
            path = recipes / "real_audio" / "results" / folder / corpus / "metrics.json"
            if path.is_file():
                record = read_json(path)
                model = record["model"]
                found.append(
                    Score(
                        label, record["dataset"], "part", {str(record["seed"]): record["value"]}, interval([record]),
                        model["n_parameters"], model["n_macs_paper"], is_teacher(label), record["n_items"],
                        scope_of(list(record["per_fold"]), record["n_items"]),
                    )
                )  # fmt: skip
    return found


def our_scores(recipes=RECIPES):
    """All of ours. A network of the recipe real_audio is left out where the table has one with as many parameters."""
    ours = table_scores(recipes)
    measured = {(one.benchmark, one.n_parameters) for one in ours}
    return ours + [one for one in real_audio_scores(recipes) if (one.benchmark, one.n_parameters) not in measured]


def published_scores(recipes=RECIPES, metric="accuracy"):
    """What literature.csv has of one metric, with the sizes that are known; empty cells are left out.

    Returns
    -------
    list of tuple
        (Score, role, source)
    """
    found = []
    for row in read_csv(recipes / "literature.csv"):
        if row["metric"] == metric and row["value"]:
            value = float(row["value"]) / (100 if row["unit"] == "%" else 1)
            score = Score(
                row["label"], row["benchmark"], "published", {"-": value}, (), *_sizes_of(row),
                row["role"] == "teacher", None, row["scope"],
            )  # fmt: skip
            found.append((score, row["role"], row["source"]))
    return found


def _sizes_of(row):
    return tuple(int(row[name]) if row[name] else None for name in ("n_parameters", "n_macs"))


def mean_over(scores, benchmarks):
    """The mean over benchmarks of one model's scores, or None where one is missing.

    Arguments
    ---------
    scores : list of Score
        Of one model and origin.
    benchmarks : list of str

    Returns
    -------
    Score or None
        ``values`` of the seeds that every benchmark has. Clips of different corpora are independent: half-widths add
        as squares.

    Example
    -------
    >>> one = Score("m", "a", "part", {"1": 0.8, "2": 0.9}, (0.8, 0.9))
    >>> two = Score("m", "b", "part", {"1": 0.6, "2": 0.7}, (0.61, 0.69))
    >>> both = mean_over([one, two], ["a", "b"])
    >>> [round(value, 3) for value in (both.mean, *both.clips)]
    [0.75, 0.718, 0.782]
    """
    chosen = {one.benchmark: one for one in scores if one.benchmark in benchmarks}
    if not benchmarks or set(chosen) != set(benchmarks):
        return None
    parts = list(chosen.values())
    seeds = [seed for seed in parts[0].values if all(seed in one.values for one in parts)]
    if not seeds:
        return None
    values = {seed: statistics.mean(one.values[seed] for one in parts) for seed in seeds}
    clips = ()
    if all(one.clips for one in parts):
        down, up = ([abs(one.clips[side] - one.mean) for one in parts] for side in (0, 1))
        middle = statistics.mean(values.values())
        below, above = (sum(part**2 for part in side) ** 0.5 / len(parts) for side in (down, up))
        clips = (middle - below, middle + above)
    return replace(parts[0], benchmark="mean", values=values, clips=clips, n_items=None, scope="")
