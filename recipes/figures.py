#!/usr/bin/env python3
"""Draw the figures of the pages from the results that are kept in the repository.

    python recipes/figures.py                          all for which there is something to show
    python recipes/figures.py --only fig2b_complexity  one; an error when its input is missing
    python recipes/figures.py --check                  say whether tables and captions are up to date; changes nothing

fig2a_pruning        accuracy against kept dimensions: recipes/tables/results/pruning_curves.csv
fig2b_complexity     accuracy against parameters and multiply–accumulates: recipes/tables/zero_shot.csv and its kept
                     results, recipes/real_audio/results, recipes/literature.csv
captioning_size_quality
                     captions' quality against parameters: recipes/tables/captioning.csv and its kept results,
                     recipes/captioning/results/ladder.csv, recipes/real_audio/results/captioning,
                     recipes/literature.csv

Each gives NAME.png and NAME.svg, NAME.csv (every number that is drawn) and NAME.md (the caption). No number is typed
here: those of others stand in recipes/literature.csv with their sources.
"""

import argparse
import csv
import io
import os
import sys
from pathlib import Path

from plots import captioners, captions, kept, pruning_curves
from plots import scores as data
from plots.against_dimensions import draw_pruning, own_rows
from plots.against_size import draw_captioning, draw_complexity
from plots.style import save, styled

from tinyclap.errors import TinyclapError

FIELDS = (
    *("panel", "model", "method", "origin", "kept", "n_parameters", "n_macs", "value", "n_seeds", "seeds_half_95"),
    *("clips_low_95", "clips_high_95", "n_items"),
)


def means(scores, benchmarks):
    """The mean over benchmarks of every model that has them all, a model and origin at a time."""
    groups = {}
    for score in scores:
        groups.setdefault((score.model, score.origin), []).append(score)
    return [mean for some in groups.values() if (mean := data.mean_over(some, benchmarks))]


def left_out(names):
    """What is said of scores that have no size to be drawn at."""
    names = list(names)
    return f"left out, their kept results have no model.n_parameters: {', '.join(names)}" if names else ""


def pruning(recipes):
    """Figure 2a: (how to draw it, its table, its caption) and what was left out; or None and what is missing."""
    path = recipes / "tables/results/pruning_curves.csv"
    curves = pruning_curves.read_curves(path)
    if not curves:
        return None, f"no curve in {path}; run recipes/pruning_curve.py"
    benchmarks = data.in_order({curve.benchmark for curve in curves})
    curves = [curve for curve in curves if curve.benchmark in benchmarks]
    groups = {}
    for curve in curves:
        groups.setdefault((curve.model, curve.method), []).append(curve)
    if len(benchmarks) > 1:
        curves += [mean for some in groups.values() if (mean := pruning_curves.mean_curve(some, benchmarks))]
    lines = [
        line_of(score, curve.benchmark) | {"method": curve.method, "kept": kept}
        for curve in curves
        for kept, score in curve.points.items()
    ]
    return (
        (lambda pyplot: draw_pruning(pyplot, curves, benchmarks)),
        lines,
        captions.pruning(curves, benchmarks, own_rows(curves)),
    ), ""


def complexity(recipes):
    """Figure 2b, likewise."""
    everything = data.our_scores(recipes)
    ours = [score for score in everything if score.n_parameters]
    if not ours:
        return (
            None,
            f"no score with a size in {recipes}/tables/results/zero_shot; run recipes/tables/make_tables.py --keep",
        )
    benchmarks = data.in_order({score.benchmark for score in ours})
    published = [score for score, role, _ in data.published_scores(recipes) if role != "other"]
    shown = [score for score in published if score.benchmark in benchmarks and score.n_parameters]
    if len(benchmarks) > 1:
        ours, shown = ours + means(ours, benchmarks), shown + means(shown, benchmarks)
    lines = [line_of(score, score.benchmark) for score in (*ours, *shown)]
    return (
        (lambda pyplot: draw_complexity(pyplot, ours, shown, benchmarks)),
        lines,
        captions.complexity(ours, published, benchmarks),
    ), left_out(f"{score.model} ({score.benchmark})" for score in everything if not score.n_parameters)


