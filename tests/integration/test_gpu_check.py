"""tools/gpu_check.py in its tiny form: every kind of recipe trains, is cached, resumed and timed."""

import json
import math
import os
import runpy
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT

SCRIPT = str(ROOT / "tools/gpu_check.py")


def test_the_tiny_check_passes_on_the_cpu(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, SCRIPT, "--tiny", "--folder", str(tmp_path / "check")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    record = json.loads((tmp_path / "check" / "record.json").read_text("utf-8"))
    assert record["problems"] == [] and record["resume_difference"] == 0.0
    kinds = {f"{name} fp32" for name in ("clap", "live", "cached", "captioner", "captioner_kd")}
    assert set(record["runs"]) == {*kinds, "live bf16"}
    for run in record["runs"].values():
        assert all(map(math.isfinite, run["losses"])) and run["clips_per_second"] > 0
    assert record["bare_teacher_clips_per_second"] > 0 and "bare teacher" in done.stdout
    assert record["runs"]["live bf16"]["losses"] != record["runs"]["live fp32"]["losses"], "bf16 was in force"


@pytest.fixture
def refused(monkeypatch):
    """What the script says where it refuses its options, as a function of them."""

    def run(*options):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, options)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(SCRIPT, run_name="__main__")
        return str(stopped.value)

    return run


def test_a_folder_of_something_else_is_left_alone(tmp_path, refused):
    (tmp_path / "thesis.txt").write_text("chapter one")
    says = refused("--tiny", "--folder", tmp_path)
    assert "holds something else" in says and "\n" not in says
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"


def test_without_a_gpu_the_full_check_is_refused(tmp_path, refused):
    assert "no GPU here; give --tiny" in refused("--folder", tmp_path / "check")
    assert not (tmp_path / "check").exists()
