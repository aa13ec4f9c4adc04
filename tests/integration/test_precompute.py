"""python precompute.py makes the store that python train.py then trains from, without the teacher."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(script, *words, fails=False):
    """Run a script as a user does; returns its two outputs together."""
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


SIZE = "--soundscapes_folder {out}/scenes --n_soundscapes 24 --clip_duration_s 0.5 --batch_size 8 --n_workers 0"
CLAP = SIZE + " --output_folder {out}/clap --number_of_epochs 1 --width 0.2 --embed_dim 32 --text_width 32"
DISTIL = (
    SIZE + " --output_folder {out}/{run} --teacher checkpoint --teacher_weights {out}/clap --alpha 0.35 --t_zero 2 "
    "--embed_width null --head linear --embed_dim 32 --number_of_epochs 2 --lr 0.01 --n_views 2 "
    "--store_folder {out}/store"
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precompute")
    run("train.py", "hparams/train_clap.yaml", *CLAP.format(out=folder).split())
    return folder


def words(out, run_name):
    return ["hparams/distill_phinet.yaml", *DISTIL.format(out=out, run=run_name).split()]


def test_a_store_is_made_once_and_trained_from_without_its_teacher(out):
    said = run("precompute.py", *words(out, "first"))
    assert f"{out}/store is whole: " in said and "MB in" in said
    before = {path.name: path.stat().st_mtime_ns for path in (out / "store").iterdir()}
    assert len([name for name in before if name.endswith(".sha256")]) == 2, "training and validation manifest"
    run("precompute.py", *words(out, "first"))
    (out / "clap").rename(out / "gone")
    try:
        said = run("train.py", *words(out, "first"))
    finally:
        (out / "gone").rename(out / "clap")
    assert "is used as it is" in said and "asking the teacher" not in said
    assert before == {path.name: path.stat().st_mtime_ns for path in (out / "store").iterdir()}
    config = json.loads((out / "first" / "student" / "config.json").read_text("utf-8"))
    assert config["teacher"] == "checkpoint" and config["text_side"]["kind"] == "checkpoint"


def test_what_cannot_be_stored_is_said_in_one_line(out):
    said = run("precompute.py", *words(out, "second")[:-2], fails=True)
    assert said.strip().endswith("has no store with these options; name one: --store_folder FOLDER")
    assert "python precompute.py" in run("precompute.py", "--help")
