"""evaluate.py as a user runs it: what it writes, that the order of classes is nothing, and what it refuses."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import evaluate
from tests import fakes, tiny
from tinyclap.audio.io import read_audio
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.training import command_line

ROOT = Path(__file__).resolve().parents[2]
RECIPE = str(ROOT / "hparams/esc50.yaml")
SEED = 4  # the tiny CLAP is not trained; with these weights it is right and wrong about the clips of one class
CLASSES = ["dog", "rain", "siren"]


def options(corpus, weights, output, *more):
    return [RECIPE, "--data_folder", str(corpus), "--weights", str(weights), "--output_folder", str(output),
            "--subset", "listed", "--device", "cpu", *more]  # fmt: skip


def in_a_shell(arguments, folder):
    command = [sys.executable, str(ROOT / "evaluate.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def written(output):
    with open(output / "predictions.csv", newline="", encoding="utf-8") as file:
        return json.loads((output / "metrics.json").read_text(encoding="utf-8")), list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny ESC-50 of 30 clips and the run of a tiny CLAP."""
    folder = tmp_path_factory.mktemp("evaluate")
    fakes.esc50(folder)
    tiny.saved_clap(folder / "run", SEED)
    return folder


@pytest.fixture(scope="module")
def scored(place):
    """What the command said, and the folder that it wrote, which is the default one."""
    arguments = options(place / "ESC-50-master", place / "run", place / "scores")
    result = in_a_shell(arguments, place)
    assert result.returncode == 0, result.stderr
    return result, place / "scores"


def test_metrics_tell_the_score_and_where_it_comes_from(scored):
    metrics, _ = written(scored[1])
    assert (metrics["dataset"], metrics["n_items"], metrics["n_classes"]) == ("esc50", 30, 3)
    low, high = metrics["interval_95"]
    assert 0 <= low <= metrics["value"] <= high <= 1 and 0 < metrics["value"] < 1
    assert {fold: part["n"] for fold, part in metrics["per_fold"].items()} == dict.fromkeys("12345", 6)
    assert {name: part["n"] for name, part in metrics["per_class"].items()} == dict.fromkeys(CLASSES, 10)
    assert metrics["prompts"] == [[f"this is the sound of {name}"] for name in CLASSES]
    assert metrics["seed"] == 1234 and metrics["score"] == "cosine"
    assert {"commit", "dirty", "date", "device", "versions", "n_threads"} <= set(metrics)
    model = metrics["model"]
    assert model["kind"] == "checkpoint" and 0 < model["n_parameters"] < 100_000
    assert model["n_macs"] >= model["n_macs_paper"] > 0


def test_predictions_agree_with_the_metrics_and_with_themselves(scored):
    metrics, rows = written(scored[1])
    assert len({row["id"] for row in rows}) == 30
    assert sum(int(row["correct"]) for row in rows) / 30 == pytest.approx(metrics["value"])
    for row in rows:
        scores = {name: float(row[f"score:{name}"]) for name in CLASSES}
        assert row["prediction"] == max(scores, key=scores.get)
        assert int(row["correct"]) == (row["prediction"] == row["label"])
    for key in ("fold", "label"):
        for name, part in metrics[f"per_{'class' if key == 'label' else key}"].items():
            hits = [int(row["correct"]) for row in rows if row[key] == name]
            assert part == {"accuracy": pytest.approx(sum(hits) / len(hits)), "n": len(hits)}


def test_scores_are_the_cosines_of_the_clip_and_the_class_prompts(scored, place):
    _, rows = written(scored[1])
    clap = tiny.clap(SEED)
    classes = clap.embed_text([f"this is the sound of {name}" for name in CLASSES])
    for row in rows[:3]:
        wav, rate = read_audio(place / f"ESC-50-master/audio/{row['id']}.wav")
        expected = clap.embed_audio(torch.from_numpy(wav), rate) @ classes.T
        found = torch.tensor([[float(row[f"score:{name}"]) for name in CLASSES]])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_command_ends_with_the_score_in_words(scored):
    result, output = scored
    metrics, _ = written(output)
    line = f"zero-shot top-1 accuracy {100 * metrics['value']:.2f} %"
    assert line in result.stderr + result.stdout and "n = 30, 3 classes" in result.stderr + result.stdout
    assert {"metrics.json", "predictions.csv", "provenance.json", "hyperparams.yaml", "run.json", "evaluate.py"} <= {
        path.name for path in output.iterdir()
    }


