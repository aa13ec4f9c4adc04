"""Two processes share the work of one run: the data is sharded, not duplicated."""

import csv
import os
import subprocess
import sys

from tests import tiny
from tests.conftest import ROOT

WORDS = (
    "hparams/distill_phinet.yaml --n_soundscapes 64 --clip_duration_s 0.5 --teacher checkpoint --alpha 0.35 --t_zero 2 "
    "--embed_width null --head linear --teacher.embed_dim 16 --number_of_epochs 1 --batch_size 8 --n_workers 0 "
    "--distributed_backend gloo --device cpu"
).split()


def test_each_of_two_processes_trains_on_half_of_the_data(tmp_path):
    teacher = tiny.saved_clap(tmp_path / "teacher")
    folders = {
        "--teacher_weights": teacher,
        "--soundscapes_folder": tmp_path / "data",
        "--output_folder": tmp_path / "run",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py"]
    command = [*launcher, *WORDS, *(str(word) for pair in folders.items() for word in pair)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with open(tmp_path / "run" / "train_steps.csv", newline="", encoding="utf-8") as file:
        n_steps = len(list(csv.DictReader(file)))
    assert n_steps == 64 // (2 * 8), "one process alone would take 8 steps; so do two that train on the same clips"
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()
