"""Command line: recipe, run options and options are told apart, and what cannot be meant is refused in one line."""

import functools
import shutil
from pathlib import Path

import pytest
from speechbrain.utils.run_opts import RunOptions

from tinyclap import losses
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.teachers.checkpoint import CheckpointTeacher
from tinyclap.teachers.msclap import MsClapTeacher
from tinyclap.training import command_line
from tinyclap.training.experiment import train_first


def parse(*words):
    return command_line.parse_command_line(["recipe.yaml", *words])


def test_options_and_run_options_are_told_apart():
    name, run_opts, options = parse("--alpha", "0.75", "--device", "cpu", "--folds=[1, 2]", "--precision=bf16")
    assert name == "recipe.yaml" and options == {"alpha": "0.75", "folds": "[1, 2]"}
    assert run_opts["device"] == "cpu" and run_opts["precision"] == "bf16"
    assert {"device", "precision"} <= run_opts.overridden_args


def test_a_prefix_of_a_run_option_is_a_key_of_the_recipe():
    _, run_opts, options = parse("--data", "x", "--dev", "cuda", "--max_grad", "1")
    assert options == {"data": "x", "dev": "cuda", "max_grad": "1"}
    assert run_opts == RunOptions(param_file="recipe.yaml")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--key", "-1"], "-1"),
        (["--key", "a=b"], "a=b"),
        (["--key=a=b"], "a=b"),
        (["--key="], ""),
        (["--key", "1", "--key", "2"], "2"),
    ],
)
def test_values_are_kept_as_typed(words, value):
    assert parse(*words)[2] == {"key": value}


def test_a_limit_of_steps_is_a_number():
    _, run_opts, _ = parse("--optimizer_step_limit", "5", "--device", "cpu")
    assert run_opts["optimizer_step_limit"] == 5 and run_opts["device"] == "cpu"
    assert {"optimizer_step_limit", "device"} <= run_opts.overridden_args


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--folds", "1", "2"], "--folds"),
        (["--folds", "null", "2"], "--folds"),
        (["--folds"], "--folds"),
        (["--folds", "--alpha", "1"], "--folds"),
        (["1", "--folds", "2"], "'1'"),
        (["--device", "cpu", "cuda"], "'cuda'"),
        (["--debug", "True"], "'True'"),
        (["--device", "cuda:99"], "--device"),
        (["--device", "gpu"], "--device"),
        (["--device", "meta"], "--device"),
        (["--precision", "bf61"], "--precision"),
        (["--max_grad_norm", "five"], "--max_grad_norm"),
        (["--max_grad_norm", "nan"], "--max_grad_norm"),
        (["--ckpt_interval_minutes", "1.5"], "--ckpt_interval_minutes"),
        (["--grad_accumulation_factor", "0"], "--grad_accumulation_factor"),
        (["--optimizer_step_limit", "few"], "--optimizer_step_limit"),
        (["--optimizer_step_limit", "0"], "--optimizer_step_limit"),
        (["--device"], "--device"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(words, named, capfd):
    with pytest.raises(ConfigError) as caught:
        parse(*words)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["--alpha", "1"]])
def test_the_recipe_comes_first(arguments):
    with pytest.raises(ConfigError, match="recipe"):
        command_line.parse_command_line(arguments)


def test_an_error_is_one_line_and_a_status(capfd):
    def fail(arguments):
        raise ConfigError("no such thing")

    assert command_line.run(fail, "A script.", ["a.yaml"]) == 1
    assert capfd.readouterr().err == "ConfigError: no such thing\n"


def test_ctrl_c_is_one_line_that_says_how_to_go_on(capfd):
    def stop(arguments):
        raise KeyboardInterrupt

    assert command_line.run(stop, "A script.", ["a.yaml"]) == 130
    shown = capfd.readouterr().err
    assert shown.count("\n") == 1 and "checkpoint" in shown


