"""A run that is killed in the middle of an epoch goes on as if it had not been."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

# Small runs; dropout, random crops, random captions, scheduled sampling and the weight average are all on.
RUNS = {
    "clap": "hparams/train_clap.yaml --n_soundscapes 64 --clip_duration_s 0.5 --n_workers 0 --width 0.2 "
    "--embed_dim 16 --text_width 16",
    "captioner": "hparams/distill_captioner_soundscapes.yaml --n_scenes 64 --n_valid_scenes 8 --examples_per_epoch 64 "
    "--window_s 0.5 --decoder_width 16 --scheduled_sampling 0.5",
}
COMMON = "--number_of_epochs 3 --batch_size 8 --ckpt_interval_minutes 0 --ckpt_interval_steps 3 --noprogressbar"


def command(run, folder, data):
    """The command line of a small run."""
    words = [*RUNS[run].split(), *COMMON.split()]
    return [sys.executable, "train.py", *words, "--output_folder", str(folder), "--soundscapes_folder", str(data)]


def environment():
    """One thread: the order of sums does not depend on the machine's load."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def steps(folder):
    """What ``train_steps.csv`` has, as (epoch, step) → loss as written, in full precision."""
    with open(folder / "train_steps.csv", newline="", encoding="utf-8") as file:
        return {(int(row["epoch"]), int(row["step"])): row["loss"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("run", RUNS)
def test_losses_after_sigkill_and_resume_equal_those_of_an_unbroken_run(run, tmp_path):
    data = tmp_path / "soundscapes"
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    subprocess.run(
        command(run, unbroken, data), cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=600
    )

    process = subprocess.Popen(
        command(run, broken, data), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (broken / "train_steps.csv").exists() and (2, 5) in steps(broken):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = max(steps(broken))
    assert (2, 5) <= killed_at < (3, 8), f"the run was not killed inside an epoch but at {killed_at}"

    subprocess.run(
        command(run, broken, data), cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=600
    )
    assert steps(broken) == steps(unbroken)
    assert len(steps(unbroken)) == 24
    assert (broken / "history.jsonl").read_text("utf-8") == (unbroken / "history.jsonl").read_text("utf-8")
