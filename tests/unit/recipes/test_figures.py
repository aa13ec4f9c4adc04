"""The figures show what the kept results say, keep seeds and clips apart, and come out the same every time."""

import csv
import doctest
import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("matplotlib")
sys.path.insert(0, str(ROOT / "recipes"))

import figures
from plots import against_dimensions, against_size, captioners, captions, kept, pruning_curves, scores, style

from tinyclap.errors import ConfigError

REAL = "real_tag_m"
PARTS = ["esc50 fold 5", "urbansound8k fold 2"]
NAMES = {"esc50": ([5], 144), "urbansound8k": ([2], 888)}


def keep_score(recipes, row_id, seed, value, digest, benchmark="esc50"):
    """A kept result as make_tables.py writes it."""
    folds, n_items = NAMES[benchmark]
    record = {"value": value, "interval_95": [value - 0.05, value + 0.04], "n_items": n_items, "folds": folds}
    record |= {"seed": seed, "hash": digest, "dataset": f"{benchmark} test", "metric": "value"}
    record["model"] = {"n_parameters": 315581, "n_macs_paper": 20453710}
    path = recipes / "tables/results/zero_shot" / row_id / f"{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


def curve_line(model, method, benchmark, seed, kept_dims, accuracy):
    """A line of pruning_curves.csv; 40 dimensions in all."""
    n_items = NAMES[benchmark.split()[0]][1]
    numbers = [kept_dims, kept_dims / 40, accuracy, accuracy - 0.1, accuracy + 0.05, n_items, 0.9]
    return [model, benchmark, method, seed, *numbers]


