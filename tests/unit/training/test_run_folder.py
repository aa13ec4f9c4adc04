"""The folder of a run: its records, and what may be resumed."""

import json
import logging
import sys

import pytest
import torch
from speechbrain.utils.run_opts import RunOptions

from tinyclap.errors import ConfigError
from tinyclap.training import run_folder
from tinyclap.training.recipe import Recipe

RECIPE = """\
seed: 3
output_folder: !ref results/<seed>
alpha: 1.5
number_of_epochs: 2
save: !ref <output_folder>/save
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: !ref <number_of_epochs>
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def start(recipe, tmp_path, monkeypatch):
    """Starts a run in tmp_path/run; what SpeechBrain changes in the process is put back."""
    script = tmp_path / "train.py"
    script.write_text("# the script\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def start_run(folder="run", modules=(), **options):
        made = Recipe(recipe, {"output_folder": str(tmp_path / folder), **options})
        run_folder.start_run(made.build(), made, RunOptions(device="cpu"), modules)
        return tmp_path / folder

    yield start_run
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "log.txt"}


def test_a_run_s_folder_records_options_settings_script_and_machine(start):
    folder = start(alpha="0.7")
    note = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert note["recipe"] == "recipe.yaml" and note["overrides"]["alpha"] == "0.7" and note["settings"]["alpha"] == 0.7
    resolved = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "alpha: 0.7" in resolved and "<seed>" not in resolved
    assert (folder / "train.py").read_text(encoding="utf-8") == "# the script\n"
    assert not (folder / "run_folder.py").exists()
    (made_by,) = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert made_by["device"] == "cpu" and torch.__version__.startswith(made_by["versions"]["torch"])
    assert {"commit", "dirty"} <= set(made_by)


@pytest.mark.parametrize("again", [{"alpha": "0.7"}, {"alpha": "0.70"}, {"alpha": "7e-1"}, {"alpha": 0.7, "seed": "3"}])
def test_the_same_values_resume_a_run(start, again):
    folder = start(alpha="0.7")
    start(**again)
    assert len(json.loads((folder / "provenance.json").read_text(encoding="utf-8"))) == 2, "each start is on record"


def test_a_run_that_was_moved_is_resumed(start, tmp_path):
    start(alpha="0.7").rename(tmp_path / "archive")
    start("archive", alpha="0.7")
    with pytest.raises(ConfigError, match="alpha"):
        start("archive", alpha="0.8")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"alpha": "0.8"}, ["alpha: 0.7, now 0.8"]),
        ({}, ["alpha: 0.7, now 1.5"]),
        ({"alpha": "0.7", "seed": "4"}, ["seed: 3, now 4"]),
        ({"alpha": "0.7", "number_of_epochs": "1"}, ["number_of_epochs: 2, now 1"]),
        ({"alpha": "0.8", "number_of_epochs": "3"}, ["alpha: 0.7, now 0.8"]),
    ],
)
def test_other_options_are_refused_by_what_differs_and_nothing_is_written(start, change, named):
    folder = start(alpha="0.7")
    before = contents(folder)
    with pytest.raises(ConfigError) as caught:
        start(**change)
    message = str(caught.value)
    assert all(words in message for words in named) and "--output_folder" in message and "\n" not in message
    assert contents(folder) == before


def test_more_epochs_go_on_with_a_warning(start):
    folder = start()
    assert "learning rate" not in (folder / "log.txt").read_text(encoding="utf-8")
    start(number_of_epochs="5")
    assert "learning rate" in (folder / "log.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]["epoch_counter.limit"] == 5


@pytest.mark.parametrize("content", ['{"recipe": "recipe.yaml", "overrides": {}}', "{", "[]"])
def test_a_record_of_an_older_version_or_a_damaged_one_is_refused(start, content):
    folder = start()
    (folder / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="--output_folder"):
        start()
    assert (folder / "run.json").read_text(encoding="utf-8") == content


def test_a_recipe_with_other_keys_is_refused(start, recipe):
    start()
    recipe.write_text(RECIPE + "beta: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="beta: absent, now 2"):
        start()


def test_another_recipe_is_refused(start, recipe):
    folder = start()
    note = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**note, "recipe": "other.yaml"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="other.yaml"):
        start()


def test_a_score_may_be_made_again_with_other_options(start, recipe):
    recipe.write_text(RECIPE.partition("epoch_counter")[0], encoding="utf-8")  # nothing is trained, so nothing is mixed
    folder = start(alpha="0.7")
    start(alpha="0.8")
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]["alpha"] == 0.8


def test_modules_of_one_s_own_are_noted(start, recipe, tmp_path):
    (tmp_path / "own_part_noted.py").write_text("class Part:\n    pass\n", encoding="utf-8")
    recipe.write_text(RECIPE + "part: !new:own_part_noted.Part\n", encoding="utf-8")
    noted = json.loads((start() / "run.json").read_text(encoding="utf-8"))["modules"]
    assert noted["own_part_noted"]["file"] == str(tmp_path / "own_part_noted.py")
    assert len(noted["own_part_noted"]["sha256"]) == 64 and not any(name.startswith("tinyclap") for name in noted)
