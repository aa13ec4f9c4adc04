"""python precompute.py makes the target cache that python train.py then trains from, without the teacher."""

import json
import os
import subprocess
import sys

import pytest

import precompute
from tests.conftest import ROOT
from tinyclap.training import command_line


def run(script, *words, fails=False):
    """Run a script as a user does; returns its two outputs together."""
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_here(capsys, *words, fails=False):
    """precompute.py in this process: starting a Python takes seconds; returns its last line."""
    capsys.readouterr()
    status = command_line.run(precompute.main, precompute.__doc__, list(map(str, words)))
    said = capsys.readouterr()
    assert (status != 0) == fails, said.err
    return said.err.strip().splitlines()[-1] if fails else ""


SIZE = "--soundscapes_folder {out}/scenes --n_soundscapes 24 --clip_duration_s 0.5 --batch_size 8 --n_workers 0"
CLAP = SIZE + " --output_folder {out}/clap --number_of_epochs 1 --width 0.2 --embed_dim 32 --text_width 32"
DISTIL = (
    SIZE + " --output_folder {out}/{run} --teacher checkpoint --teacher_weights {out}/clap --alpha 0.35 --t_zero 2 "
    "--student.embed_width null --head linear --teacher.embed_dim 32 --number_of_epochs 2 --lr 0.01 --n_views 2 "
    "--target_cache {out}/cache"
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precompute")
    run("train.py", "hparams/train_clap.yaml", *CLAP.format(out=folder).split())
    return folder


def words(out, run_name):
    return ["hparams/distill_phinet.yaml", *DISTIL.format(out=out, run=run_name).split()]


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_cache_is_made_once_and_trained_from_without_its_teacher(out, capsys):
    said = run("precompute.py", *words(out, "first"), "--device", "cpu", "--n_processes", "0")
    assert f"{out}/cache is whole: " in said and "MB in" in said
    before = files(out / "cache")
    assert len([name for name in before if name.endswith(".arrow")]) == 2, "training and validation manifest"
    run_here(capsys, *words(out, "first"), "--verify", "True")
    (out / "clap").rename(out / "gone")
    try:
        said = run("train.py", *words(out, "first"))
    finally:
        (out / "gone").rename(out / "clap")
    assert "is used as it is" in said and "making" not in said
    assert before == files(out / "cache")
    config = json.loads((out / "first" / "student" / "config.json").read_text("utf-8"))
    assert config["teacher"] == "checkpoint" and config["text_side"]["kind"] == "checkpoint"


def test_a_damaged_cache_is_named_in_one_line(out, capsys):
    run_here(capsys, *words(out, "second"))
    shard = next((out / "cache").glob("*.arrow"))
    content, stat = bytearray(shard.read_bytes()), shard.stat()
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # a disk's fault: size and time are as they were
    run_here(capsys, *words(out, "second"))
    said = run_here(capsys, *words(out, "second"), "--verify", "True", fails=True)
    assert said.startswith("CheckpointError: ") and shard.name in said and "delete" in said
    for file in shard.parent.glob(f"{shard.stem}.*"):
        file.unlink()
    run_here(capsys, *words(out, "second"), "--verify", "True")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target_cache", "null"], "has no target cache with these options; name one: --target_cache FOLDER"),
        (["--device", "cuda:9"], "--device cuda:9: no such device"),
        (["--target_device", "cuda:9"], "target_device cuda:9: no such device"),
        (["--n_processes", "two"], "--n_processes two: it needs a whole number"),
        (["--verify", "maybe"], "--verify maybe: it needs True or False"),
        (["--n_views", "3"], "other views of"),
        (
            ["--cache_log_mel", "True"],
            "columns (['clip'] there, ['clip', 'log_mel'] here); give another --target_cache",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(out, capsys, more, message):
    if not (out / "cache").exists():
        run_here(capsys, *words(out, "third"))
    before = files(out / "cache")
    said = run_here(capsys, *words(out, "third"), *more, fails=True)
    assert message in said
    assert files(out / "cache") == before


def test_help_says_how(capsys):
    assert command_line.run(precompute.main, precompute.__doc__, ["--help"]) == 0
    said = capsys.readouterr().out
    assert "python precompute.py RECIPE --target_cache FOLDER" in said and "--verify" in said
