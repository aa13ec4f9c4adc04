"""The honest protocol as a user runs it: leaks of a score's clips, two models compared, prompts studied."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import evaluate
from tests import fakes, tiny
from tests.conftest import ROOT
from tinyclap.errors import ConfigError

sys.path.insert(0, str(ROOT / "recipes"))

import leaks
import prompt_study

SEED = 4  # the tiny CLAP is not trained; with these weights it is right and wrong about the clips of one class


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny ESC-50 and a tiny CLAP, scored with its embeddings kept."""
    folder = tmp_path_factory.mktemp("protocol")
    fakes.esc50(folder)
    tiny.saved_clap(folder / "run", SEED)
    words = [str(ROOT / "hparams/esc50.yaml"), "--data_folder", str(folder / "ESC-50-master"), "--subset", "listed"]
    words += ["--weights", str(folder / "run"), "--output_folder", str(folder / "scores"), "--device", "cpu"]
    assert evaluate.main([*words, "--save_embeddings", "True"]) == 0
    return folder


def in_a_shell(*words):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_score_is_told_with_and_without_what_training_heard(place):
    table = place / "ESC-50-master" / "meta" / "esc50.csv"
    done = in_a_shell(
        *(
            "recipes/leaks.py",
            "--train",
            f"folds 1 and 2={table}::1,2",
            "--test",
            f"all={place}/scores/esc50_test.json",
        ),
        *("--predictions", place / "scores", "--output", place / "leaks", "--keep", place / "kept/leaks.json"),
    )
    assert done.returncode == 0, done.stderr
    rows = {row["clip"]: row for row in rows_of(place / "leaks/leaks.csv")}
    clips = rows_of(place / "scores/predictions.csv")
    trained = {rows[clip["id"]]["recording"] for clip in clips if clip["fold"] in "12"}
    shared = {clip["id"] for clip in clips if rows[clip["id"]]["recording"] in trained}
    assert 12 <= len(shared) < 30 and {name for name, row in rows.items() if row["status"] == "shared"} == shared
    clean = [int(clip["correct"]) for clip in clips if clip["id"] not in shared]
    found = json.loads((place / "leaks/exclusion.json").read_text("utf-8"))
    metrics = json.loads((place / "scores/metrics.json").read_text("utf-8"))
    assert found["all"]["accuracy"] == pytest.approx(metrics["value"])
    assert found["all"]["interval_95"] == metrics["interval_95"], "the seed of the intervals is evaluate.py's"
    assert found["without_shared"]["accuracy"] == pytest.approx(np.mean(clean))
    assert found["without_shared"]["n_clips"] == len(clean)
    assert set(found["per_fold"]) == set("12345") and found["per_fold"]["1"]["without_shared"] is None
    assert found["per_training_list"]["folds 1 and 2"]["moves_by"] == pytest.approx(found["moves_by"])
    assert "the accuracy moves by" in done.stdout
    kept = json.loads((place / "kept/leaks.json").read_text("utf-8"))
    assert kept == json.loads((place / "leaks/leaks.json").read_text("utf-8"))
    assert str(place) not in json.dumps(kept), "a kept report names no folder of a machine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "a=x.csv"], "give both --train and --test"),
        ([], "give --train and --test, or --predictions and --exclude"),
    ],
)
def test_half_a_call_is_told_the_other_half(words, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        leaks.main(words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train", "x.csv", "--test", "a=x.csv"], "write it as NAME=PATH"),
        (["--train", "a=nothing.csv", "--test", "b=x.csv"], "no nothing.csv; give a manifest"),
        (["--predictions", "here", "--exclude", "nothing.csv"], "no nothing.csv; write it first"),
    ],
)
def test_a_wrong_call_is_told_what_to_do(words, said):
    with pytest.raises(ConfigError, match=said):
        leaks.main(words)


def test_one_name_is_one_list_and_predictions_are_of_the_listed_corpus(place):
    table = place / "ESC-50-master" / "meta" / "esc50.csv"
    with pytest.raises(ConfigError, match="two lists have one name: ESC-50"):
        leaks.main(["--train", f"ESC-50={table}::1", "--test", f"ESC-50={table}::2", "--output", str(place / "no")])
    with pytest.raises(ConfigError, match="nothing to compare"):
        leaks.main(["--train", f"ESC-50={table}", "--test", f"ESC-50={table}", "--output", str(place / "no")])
    tests = [word for fold in "12" for word in ("--test", f"fold {fold}={table}::{fold}")]
    leaks.main(["--train", f"3={table}::3", *tests, "--output", str(place / "two")])
    score = ["--predictions", str(place / "scores"), "--exclude", str(place / "two/leaks.csv")]
    with pytest.raises(ConfigError, match="choose one by --test_name: fold 1, fold 2"):
        leaks.main([*score, "--output", str(place / "two")])
    assert leaks.main([*score, "--test_name", "fold 1", "--output", str(place / "two")]) == 0
    found = json.loads((place / "two/exclusion.json").read_text("utf-8"))
    assert found["n_not_listed"] == 24 == found["unknown"]["n_clips"], "a clip that was not looked up is not clean"


def test_commands_end_in_words_not_in_a_traceback(place):
    done = in_a_shell("recipes/compare.py", place / "scores", place / "scores" / "predictions.csv")
    assert done.returncode == 0, done.stderr
    assert "| second − first | +0.00 | 0.00 to 0.00 | 0.00 to 0.00 |" in done.stdout and "exact p = 1" in done.stdout
    done = in_a_shell("recipes/leaks.py", "--train", "a=nothing.csv", "--test", "b=nothing.csv")
    assert done.returncode == 1 and done.stderr.startswith("ConfigError: a: no nothing.csv")


def test_the_prompt_study_repeats_the_score_and_flags_the_best(place, capsys):
    metrics = json.loads((place / "scores/metrics.json").read_text("utf-8"))
    words = ["--row", f"tiny={place / 'scores'}", "--output", str(place / "prompts")]
    assert prompt_study.main(words) == 0
    rows = rows_of(place / "prompts/prompt_study.csv")
    default = rows[0]
    assert "default" in default["flag"] and float(default["accuracy"]) == pytest.approx(metrics["value"])
    assert [float(default["low"]), float(default["high"])] == pytest.approx(metrics["interval_95"])
    # the classes have no underscores: CLAP's and tinyCLAP's sentence, the ensemble's five, their mean; two coincide
    assert [row["prompt"] for row in rows] == ["the model's own", "CLAP's", "“{}”", "“the sound of {}”",
                                              "“a recording of {}”", "“{} can be heard”", "ensemble of 5"]  # fmt: skip
    values = [float(row["accuracy"]) for row in rows]
    assert len(set(values)) > 1, "other words change the answers of this model"
    assert [value for row, value in zip(rows, values, strict=True) if "chosen on test" in row["flag"]] == [max(values)]
    assert "From worst to best" in capsys.readouterr().out
    assert (place / "prompts/prompt_study.md").is_file()


def test_a_study_of_other_embeddings_is_refused(place, tmp_path):
    for name in ("metrics.json", "run.json"):
        (tmp_path / name).write_bytes((place / "scores" / name).read_bytes())
    with pytest.raises(ConfigError, match="--save_embeddings True"):
        prompt_study.read_scores(tmp_path)
    with np.load(place / "scores/embeddings.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "embeddings.npz", **{**arrays, "text": arrays["text"][::-1]})
    with pytest.raises(ConfigError, match="are not those of the scores"):
        prompt_study.read_scores(tmp_path)