def captioning(recipes):
    """The plot of captions, likewise."""
    by_corpus, unsized = captioners.caption_scores(recipes)
    published = [score for score, _, _ in data.published_scores(recipes, "spider") if score.n_parameters]
    if not by_corpus and not published:
        return None, f"no caption score in {recipes}; run recipes/tables/captioning.sh"
    ours = {captions.head_of(corpus, scores): scores for corpus, scores in by_corpus.items()}
    unknown = captioners.unscored(recipes)
    lines = [line_of(score, f"{score.benchmark} CIDEr-D") for scores in ours.values() for score in scores]
    lines += [line_of(score, f"{score.benchmark} SPIDEr") for score in published]
    return (
        (lambda pyplot: draw_captioning(pyplot, ours, published, unknown)),
        lines,
        captions.captioning(by_corpus, published, unknown),
    ), left_out(unsized)


FIGURES = {"fig2a_pruning": pruning, "fig2b_complexity": complexity, "captioning_size_quality": captioning}


def line_of(score, panel):
    """One drawn point, as a row of the figure's table."""
    half = score.seeds_half
    low, high = score.clips or (None, None)
    numbers = {"value": score.mean, "seeds_half_95": half, "clips_low_95": low, "clips_high_95": high}
    return {
        "panel": panel,
        "model": score.model,
        "origin": score.origin,
        "n_parameters": score.n_parameters,
        "n_macs": score.n_macs,
        "n_seeds": len(score.values),
        "n_items": score.n_items,
    } | {name: None if number is None else f"{number:.6f}" for name, number in numbers.items()}


def as_csv(lines):
    """The text of the figure's table."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def write_text(path, text):
    """Write a text file whole or not at all."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def make(name, recipes, output, check):
    """Draw one figure, or check its texts.

    Returns
    -------
    tuple
        (``drawn``, ``current``, ``stale`` or ``missing``, and what to say)
    """
    content, lacking = FIGURES[name](recipes)
    if content is None:
        return "missing", f"{name}: not drawn: {lacking}"
    draw, lines, caption = content
    texts = {output / f"{name}.csv": as_csv(lines), output / f"{name}.md": caption + "\n"}
    if check:
        stale = [str(path) for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
        stale += [str(path) for path in (output / f"{name}.png", output / f"{name}.svg") if not path.is_file()]
        return ("stale", f"{name}: stale: {', '.join(stale)}") if stale else ("current", f"{name}: up to date")
    with styled() as pyplot:
        written = save(draw(pyplot), output, name)
    for path, text in texts.items():
        write_text(path, text)
    said = [f"{name}: {', '.join(str(path) for path in (*written, *texts))}", *([f"  {lacking}"] if lacking else [])]
    return "drawn", "\n".join(said)


def main():
    """Draw or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=FIGURES, metavar="NAME", help=f"some of {', '.join(FIGURES)}")
    parser.add_argument("--recipes", type=Path, default=kept.RECIPES, help="folder of the results (default: this one)")
    parser.add_argument("--output", type=Path, help="where the figures go (default: tables/figures in --recipes)")
    parser.add_argument("--check", action="store_true", help="only say whether tables and captions are up to date")
    options = parser.parse_args()
    output = options.output or options.recipes / "tables" / "figures"
    if not options.recipes.is_dir():
        sys.exit(f"--recipes {options.recipes}: no such folder")
    try:
        done = [make(name, options.recipes, output, options.check) for name in options.only or FIGURES]
    except TinyclapError as error:
        sys.exit(str(error))
    print("\n".join(said for _, said in done))
    states = {state for state, _ in done}
    if "stale" in states:
        print("run: python recipes/figures.py")
    return int("stale" in states or states == {"missing"} or bool(options.only and "missing" in states))


if __name__ == "__main__":
    sys.exit(main())