@pytest.fixture
def recipes(tmp_path):
    """A folder of results: two models and two methods of pruning, a student with two seeds, what others published."""
    folder = tmp_path / "recipes"
    (folder / "tables" / "results").mkdir(parents=True)
    for table in (ROOT / "recipes" / "tables").glob("*.csv"):
        shutil.copy(table, folder / "tables")
    shutil.copy(ROOT / "recipes" / "literature.csv", folder)
    shutil.copytree(ROOT / "recipes" / "captioning" / "results", folder / "captioning" / "results")
    _, wanted = kept.tables_of(folder / "tables")
    for benchmark, level in (("esc50", 0.9), ("urbansound8k", 0.7)):
        row = f"{REAL}_{benchmark}"
        for seed, more in (("1234", 0.0), ("1235", 0.02)):
            keep_score(folder, row, seed, level + more, wanted[row, seed], benchmark)
    keep_score(folder, f"{REAL}_esc50", "1236", 0.1, "of other words")
    lines = [
        curve_line(model, method, benchmark, seed, kept_dims, 0.5 + 0.01 * kept_dims + more)
        for benchmark in PARTS
        for model, method, more in (("teacher", "plain", 0), ("M", "plain", -0.1), ("M", "pca", -0.05))
        for seed in (["-"] if model == "teacher" else ["1", "2"])
        for kept_dims in (40, 10, 4)
    ]
    with open(folder / "tables/results/pruning_curves.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*pruning_curves.CURVE_COLUMNS, "full_accuracy"])
        writer.writerows(lines)
    return folder


def drawn_lines(folder, name):
    """The table beside a figure."""
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("module", [against_size, captions, scores])
def test_examples_of_the_figures_modules_hold(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1 and result.failed == 0


def test_all_figures_are_drawn_and_come_out_the_same_twice(recipes, tmp_path):
    for name in figures.FIGURES:
        for folder in ("one", "two"):
            state, said = figures.make(name, recipes, tmp_path / folder, check=False)
            assert state == "drawn", said
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(f"{name}.{suffix}" for name in figures.FIGURES for suffix in ("csv", "md", "png", "svg"))
    for name in files:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert first == second, f"{name} is another file the second time"
        assert not name.endswith(".svg") or (b"dc:date" not in first and b"<svg" in first)


def test_figure_2b_has_our_means_over_seeds_and_the_published_headline(recipes, tmp_path):
    figures.make("fig2b_complexity", recipes, tmp_path, check=False)
    lines = {(line["panel"], line["model"]): line for line in drawn_lines(tmp_path, "fig2b_complexity")}
    ours = lines["esc50", "PhiNet M in the space of the tagger's tags"]
    # 0.90 and 0.92: mean 0.91, deviation 0.014142, t of one degree of freedom 12.706
    assert (ours["value"], ours["n_seeds"], ours["seeds_half_95"]) == ("0.910000", "2", "0.127060")
    assert (ours["clips_low_95"], ours["clips_high_95"]) == ("0.860000", "0.950000")
    assert (ours["n_parameters"], ours["n_macs"], ours["origin"]) == ("315581", "20453710", "part")
    mean = lines["mean", "PhiNet M in the space of the tagger's tags"]
    # half-widths over clips: sqrt(0.05² + 0.05²) / 2 = 0.035355 below 0.81
    assert (mean["value"], mean["clips_low_95"]) == ("0.810000", "0.774645")
    headline = lines["esc50", "tinyCLAP"]
    assert (headline["value"], headline["n_parameters"], headline["origin"]) == ("0.763000", "4434547", "published")
    assert lines["mean", "tinyCLAP"]["value"] == "0.728500"
    caption = (tmp_path / "fig2b_complexity.md").read_text("utf-8")
    assert "they do not compare with the published points" in caption and "ESC-50 (fold 5, 144 clips)" in caption


def test_a_result_of_other_words_does_not_count(recipes):
    found = next(score for score in scores.table_scores(recipes) if score.benchmark == "esc50")
    assert sorted(found.values) == ["1234", "1235"]


def test_a_score_without_a_size_is_left_out_by_name(recipes):
    for path in (recipes / "tables/results/zero_shot").glob("*urbansound8k/*.json"):
        record = json.loads(path.read_text("utf-8"))
        del record["model"]
        path.write_text(json.dumps(record), "utf-8")
    (_, lines, _), lacking = figures.complexity(recipes)
    assert lacking.endswith("no model.n_parameters: PhiNet M in the space of the tagger's tags (urbansound8k)")
    assert {line["panel"] for line in lines} == {"esc50"}


def test_a_mean_over_benchmarks_needs_them_all():
    one = scores.Score("m", "a", "part", {"1": 0.8, "2": 0.6}, (0.7, 0.9))
    two = scores.Score("m", "b", "part", {"2": 0.5}, ())
    assert scores.mean_over([one], ["a", "b"]) is None
    both = scores.mean_over([one, two], ["a", "b"])
    assert both.values == {"2": pytest.approx(0.55)} and both.clips == ()


def test_curves_are_averaged_over_seeds_and_joined_over_benchmarks(recipes):
    found = pruning_curves.read_curves(recipes / "tables/results/pruning_curves.csv")
    assert {(curve.model, curve.method) for curve in found} == {("teacher", "plain"), ("M", "plain"), ("M", "pca")}
    student = [curve for curve in found if (curve.model, curve.method) == ("M", "plain")]
    assert [curve.n_dims for curve in student] == [40, 40] and list(student[0].points) == [4, 10, 40]
    point = student[0].points[10]
    assert point.mean == pytest.approx(0.5) and point.clips == pytest.approx((0.4, 0.55)) and len(point.values) == 2
    mean = pruning_curves.mean_curve(student, PARTS)
    # both benchmarks have the same half-width 0.1 below: sqrt(2 · 0.1²) / 2 = 0.0707
    assert mean.points[10].clips[0] == pytest.approx(0.5 - 0.070711, abs=1e-5)


def test_figure_2a_names_the_parts_and_gives_rows_to_models_with_several_methods(recipes):
    (draw, lines, caption), lacking = figures.pruning(recipes)
    with style.styled() as pyplot:
        panels = draw(pyplot).axes
        titles = [axes.get_title() for axes in panels]
        heads = [text.get_text() for axes in panels for text in axes.texts]
    assert titles[:3] == ["ESC-50 fold 5 (144 clips)", "UrbanSound8K fold 2 (888 clips)", "mean of the two"]
    assert len(panels) == 6 and heads == ["M"], "the teacher has one method, so no row of its own"
    assert "on ESC-50 fold 5 (144 clips) and UrbanSound8K" in caption and "dimensions, without bands, of M;" in caption
    assert {line["panel"] for line in lines} == {*PARTS, "mean"} and not lacking
    several = [
        pruning_curves.Curve(f"model {index}", method, "esc50", 4)
        for index in range(6)
        for method in pruning_curves.METHODS[: 2 + index % 3]
    ]
    assert against_dimensions.own_rows(several) == ["model 1", "model 2", "model 4", "model 5"]


def test_wrong_lines_of_the_curves_are_named(recipes):
    path = recipes / "tables/results/pruning_curves.csv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace("plain", "magic"), *lines[3:]]) + "\n", "utf-8")
    with pytest.raises(ConfigError, match=r"line 3 \(1 in all\).*method is plain, variance"):
        pruning_curves.read_curves(path)
    path.write_text("model,benchmark\nm,esc50\n", "utf-8")
    with pytest.raises(ConfigError, match="no column method, seed, kept"):
        pruning_curves.read_curves(path)


def test_what_is_missing_is_said_and_the_rest_is_drawn(recipes, tmp_path):
    (recipes / "tables/results/pruning_curves.csv").unlink()
    command = [sys.executable, "recipes/figures.py", "--recipes", str(recipes), "--output", str(tmp_path / "out")]
    one = [*command, "--only", "fig2a_pruning"]
    done = subprocess.run(one, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "run recipes/pruning_curve.py" in done.stdout and not (tmp_path / "out").exists()
    done = subprocess.run([*command, "--only", "captioning_size_quality"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*command, "--recipes", "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "--recipes nowhere: no such folder\n"


def test_check_finds_a_figure_of_other_numbers(recipes, tmp_path):
    name = "captioning_size_quality"
    assert figures.make(name, recipes, tmp_path, check=True)[0] == "stale"
    figures.make(name, recipes, tmp_path, check=False)
    assert figures.make(name, recipes, tmp_path, check=True)[0] == "current"
    table = recipes / "literature.csv"
    table.write_text(table.read_text("utf-8").replace("0.485", "0.486"), "utf-8")
    assert figures.make(name, recipes, tmp_path, check=True)[0] == "stale"


def test_the_kept_figures_are_what_the_kept_results_say():
    folder = ROOT / "recipes" / "tables" / "figures"
    states = {name: figures.make(name, ROOT / "recipes", folder, check=True) for name in figures.FIGURES}
    assert states["fig2b_complexity"][0] != "missing", "the recipe real_audio has kept its results"
    stale = [said for state, said in states.values() if state == "stale"]
    assert not stale, f"run: python recipes/figures.py\n{stale}"


def test_the_ladder_is_shown_as_soon_as_its_sizes_are_known(recipes):
    path = recipes / "captioning/results/ladder.csv"
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    sized = [line | {"n_parameters": "1805600" if line["loss"] == "teacher" else "350361"} for line in lines]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(sized[0]))
        writer.writeheader()
        writer.writerows(sized)
    steps = captioners.ladder_scores(recipes)
    assert {score.n_parameters for score in steps} == {350361, 1805600}
    assert [score.model for score in steps if score.is_teacher] == ["teacher"]
    assert all(len(score.values) == 3 for score in steps if not score.is_teacher)


def test_names_hide_neither_each_other_nor_a_point():
    points = [(1e6, 0.5, "one"), (1.1e6, 0.5, "two"), (1e6, 0.52, "three"), (1e9, 0.9, "a long name at the edge")]
    with style.styled() as pyplot:
        figure, axes = pyplot.subplots(figsize=(4, 3))
        for x, y, _ in points:
            axes.plot(x, y, "o")
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        style.settle(figure)
        names = style.write_names(axes, [(*point, "black") for point in points], dot_in=0.05)
        renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
        extents = [name.get_window_extent(renderer).extents for name in names]
        dots = axes.transData.transform([point[:2] for point in points])
    assert len(extents) == 4
    for index, box in enumerate(extents):
        assert all(style.overlap(box, other) == 0 for other in extents[index + 1 :])
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in dots)
        assert box[0] >= frame.x0 - 1 and box[2] <= frame.x1 + 1


def test_every_published_number_has_its_source():
    with open(ROOT / "recipes" / "literature.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) >= 50
    for number, line in enumerate(lines, 2):
        assert None not in line and None not in line.values(), f"line {number} has not as many cells as the head"
        assert bool(line["value"]) == bool(line["source"]), f"line {number}"
        assert bool(line["n_parameters"]) == bool(line["size_source"]), f"line {number}"
        assert line["unit"] in ("%", "1") and (not line["value"] or float(line["value"]) <= 100), f"line {number}"
    keys = [(line["model"], line["benchmark"], line["metric"]) for line in lines]
    assert len(set(keys)) == len(keys)
