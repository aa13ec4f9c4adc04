"""Bad captions and target caches, from the command line: each one clear line that says what is wrong and what to do."""

import csv
import os
import subprocess
import sys

import pytest

from tests import fakes
from tests.conftest import ROOT

BASE = (
    "hparams/distill_captioner_clotho.yaml --corpus_subset listed --captioner phinet --decoder_width 16 --shared_dim 8 "
    "--number_of_epochs 1 --batch_size 2 --n_workers 0 --noprogressbar --device cpu"
).split()
ALONE = "--target_cache null --terms.sequence.weight 0 --terms.encoder.weight 0".split()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two captioners that differ in their seed."""
    folder = tmp_path_factory.mktemp("teachers")
    words = "hparams/distill_captioner_soundscapes.yaml --n_scenes 16 --n_valid_scenes 4 --examples_per_epoch 16 "
    words += "--batch_size 8 --window_s 0.5 --decoder_width 16 --number_of_epochs 1 --noprogressbar"
    for seed in ("1", "2"):
        options = ["--soundscapes_folder", folder / "soundscapes", "--seed", seed, "--output_folder", folder / seed]
        done = run(*words.split(), *options)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture
def clotho(tmp_path):
    """A tiny Clotho."""
    roots = [fakes.clotho(tmp_path, split=split) for split in ("development", "validation")]
    return roots[0]


def run(*words):
    """Run train.py as a user does."""
    command = [sys.executable, "train.py", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def train(clotho, *more):
    """Train on the tiny Clotho."""
    return run(*BASE, "--clotho_folder", clotho, "--output_folder", clotho.parent / "run", *more)


def edit(clotho, change):
    """Rewrite the table of captions by ``change(header, rows)``."""
    path = clotho / "clotho_captions_development.csv"
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    change(header, rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def refused(done):
    """The message of a run that stopped with one of our errors, which is no traceback."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stderr


def test_an_empty_caption_is_named(clotho):
    edit(clotho, lambda header, rows: rows[1].__setitem__(3, "..."))
    message = refused(train(clotho, *ALONE))
    assert "empty caption" in message and "caption_3" in message


def test_six_captions_are_refused(clotho):
    edit(
        clotho, lambda header, rows: [row.append("caption_6" if row is header else "a dog") for row in (header, *rows)]
    )
    assert "caption_6" in refused(train(clotho, *ALONE))


def test_long_captions_long_clips_and_unknown_words_are_borne_and_said(clotho):
    edit(clotho, lambda header, rows: rows[0].__setitem__(1, "rain falls and " * 20))
    first = sorted((clotho / "validation").iterdir())[0]
    fakes.write_audio(first, 60.0, rate=8000)
    small = clotho.parent / "words.json"
    small.write_text('["<pad>", "<start>", "<end>", "<unk>", "a", "rain"]')
    done = train(clotho, *ALONE, "--vocabulary", small)
    assert done.returncode == 0, done.stderr[-2000:]
    said = (clotho.parent / "run" / "log.txt").read_text("utf-8")
    assert "not in the vocabulary and become <unk>" in said and "1 are cut at 20 words" in said


def test_a_missing_cache_without_a_teacher_is_refused_with_its_path(clotho, tmp_path):
    message = refused(train(clotho, "--target_cache", tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in message and "--teacher_weights" in message


def test_a_cache_by_another_teacher_is_refused_by_its_hash(clotho, teachers, tmp_path):
    def taught(name):
        options = ["--teacher", "captioner", "--teacher_weights", teachers / name, "--teacher_dim", "96"]
        return train(clotho, *options, "--target_cache", tmp_path / "targets")

    first = taught("1")
    assert first.returncode == 0, first.stderr[-2000:]
    (tmp_path / "run").rename(tmp_path / "first")
    message = refused(taught("2"))
    assert str(tmp_path / "targets") in message and "weights_sha256" in message
