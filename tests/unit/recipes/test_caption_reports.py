"""The pages about captions are what their result files say: ladder, table of systems, captions side by side."""

import csv
import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes"))

import caption_report
from captioning import ladder_report


def scores(folder, value, dataset="soundscapes", missing=()):
    """A metrics.json as evaluate.py writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {
        "cider_d": {"value": value, "interval_95": [value - 0.1, value + 0.1]},
        "rouge_l": {"value": 0.4, "interval_95": [0.3, 0.5]},
        **{name: {"value": None, "missing": "needs a jar"} for name in missing},
    }
    record = {
        "dataset": dataset,
        "split": "test",
        "metrics": metrics,
        "n_items": 38,
        "model": {"n_parameters": 1234567},
    }
    record |= {"commit": "0" * 40, "date": "2026-01-01T00:00:00+00:00"}
    (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def ladder(tmp_path):
    """Two losses at two shares, with two seeds, and a teacher."""
    scores(tmp_path / "teacher" / "1234" / "scores", 1.0)
    for loss, level in (("mse", 0.5), ("contrastive", 0.8)):
        for fraction in ("1.0", "0.1"):
            for seed, more in (("1", 0.0), ("2", 0.02)):
                scores(tmp_path / f"{loss}_{fraction}" / seed / "scores", level * float(fraction) ** 0.1 + more)
    return tmp_path


def test_the_ladder_s_cells_are_means_and_deviations_over_seeds(ladder):
    rows = ladder_report.read_runs(ladder)
    text = ladder_report.markdown(rows)
    assert "| + sequence + contrastive | 0.810 ± 0.014 (2) |" in text
    assert "| supervised |  |  |" in text, "what was not run is empty"
    assert "teacher: 1.000 [0.900, 1.100]" in text
    assert "contrastive minus the published MSE is +0.300" in text and "contrastive is better here" in text


def test_a_difference_within_its_interval_is_called_none():
    cells = {("contrastive", 0.1): {"1": 0.5, "2": 0.7, "3": 0.4}, ("mse", 0.1): {"1": 0.6, "2": 0.5, "3": 0.4}}
    (line,) = ladder_report.verdict(cells, [0.1])
    assert "these runs do not tell them apart" in line
    mean, half, n_pairs = ladder_report.paired(cells, "contrastive", "mse", [0.1])
    # differences −0.1, 0.2, 0.0: mean 0.0333, deviation 0.1528, t of two degrees of freedom 4.303
    assert (mean, half, n_pairs) == (pytest.approx(0.0333, abs=1e-4), pytest.approx(0.3795, abs=1e-3), 3)


def test_the_ladder_is_written_and_read_back_the_same(ladder, tmp_path):
    command = [sys.executable, "recipes/captioning/ladder_report.py", "--folder", str(ladder)]
    command += ["--output", str(tmp_path / "report")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = ladder_report.markdown(ladder_report.read_table(tmp_path / "report" / "ladder.csv"))
    assert (tmp_path / "report" / "ladder.md").read_text("utf-8") == again + "\n" == done.stdout
    assert (tmp_path / "report" / "ladder.png").stat().st_size > 10_000


def test_a_folder_without_runs_says_so(tmp_path):
    command = [sys.executable, "recipes/captioning/ladder_report.py", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "run recipes/captioning/ladder.sh first" in done.stderr


def test_the_table_of_systems_leaves_missing_metrics_empty_and_names_them(tmp_path):
    scores(tmp_path / "a" / "audiocaps", 0.7, "audiocaps", missing=("spider", "fense"))
    scores(tmp_path / "b" / "audiocaps", 0.6, "audiocaps", missing=("spider", "fense"))
    rows = [caption_report.read_row(f"{name}={tmp_path / name / 'audiocaps'}") for name in ("a", "b")]
    text = caption_report.markdown(rows)
    assert "| audiocaps (test) | 38 | a | 1,234,567 | 0.700 [0.600, 0.800] |  |  |  | 0.400 [0.300, 0.500] |  |" in text
    assert "* SPIDEr is missing: needs a jar" in text and "* FENSE is missing: needs a jar" in text


def test_captions_stand_side_by_side_with_the_references(tmp_path):
    for system, said in (("one", "a dog"), ("two", "rain")):
        folder = tmp_path / system / "audiocaps"
        folder.mkdir(parents=True)
        with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "file_name", "caption_predicted", "caption_1", "caption_2"])
            writer.writerows([f"clip{index}", f"clip{index}.wav", said, f"a person {index}", ""] for index in range(5))
    rows = [word for name in ("one", "two") for word in ("--row", f"{name}={tmp_path / name / 'audiocaps'}")]
    command = [
        sys.executable,
        "recipes/side_by_side.py",
        "--output",
        str(tmp_path / "page.md"),
        "--n_clips",
        "3",
        *rows,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.md").read_text("utf-8")
    assert page.count("**a dog**") == page.count("**rain**") == page.count("person: a person") == 3
