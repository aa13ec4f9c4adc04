"""The rows of the captioning tables: the words of the ladder, trainings that are shared."""

import os
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes" / "tables"))

import rows
import tasks

TABLES = ("captioning", "data_scarce")
SEEDS = {"paper": "1234 1235 1236 1237", "soundscapes": "1234 1235 1236"}


@pytest.fixture(scope="module")
def table():
    """Every row of both tables, by its id."""
    return {row["row_id"]: row for name in TABLES for row in rows.read_table(name)}


def options(words):
    """``--key value …`` as a dict; values are read as YAML."""
    words = shlex.split(words) if isinstance(words, str) else words
    return {key[2:]: yaml.safe_load(value) for key, value in zip(words[::2], words[1::2], strict=True)}


def test_every_experiment_of_the_captioning_paper_has_rows(table):
    there = {row["experiment"] for row in table.values()}
    assert there == {f"B{index}" for index in range(12)}
    for corpus in ("audiocaps", "clotho", "soundscapes"):
        assert sum(row_id.endswith(corpus) for row_id in table) >= 30


def test_what_trains_has_three_seeds_or_more_and_what_is_quoted_has_its_source(table):
    for row in table.values():
        if row["hparams"] and row["row_id"] != "B0_soundscapes":
            assert row["seeds"] == SEEDS[row["group"]], row["row_id"]
        assert bool(row["paper_value"]) == bool(row["paper_source"]) == bool(row["tolerance"]), row["row_id"]


def test_whole_corpora_share_their_trainings_with_the_scarce_ones(table):
    planner = tasks.Planner(table)
    pairs = [("B1", "supervised"), ("B2", "sequence"), ("B3", "mse"), ("B4", "contrastive"), ("B7", "audio_only")]
    for corpus in ("audiocaps", "clotho", "soundscapes"):
        for experiment, loss in pairs:
            one = planner.score(f"{experiment}_{corpus}", "1235")
            assert planner.score(f"B6_{loss}_100_{corpus}", "1235") is one
    assert planner.score("B6_mse_10_clotho", "1235") is not planner.score("B6_mse_100_clotho", "1235")


def test_all_students_on_soundscapes_have_one_teacher(table):
    planner = tasks.Planner(table)
    teachers = set()
    for row_id in ("B2_soundscapes", "B5_teacher_encoder_soundscapes", "B6_mse_10_soundscapes"):
        for seed in ("1234", "1235"):
            student = planner.score(row_id, seed).needs["{run}"]
            teachers.add(student.needs["{run:B0_soundscapes@1234}"].folders[0])
    assert len(teachers) == 1


def test_scarce_labels_are_trained_on_for_as_many_steps(table):
    scarce = [row for row in table.values() if row["experiment"] == "B6" and "_100_" not in row["row_id"]]
    assert len(scarce) == 48
    for row in scarce:
        given = options(row["overrides"])
        assert given["labelled_fraction"] < 1
        if row["group"] == "paper":
            assert given["examples_per_epoch"] == (49838 if "audiocaps" in row["row_id"] else 3839)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """What ladder.sh would run for one seed: the words of every call of train.py and evaluate.py."""
    folder = tmp_path_factory.mktemp("ladder")
    recorder = folder / "python"
    recorder.write_text('#!/bin/sh\nfor word; do printf "%s\\t" "$word"; done >>"$CALLS"\necho >>"$CALLS"\n')
    recorder.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    environment |= {"SEEDS": "1235", "JOBS": "1"}
    script = [str(ROOT / "recipes" / "captioning" / "ladder.sh"), str(folder / "out")]
    subprocess.run(["bash", *script], env=environment, check=True, capture_output=True, timeout=120)
    calls = (folder / "calls").read_text().replace(str(folder / "out"), "OUT").splitlines()
    return [call.rstrip("\t").split("\t") for call in calls]


def test_the_rows_on_soundscapes_train_with_the_words_of_the_ladder(table, ladder):
    places = {
        "{soundscapes}": "OUT/soundscapes",
        "{run:B0_soundscapes@1234}": "OUT/teacher/1234",
        "{target_cache:ladder}": "OUT/targets",
    }
    trained = {}
    for call in ladder:
        if call[0] == "train.py":
            given = options([word for word in call[2:] if word != "--noprogressbar"])
            trained[given.pop("output_folder")] = (call[1], given)
    assert len(trained) == 25
    for folder, (recipe, given) in trained.items():
        cell = folder.split("/")[1]
        loss, _, fraction = cell.rpartition("_")
        row_id = f"B6_{loss}_{round(100 * float(fraction))}_soundscapes" if loss else "B0_soundscapes"
        words = table[row_id]["overrides"]
        for placeholder, place in places.items():
            words = words.replace(placeholder, place)
        seed = {"seed": 1235} if loss else {}
        assert (table[row_id]["hparams"], {**options(words), **seed}) == (recipe, given), row_id


def test_the_rows_on_soundscapes_are_scored_with_the_words_of_the_ladder(table, ladder):
    scored = {tuple(call[1:2] + call[6:10]) for call in ladder if call[0] == "evaluate.py"}
    assert scored == {
        (
            "hparams/soundscapes_captions.yaml",
            "--data_folder",
            "OUT/soundscapes",
            "--metrics",
            "[cider_d, bleu_4, rouge_l]",
        )
    }
    rows_on_soundscapes = [row for row in table.values() if row["score"] == "hparams/soundscapes_captions.yaml"]
    assert len(rows_on_soundscapes) == 33
    for row in rows_on_soundscapes:
        given = options(row["score_overrides"])
        assert given == {
            "data_folder": {"soundscapes": None},
            "weights": {"run": None},
            "metrics": ["cider_d", "bleu_4", "rouge_l"],
        }
