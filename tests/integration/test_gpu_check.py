"""tools/gpu_check.py in its tiny form: every kind of recipe trains, is cached, resumed and timed."""

import json
import math
import os
import subprocess
import sys

from tests.conftest import ROOT


def check(*words, cwd=ROOT):
    """Run the script."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tools/gpu_check.py"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False)


def test_the_tiny_check_passes_on_the_cpu(tmp_path):
    done = check("--tiny", "--folder", tmp_path / "check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    record = json.loads((tmp_path / "check" / "record.json").read_text("utf-8"))
    assert record["problems"] == [] and record["resume_difference"] == 0.0
    kinds = {f"{name} fp32" for name in ("clap", "live", "cached", "captioner", "captioner_kd")}
    assert set(record["runs"]) == {*kinds, "live bf16"}
    for run in record["runs"].values():
        assert all(map(math.isfinite, run["losses"])) and run["clips_per_second"] > 0
    assert record["bare_teacher_clips_per_second"] > 0 and "bare teacher" in done.stdout
    assert record["runs"]["live bf16"]["losses"] != record["runs"]["live fp32"]["losses"], "bf16 was in force"


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    done = check("--tiny", "--folder", tmp_path)
    assert done.returncode == 1 and "holds something else" in done.stderr and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"


def test_without_a_gpu_the_full_check_is_refused(tmp_path):
    done = check("--folder", tmp_path / "check")
    assert done.returncode == 1 and "no GPU here; give --tiny" in done.stderr and not (tmp_path / "check").exists()