def test_the_order_of_the_table_s_rows_changes_nothing(scored, tmp_path):
    before, rows = written(scored[1])
    root = fakes.esc50(tmp_path)
    header, *lines = (root / "meta/esc50.csv").read_text().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    (root / "meta/esc50.csv").write_text(header + "".join(lines))
    evaluate.main(options(root, tiny.saved_clap(tmp_path / "run", SEED), tmp_path / "scores"))
    after, shuffled = written(tmp_path / "scores")
    assert [row["id"] for row in shuffled] != [row["id"] for row in rows]
    assert after["value"] == before["value"] and after["per_class"] == before["per_class"]
    # a clip's windows share their batch with others, which moves the last digits
    predictions = [{row["id"]: row["prediction"] for row in part} for part in (rows, shuffled)]
    assert predictions[0] == predictions[1]


def test_folds_prompts_and_batches_are_options(place, tmp_path):
    arguments = options(place, place / "run", tmp_path, "--folds", "[5]", "--batch_size", "4", "--prompt_templates")
    evaluate.main([*arguments, "['{}', 'I hear {}']"])
    metrics, rows = written(tmp_path)
    assert metrics["n_items"] == 6 and {row["fold"] for row in rows} == {"5"}
    assert metrics["prompts"][0] == ["dog", "I hear dog"]


@pytest.mark.parametrize("weights", ["nowhere", "empty"])
def test_a_folder_without_weights_is_refused(place, tmp_path, weights):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"--weights .*{weights}: no (such file or folder|model there)"):
        evaluate.main(options(place, tmp_path / weights, tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def test_a_model_of_a_module_that_was_not_imported_is_refused_before_anything_is_written(place, tmp_path):
    run = tiny.saved_clap(tmp_path / "run", SEED)
    config = json.loads((run / "student/config.json").read_text())
    config["model"] |= {"type": "PearNet", "module": "pear_net"}
    (run / "student/config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="give --import pear_net"):
        evaluate.main(options(place, run, tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def test_a_refusal_is_one_line_and_a_status_that_is_not_zero(place, tmp_path):
    result = in_a_shell(options(place, tmp_path / "nowhere", tmp_path / "scores"), tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("ConfigError: --weights ")
    assert "Traceback" not in result.stderr


def test_a_model_whose_weights_the_recipe_forgot_to_load_is_refused(place, tmp_path):
    recipe = tmp_path / "forgets.yaml"
    text = Path(RECIPE).read_text().replace("load_weights:\n    - !ref <model[model]>\n", "load_weights: []\n")
    recipe.write_text(text.replace("!include:parts", f"!include:{ROOT}/hparams/parts"))
    with pytest.raises(CheckpointError, match="nothing to score: the model's weights were not loaded"):
        evaluate.main([str(recipe), *options(place, place / "run", tmp_path / "scores")[1:]])
    assert not (tmp_path / "scores/metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--promt_templates", "{}"], "has no key --promt_templates; did you mean --prompt_templates"),
        (["--model", "msclap"], "--model msclap: no such part; choose one of .*msclap2022"),
        (["--prompt_templates", "the sound of it"], "must hold the class name's place, {}, exactly once"),
        (["--prompt_slashes", "comma"], "--prompt_slashes comma: unknown; choose one of space, keep"),
        (["--folds", "[5, 7]"], "--folds 7: unknown; choose one of 1, 2, 3, 4, 5"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(place, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        evaluate.main(options(place, place / "run", tmp_path / "scores", *arguments))


def test_what_must_be_given_is_asked_for(place):
    with pytest.raises(ConfigError, match="needs --data_folder …, --weights …; see its head"):
        evaluate.main([RECIPE])
    with pytest.raises(ConfigError, match="no recipe .*esc5.yaml; there are: .*esc50.yaml"):
        evaluate.main([RECIPE.replace("esc50", "esc5"), "--weights", "x"])


def test_no_arguments_show_how_it_is_used(capsys):
    for words in ([], ["--help"]):
        assert command_line.run(evaluate.main, evaluate.__doc__, words) == 0
    assert "python evaluate.py hparams/esc50.yaml --data_folder" in capsys.readouterr().out
