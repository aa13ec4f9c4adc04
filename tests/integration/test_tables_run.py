"""Rows of the papers' tables are run as a user runs them: said first, resumed, and all of them in a tiny form."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "recipes" / "tables" / "run_rows.py"
TABLES = ("zero_shot", "pruning", "complexity", "captioning", "data_scarce")
# Four networks of each of these, each counted for two rows.
SMALL = "A5_n4* A5_n5* A5_n7_a0.25* A5_n7_a0.5*"
N_SMALL = 16


def environment(**more):
    """This one, without the variables that name corpora and weights."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_FOLDER", "_WEIGHTS"))}
    return {**kept, "HF_HUB_OFFLINE": "1", **more}


def run(*words, timeout_s=600, **more):
    """Run rows; returns the finished process."""
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=timeout_s)


def finished(output):
    """When each task's note was written, by its folder."""
    return {path.parent.relative_to(output): path.stat().st_mtime_ns for path in output.rglob("task.json")}


def test_a_dry_run_lists_every_row_with_its_cost_and_what_it_lacks(tmp_path):
    done = run("zero_shot", "--dry-run", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "A3_tut17" in done.stdout and "no: AUDIOCAPS_FOLDER, MACS_FOLDER" in done.stdout.replace(
        "TUT17_FOLDER, ", ""
    )
    assert "h and" in done.stdout.splitlines()[-3] and not (tmp_path / "out").exists()


def test_rows_that_lack_their_corpora_are_refused_in_words(tmp_path):
    done = run("zero_shot", "--rows", "A0_esc50", "--output", tmp_path)
    assert done.returncode == 1
    assert "none of these rows can run here" in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_row_is_named_without_a_traceback(tmp_path):
    done = run("zero_shot", "--rows", "A77", "--output", tmp_path)
    assert done.returncode == 1 and "A77: no such row" in done.stderr and "Traceback" not in done.stderr


def test_rows_that_were_killed_go_on_and_lose_nothing_that_had_finished(tmp_path):
    words = ["complexity", "--rows", SMALL, "--output", str(tmp_path), "--jobs", "1"]
    with open(tmp_path / "said.txt", "w", encoding="utf-8") as said:
        process = subprocess.Popen([sys.executable, str(SCRIPT), *words], cwd=ROOT, env=environment(), stdout=said)
        while not finished(tmp_path) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = finished(tmp_path)
    assert 0 < len(before) < 2 * N_SMALL, "it was to be killed half-way"
    again = run(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    after = finished(tmp_path)
    assert len(after) == 2 * N_SMALL, "two rows each"
    assert before.items() <= after.items(), "a finished task was run again"
    third = run(*words)
    assert third.returncode == 0 and finished(tmp_path) == after
    assert f"{N_SMALL} tasks, {N_SMALL} of them done before" in third.stdout
    # published: 3.21 M parameters and 44 M multiply-accumulates (computed from the official code)
    model = json.loads((tmp_path / "scores/A5_n4_a0.5_b0.75_t6_parameters/-/metrics.json").read_text("utf-8"))["model"]
    assert abs(model["n_parameters"] - 3.21e6) <= 5e3 and abs(model["n_macs_paper"] - 44e6) <= 5e5


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failed_task_is_shown_and_stops_the_others_unless_told_to_keep_going(tmp_path, keep_going):
    rows = ["zero_shot", "complexity", "--rows", "A0_esc50 A3_parameters", "--jobs", "1"]
    missing = {"ESC50_FOLDER": str(tmp_path / "nowhere"), "CLAP2022_WEIGHTS": str(tmp_path / "no.pth")}
    done = run(*rows, *(["--keep-going"] if keep_going else []), "--output", tmp_path / "out", **missing)
    assert done.returncode == 1
    assert "failed: score A0_esc50" in done.stdout and "nowhere" in done.stdout and "task.log" in done.stdout
    assert (tmp_path / "out/scores/A3_parameters/-/task.json").exists() == keep_going


@pytest.mark.slow
def test_every_row_of_every_table_runs_in_its_tiny_form(tmp_path):
    done = run(*TABLES, "--rows", "smoke", "--keep-going", "--output", tmp_path, timeout_s=3000)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    scores = list((tmp_path / "scores").glob("*/*/metrics.json"))
    assert len(scores) >= 300
    assert all((path.parent / "task.json").is_file() for path in scores)
    again = run(*TABLES, "--rows", "smoke", "--output", tmp_path)
    assert again.returncode == 0 and "[1/" not in again.stdout, "the second run did something again"
    shutil.rmtree(tmp_path / "runs")  # checkpoints of 80 M parameters, which pytest would keep
