"""Command line, recipe and the run's folder: what is meant is done, what is not meant is named."""

import json
import logging
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from speechbrain.utils.run_opts import RunOptions

from tinyclap.errors import ConfigError
from tinyclap.training import experiment

RECIPE = """\
seed: 3
output_folder: !ref results/<seed>
data_folder: !PLACEHOLDER
folds: null
alpha: 1.5
max_grad_norm: 5.0
loss_weights:
    distill: 1.0
    hint: 0.5
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: 2
embedded_default:
    unless: [data_folder, folds]
    use:
        data_folder: built-in
        alpha: 0.5
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def parse(*words):
    return experiment.parse_command_line(["recipe.yaml", *words])


# Command line ---------------------------------------------------------------------------------------------------------


def test_keys_and_run_options_are_told_apart():
    name, run_opts, overrides = parse("--alpha", "0.75", "--device", "cpu", "--folds=[1, 2]", "--precision=bf16")
    assert name == "recipe.yaml" and overrides == {"alpha": 0.75, "folds": [1, 2]}
    assert run_opts["device"] == "cpu" and run_opts["precision"] == "bf16"
    assert {"device", "precision"} <= run_opts.overridden_args


def test_a_prefix_of_a_run_option_is_a_key_of_the_recipe():
    _, run_opts, overrides = parse("--data", "x", "--dev", "cuda", "--max_grad", "1")
    assert overrides == {"data": "x", "dev": "cuda", "max_grad": 1}
    assert run_opts == RunOptions(param_file="recipe.yaml")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--key", "1e-3"], 0.001),
        (["--key", "-1"], -1),
        (["--key", "null"], None),
        (["--key", "True"], True),
        (["--key", "a=b"], "a=b"),
        (["--key=a=b"], "a=b"),
        (["--key", "{hint: 0}"], {"hint": 0}),
        (["--key", "this is the sound of {}"], "this is the sound of {}"),
        (["--key", '"{} can be heard"'], "{} can be heard"),
        (["--key", "1", "--key", "2"], 2),
    ],
)
def test_values_are_read_as_yaml(words, value):
    assert parse(*words)[2] == {"key": value}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1", "2"], "--folds has more than one value: put '1 2' in quotation marks"),
        (["--folds", "null", "2"], "--folds has more than one value"),
        (["--folds"], "--folds has no value; write --folds True"),
        (["--folds", "--alpha", "1"], "--folds has no value"),
        (["1", "--folds", "2"], "'1' stands alone"),
        (["--device", "cpu", "cuda"], "'cuda' stands alone"),
        (["--debug", "True"], "'True' stands alone"),
        (["--prompt", "{} can be heard"], "--prompt: .* is not YAML; .*'\"{} can be heard\"'"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(*words)


@pytest.mark.parametrize("arguments", [[], ["--alpha", "1"]])
def test_the_recipe_comes_first(arguments):
    with pytest.raises(ConfigError, match="the recipe comes first"):
        experiment.parse_command_line(arguments)


# Recipe ---------------------------------------------------------------------------------------------------------------


def test_overrides_reach_references_and_nested_maps(recipe):
    given = {"seed": 4, "data_folder": "/corpora", "loss_weights": {"hint": 0}}
    hparams, overrides = experiment.load_hparams(recipe, given)
    assert hparams["output_folder"] == "results/4" and hparams["loss_weights"] == {"distill": 1.0, "hint": 0}
    assert overrides == given and hparams["alpha"] == 1.5


def test_a_mistyped_key_is_answered_with_the_right_one(recipe):
    with pytest.raises(ConfigError, match=r"has no key --data_foldr; did you mean --data_folder.*Its keys are: seed, "):
        experiment.load_hparams(recipe, {"data_foldr": "/corpora"})
    with pytest.raises(ConfigError, match="did you mean --precision"):
        experiment.load_hparams(recipe, {"data_folder": "/corpora", "precison": "bf16"})


def test_the_demonstration_s_block_is_no_option(recipe):
    with pytest.raises(ConfigError, match="no key --embedded_default"):
        experiment.load_hparams(recipe, {"embedded_default": None})


def test_what_must_be_given_is_asked_for(recipe):
    with pytest.raises(ConfigError, match="needs --data_folder …"):
        experiment.load_hparams(recipe, {"folds": [1]})
    with pytest.raises(ConfigError, match="needs --data_folder …"):
        experiment.load_hparams(recipe, {"folds": [1], "data_folder": None})


def test_the_bare_command_is_the_built_in_demonstration_and_says_so(recipe, caplog):
    with caplog.at_level(logging.WARNING, "tinyclap.training.experiment"):
        hparams, overrides = experiment.load_hparams(recipe, {"seed": 9})
    assert overrides == {"seed": 9, "data_folder": "built-in", "alpha": 0.5}
    assert hparams["data_folder"] == "built-in" and hparams["alpha"] == 0.5
    assert "built-in demonstration" in caplog.text and "alpha=0.5" in caplog.text


def test_the_user_s_value_is_stronger_than_the_demonstration_s(recipe):
    assert experiment.embedded_default(recipe, {"alpha": 3.0}) == {"data_folder": "built-in"}


@pytest.mark.parametrize("given", [{"data_folder": "/corpora"}, {"folds": [1]}])
def test_the_user_s_own_data_are_never_mixed_with_the_demonstration(recipe, given):
    assert experiment.embedded_default(recipe, given) == {}


def test_a_recipe_without_a_demonstration_has_none(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("seed: 1\n", encoding="utf-8")
    assert experiment.embedded_default(path, {}) == {}
    assert experiment.load_hparams(path, {"seed": 2})[0] == {"seed": 2}


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(recipe):
    with pytest.raises(ConfigError, match=r"no recipe .*recip\.yaml; there are: .*recipe\.yaml"):
        experiment.load_hparams(recipe.with_name("recip.yaml"), {})


# Run ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(recipe, tmp_path, monkeypatch):
    """Starts a run in tmp_path/run; what SpeechBrain changes in the process is put back."""
    script = tmp_path / "train.py"
    script.write_text("# the script\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def start_run(**overrides):
        given = {"output_folder": str(tmp_path / "run"), "data_folder": "x", **overrides}
        hparams, given = experiment.load_hparams(recipe, given)
        experiment.start_run(hparams, recipe, given, RunOptions(device="cpu"))
        return tmp_path / "run"

    yield start_run
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_run_s_folder_says_what_ran(start):
    folder = start(alpha=0.7)
    note = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert note["recipe"] == "recipe.yaml" and note["overrides"]["alpha"] == 0.7
    resolved = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "alpha: 0.7" in resolved and "<seed>" not in resolved
    assert (folder / "train.py").read_text(encoding="utf-8") == "# the script\n"
    assert not (folder / "experiment.py").exists()
    (made_by,) = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert made_by["device"] == "cpu" and torch.__version__.startswith(made_by["versions"]["torch"])
    assert {"commit", "dirty"} <= set(made_by)


def test_a_folder_that_holds_a_run_with_other_options_is_refused(start):
    folder = start(alpha=0.7)
    start(alpha=0.7)  # the same options resume it
    assert len(json.loads((folder / "provenance.json").read_text(encoding="utf-8"))) == 2, "each start is on record"
    note = (folder / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"(?s)other options: .*0\.7.*now .*0\.8.*another --output_folder"):
        start(alpha=0.8)
    assert (folder / "run.json").read_bytes() == note


def test_a_score_may_be_made_again_with_other_options(start, tmp_path, recipe):
    folder = start(alpha=0.7)
    hparams = {"output_folder": str(folder)}  # no epoch counter: nothing is trained, so nothing is mixed
    experiment.start_run(
        hparams, recipe, {"alpha": 0.8, "data_folder": "x", "output_folder": str(folder)}, RunOptions(device="cpu")
    )
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["overrides"]["alpha"] == 0.8


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_provenance_has_the_commit_and_whether_it_was_changed(tmp_path):
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    git(tmp_path, "init")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-m", "first")
    state = experiment.git_state(tmp_path)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "b.txt").write_text("untracked", encoding="utf-8")
    assert experiment.git_state(tmp_path) == state
    (tmp_path / "a.txt").write_text("two", encoding="utf-8")
    assert experiment.git_state(tmp_path) == {**state, "dirty": True}


def test_provenance_without_a_checkout_says_that_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "installed").mkdir()
    assert experiment.git_state(tmp_path / "installed") == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", "")
    assert experiment.git_state(tmp_path) == {"commit": None, "dirty": None}


def test_provenance_names_versions_device_and_date():
    made_by = experiment.provenance("cpu")
    where = {"device", "n_threads", "machine", "processor", "n_cpus"}
    assert {"commit", "dirty", "date", "versions", *where} == set(made_by)
    assert made_by["processor"] and made_by["n_cpus"] >= 1
    assert made_by["date"].endswith("+00:00")
    assert {"python", "tinyclap", "torch", "speechbrain", "transformers"} <= set(made_by["versions"])


def test_seeding_repeats_every_generator():
    def draw():
        assert experiment.seed_everything(11) == 11
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    experiment.write_json(path, {"value": 0.5, "name": "Zoë"})
    with pytest.raises(TypeError):
        experiment.write_json(path, {"value": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"value": 0.5, "name": "Zoë"}
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


# A run that another one starts from -----------------------------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch):
    """What would have been run, in place of running it; `status` is what it answers."""
    calls = {"run": [], "status": 0}

    def run(command, env, check):
        calls["run"].append((command, env))
        return subprocess.CompletedProcess(command, calls["status"])

    monkeypatch.setattr(experiment.subprocess, "run", run)
    return calls


def test_a_run_that_is_there_or_not_wanted_is_left_alone(commands, tmp_path):
    assert experiment.ensure_run("hparams/a.yaml", tmp_path / "none", wanted=False) == str(tmp_path / "none")
    experiment.write_json(tmp_path / "run/student/config.json", {})
    assert experiment.ensure_run("hparams/a.yaml", tmp_path / "run", wanted=True) == str(tmp_path / "run")
    assert not commands["run"]


def test_a_missing_run_is_trained_first_by_one_process(commands, tmp_path, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    experiment.ensure_run("hparams/a.yaml", tmp_path / "none", wanted=True)
    (command, environment), *others = commands["run"]
    assert not others and command[1:] == ["train.py", "hparams/a.yaml", "--output_folder", str(tmp_path / "none")]
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(environment)


def test_a_failed_run_is_an_error_that_says_where_to_look(commands, tmp_path):
    commands["status"] = 1
    with pytest.raises(ConfigError, match=r"failed; see .*log\.txt"):
        experiment.ensure_run("hparams/a.yaml", tmp_path / "none", wanted=True)


def test_a_map_can_take_the_place_of_null_and_joins_a_map(recipe):
    hparams, _ = experiment.load_hparams(
        recipe, {"data_folder": "x", "folds": {"a": [1, 2]}, "loss_weights": {"hint": 0}}
    )
    assert hparams["folds"] == {"a": [1, 2]}
    assert hparams["loss_weights"] == {"distill": 1.0, "hint": 0}


@pytest.mark.parametrize("content", [b"", b"[1]", b"a,b", b"\x89PNG", b"a: [", b"a: 1\na: 2\n"])
def test_a_recipe_that_is_none_is_named(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="a.yaml: no recipe"):
        experiment.load_hparams(str(tmp_path / "a.yaml"), {})
