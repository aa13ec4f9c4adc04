"""What recipes call around a training: seeds, and a run that another one starts from."""

import random
import subprocess

import numpy as np
import pytest
import torch

from tinyclap.errors import ConfigError
from tinyclap.training import experiment


def test_seeding_repeats_every_generator():
    def draw():
        assert experiment.seed_everything(11) == 11
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


@pytest.fixture
def commands(monkeypatch):
    """What would have been run, in place of running it; `status` is what it returns."""
    calls = {"run": [], "status": 0}

    def run(command, env, check):
        calls["run"].append((command, env))
        return subprocess.CompletedProcess(command, calls["status"])

    monkeypatch.setattr(experiment.subprocess, "run", run)
    return calls


def test_a_run_that_is_there_is_left_alone(commands, tmp_path):
    (tmp_path / "run/student").mkdir(parents=True)
    (tmp_path / "run/student/config.json").write_text("{}", encoding="utf-8")
    experiment.train_first("hparams/a.yaml", tmp_path / "run")
    assert not commands["run"]


def test_a_missing_run_is_trained_first_by_one_process(commands, tmp_path, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    experiment.train_first("hparams/train_clap.yaml", tmp_path / "none")
    (command, environment), *others = commands["run"]
    recipe = str(experiment.ROOT / "hparams/train_clap.yaml")
    assert not others and command[2:] == [recipe, "--output_folder", str(tmp_path / "none")]
    assert command[1].endswith("train.py")
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & set(environment)


def test_a_failed_run_is_an_error_that_says_where_to_look(commands, tmp_path):
    commands["status"] = 1
    with pytest.raises(ConfigError, match=r"log\.txt"):
        experiment.train_first("hparams/a.yaml", tmp_path / "none")