def test_help_of_a_script_and_of_a_recipe(tmp_path, monkeypatch, capfd):
    (tmp_path / "hparams").mkdir()
    (tmp_path / "hparams/a.yaml").write_text("# Trains a thing.\n#\n# train.py a.yaml\nseed: 1  # of all\n")
    (tmp_path / "hparams/b.yaml").write_text("# Scores a thing.\n#\n# evaluate.py b.yaml\nseed: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py"])
    assert command_line.run(None, "The script.", ["--help"]) == 0
    shown = capfd.readouterr().out
    assert "The script." in shown and "Trains a thing." in shown and "Scores" not in shown
    assert command_line.run(None, "The script.", ["hparams/a.yaml", "--help"]) == 0
    shown = capfd.readouterr().out
    assert "Trains a thing." in shown and "--seed 1" in shown and "of all" in shown and "--device" in shown
    assert command_line.run(None, "The script.", ["hparams/c.yaml", "-h"]) == 1
    assert "hparams/c.yaml" in capfd.readouterr().err


def test_modules_are_imported_by_name_or_file_and_noted_by_name(tmp_path):
    for name in ("fig_net", "lime_net"):
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    given = f"fig_net,{tmp_path}/lime_net.py"
    assert command_line.import_named(given, tmp_path / "recipe.yaml") == ["fig_net", "lime_net"]
    assert command_line.import_named(None, tmp_path / "recipe.yaml") == []


def test_a_debug_run_writes_into_a_temporary_folder(tmp_path):
    (tmp_path / "recipe.yaml").write_text("output_folder: results\nlog: !ref <output_folder>/log\n", encoding="utf-8")

    def output_folder(*words):
        path, run_opts, options = command_line.parse_command_line([str(tmp_path / "recipe.yaml"), *words])
        return command_line.open_recipe(path, options, run_opts).build()["output_folder"]

    assert output_folder() == output_folder("--debug_persistently") == "results"
    first, second = output_folder("--debug"), output_folder("--debug", "--output_folder", "mine")
    try:
        assert first != second and Path(first).is_dir() and not {"results", "mine"} & {first, second}
    finally:
        shutil.rmtree(first)
        shutil.rmtree(second)
    assert output_folder("--debug", "--debug_persistently", "--output_folder", "mine") == "mine"


# What objects cannot do together -------------------------------------------------------------------------------------


class AnyBrain:
    """A Brain without demands."""


def objects(**changes):
    made = {"brain_class": AnyBrain, "modules": {}, "prepare": [], "load_weights": []}
    return {**made, "train_dataloader_opts": {"batch_size": 8}, **changes}


@pytest.mark.parametrize("loss", [losses.ContrastiveLoss(), losses.ClapContrastiveLoss(), losses.AffinityLoss()])
def test_a_loss_that_compares_examples_needs_more_than_one(loss):
    terms = {"text": {"loss": loss}}
    command_line.check_recipe(objects(terms=terms))
    with pytest.raises(ConfigError, match=f"--batch_size 1: {type(loss).__name__}"):
        command_line.check_recipe(objects(terms=terms, train_dataloader_opts={"batch_size": 1}))


def test_a_batch_of_one_is_enough_for_other_losses():
    terms = {"distill": {"loss": losses.CosineLoss()}}
    command_line.check_recipe(objects(terms=terms, train_dataloader_opts={"batch_size": 1}))


def test_a_run_that_is_to_teach_is_there_or_trained_first(tmp_path):
    teacher = CheckpointTeacher(str(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="no model there"):
        command_line.check_recipe(objects(load_weights=[None, teacher]))
    first = functools.partial(train_first, recipe="hparams/train_clap.yaml", folder=str(tmp_path / "run"))
    command_line.check_recipe(objects(load_weights=[teacher], prepare=[first]))
    command_line.check_recipe(objects(load_weights=[MsClapTeacher("download")]))


def test_an_option_of_the_script_s_own_is_checked():
    options = {"profile": "True", "alpha": "1"}
    assert command_line.own_option(options, "profile", False) is True and options == {"alpha": "1"}
    assert command_line.own_option({}, "profile", False) is False
    with pytest.raises(ConfigError, match="--profile yes"):
        command_line.own_option({"profile": "yes"}, "profile", False)
