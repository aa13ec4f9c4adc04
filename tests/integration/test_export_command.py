"""``tinyclap export`` from a run to a folder that ``tinyclap classify`` takes; export.py has the same options."""

import csv
import subprocess
import sys

import pytest

pytest.importorskip("onnx", reason="export needs onnx")
pytest.importorskip("onnxscript", reason="export needs onnxscript")

import export
from tests import tiny
from tests.fakes import write_audio
from tinyclap.cli.main import parser, part_of

PATIENCE_S = 300


def test_the_script_and_the_command_have_the_same_options():
    command = part_of(parser("export"), "export")
    assert command.format_help().split("\npositional")[1].split("\nexamples")[0].strip() == (
        export.parser().format_help().split("\npositional")[1].strip()
    )


def test_a_run_is_exported_and_the_folder_names_sounds(tmp_path):
    run = tiny.saved_clap(tmp_path / "run")
    write_audio(tmp_path / "dog.wav", 1.0, 16000)
    words = ["export", str(run), "--target", str(tmp_path / "exported"), "--labels", "dog,rain"]
    done = _tinyclap(*words)
    assert done.returncode == 0, done.stderr
    assert "model.onnx" in done.stdout
    done = _tinyclap("classify", str(tmp_path / "dog.wav"), "--model", str(tmp_path / "exported"), "--top", "2")
    assert done.returncode == 0, done.stderr
    row = next(csv.DictReader(done.stdout.splitlines()))
    assert {row["label"], row["label_2"]} == {"dog", "rain"}


def test_what_is_wrong_is_said_before_the_work(tmp_path):
    done = _tinyclap("export", "x", "--target", str(tmp_path / "e"), "--calibration_method", "guess")
    assert done.returncode == 1
    assert "choose one of minmax" in done.stderr
    assert _tinyclap("export", "x").returncode == 2


def _tinyclap(*words):
    command = [sys.executable, "-m", "tinyclap.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
