"""An encoder in a file of the user's own: its folder says which module it needs, and every command takes its name."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import tinyclap
from tests import tiny
from tinyclap.checkpoints import load_student, save_folder
from tinyclap.errors import CheckpointError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
import torch
from torch import nn

from tinyclap.config import configurable
from tinyclap.models.encoding import as_encoding, at_least_frames


@configurable
class PlumNet(nn.Module):
    """Two strided convolutions."""

    def __init__(self, n_mels=32, width=16):
        super().__init__()
        self.n_mels, self.embed_dim, self.frame_dim = n_mels, width, width
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        )

    def forward(self, log_mel):
        """Log-mel (B, F, M) to AudioEncoding."""
        frames = self.layers(at_least_frames(log_mel, 4)[:, None]).mean(3).transpose(1, 2)
        return as_encoding(frames.mean(1), frames)


class PlumLoss(nn.Module):
    """Squared chord between paired embeddings."""

    def forward(self, student, teacher):
        """(B, D) and (B, D) to ()."""
        student, teacher = (nn.functional.normalize(each, dim=-1) for each in (student, teacher.detach()))
        return (student - teacher).square().sum(-1).mean()
'''
PART = """\
width: 16                       # channels
hop_length: 441                 # samples between frames
embed_dim: 16
window_s: 5.0
short: tile                     # tile | pad | native

features: !apply:tinyclap.features.log_mel {preset: clap2022, n_mels: 32, hop_length: !ref <hop_length>}
sample_rate_hz: !ref <features.sample_rate_hz>
encoder: !new:plum_net.PlumNet {n_mels: 32, width: !ref <width>}
first_weights: null
model: !new:tinyclap.models.student.AudioStudent
    features: !ref <features>
    encoder: !ref <encoder>
    projection: !new:tinyclap.models.projection.LinearHead {d_in: !ref <encoder.embed_dim>, d_out: !ref <embed_dim>}
    window: {window_s: !ref <window_s>, short: !ref <short>}
"""


def started(*words, cwd):
    """A process in a folder of the user's, with this checkout's package."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=cwd, env=environment, **pipes)


def run(*words, cwd):
    """A finished :func:`started`, with ``returncode``, ``stdout`` and ``stderr``."""
    process = started(*words, cwd=cwd)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A user's folder: plum_net.py, a saved student of it, and a recording."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "plum_net.py").write_text(SOURCE)
    sys.path.append(str(folder))
    try:
        encoder = importlib.import_module("plum_net").PlumNet()
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    features = log_mel("clap2022", sample_rate_hz=16000, f_max_hz=8000.0, n_mels=32)
    student = AudioStudent(features, encoder, LinearHead(16, 8, bias=False), {"window_s": 1.0})
    order = {"latent": {"order": list(range(8)), "n_dims": 8, "ranking": "energy", "n_clips": 1, "corpora": []}}
    save_folder(student, folder / "run" / "student", order)
    soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    return folder


def test_the_config_names_the_module(work):
    model = json.loads((work / "run" / "student" / "config.json").read_text())["model"]
    assert (model["type"], model.get("module")) == ("AudioStudent", None)
    assert (model["encoder"]["type"], model["encoder"]["module"]) == ("PlumNet", "plum_net")


def test_python_asks_for_the_module_and_takes_it(work):
    code = "import tinyclap; m = tinyclap.from_pretrained('run'{}); print(m.embed('a.wav').shape)"
    refused = run("-c", code.format(""), cwd=work)
    assert refused.returncode and "it needs the class PlumNet of plum_net.py: give --import plum_net" in refused.stderr
    for how in (", imports='plum_net'", ", imports=['plum_net']"):
        assert run("-c", code.format(how), cwd=work).stdout == "(1, 8)\n"
    assert run("-c", "import plum_net; " + code.format(""), cwd=work).stdout == "(1, 8)\n"
    pickled = "import pickle, tinyclap; m = tinyclap.from_pretrained('run', imports='plum_net', dim=3); "
    pickled += "print(pickle.loads(pickle.dumps(m)).embed('a.wav').shape)"
    assert run("-c", pickled, cwd=work).stdout == "(1, 3)\n"


COMMANDS = [
    ("embed", "a.wav", "--model", "run", "--out", "rows.npz"),
    ("inspect", "run"),
    ("export", "run", "--target", "exported"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_commands_refuse_in_one_line_and_take_the_module(work, words):
    refused = run("-m", "tinyclap", *words, cwd=work)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "give --import plum_net" in refused.stderr
    done = run("-m", "tinyclap", *words, "--import", "plum_net", cwd=work)
    assert done.returncode == 0, done.stderr


def test_an_exported_folder_needs_no_module(work):
    done = run("-m", "tinyclap", "export", "run", "--target", "alone", "--import", "plum_net", cwd=work)
    assert done.returncode == 0, done.stderr
    here = tinyclap.from_pretrained(work / "alone").embed(work / "a.wav")
    np.testing.assert_allclose(here, tinyclap.from_pretrained(work / "run").embed(work / "a.wav"), atol=1e-4)


def test_a_class_that_has_gone_from_its_module_is_named(work):
    text = (work / "run" / "student" / "config.json").read_text()
    copy = work / "other" / "student"
    copy.mkdir(parents=True)
    (copy / "model.safetensors").write_bytes((work / "run" / "student" / "model.safetensors").read_bytes())
    (copy / "config.json").write_text(text.replace('"plum_net"', '"json"'))
    with pytest.raises(CheckpointError, match="the module json has no class PlumNet"):
        load_student(work / "other")


# Trained from outside: nothing of the package is copied or edited -----------------------------------------------------

TRAIN = [ROOT / "train.py", ROOT / "hparams" / "distill_phinet.yaml", "--student", "student_plum.yaml"]
TRAIN += ["--loss", "plum_net.PlumLoss", "--import", "plum_net", "--output_folder", "trained"]
TRAIN += ["--teacher", "checkpoint", "--teacher_weights", "teacher", "--teacher.embed_dim", "16"]
TRAIN += ["--soundscapes_folder", "scenes", "--n_soundscapes", "16", "--clip_duration_s", "0.5"]
TRAIN += ["--number_of_epochs", "3", "--batch_size", "8", "--n_workers", "0"]


@pytest.mark.slow
def test_it_trains_resumes_is_scored_ranked_pruned_and_exported(work):
    (work / "student_plum.yaml").write_text(PART)
    tiny.saved_clap(work / "teacher")
    process = started(*TRAIN, cwd=work)
    history, until = work / "trained" / "history.jsonl", time.monotonic() + 300
    while process.poll() is None and not history.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    said = process.communicate()[1]
    assert history.is_file(), said
    done = run(*TRAIN, cwd=work)
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line)["train"]["loss"] for line in history.read_text().splitlines()]
    assert len(losses) == 3 and losses[-1] < losses[0]

    imports = ("--import", "plum_net.py")
    scoring = [ROOT / "evaluate.py", ROOT / "hparams" / "soundscapes.yaml", "--data_folder", "scenes"]
    scoring += ["--weights", "trained", "--n_per_class", "1", "--output_folder", "scores"]
    refused = run(*scoring, cwd=work)
    assert refused.returncode and "give --import plum_net" in refused.stderr and "Traceback" not in refused.stderr
    assert not (work / "scores").exists()
    done = run(*scoring, *imports, cwd=work)
    assert done.returncode == 0, done.stderr
    assert json.loads((work / "scores" / "metrics.json").read_text())["n_items"] == 20

    order = {"order": list(range(16))[::-1], "ranking": "mean_abs", "n_clips": 1, "corpora": [], "model": {}}
    (work / "ranking").mkdir()
    (work / "ranking" / "ranking.json").write_text(json.dumps(order))
    pruning = [ROOT / "prune.py", "trained", "--ranking", "ranking", "--target", "small", "--dim", "4"]
    assert "give --import plum_net" in run(*pruning, cwd=work).stderr
    for words in (pruning, [ROOT / "export.py", "small", "--target", "small_graph"]):
        done = run(*words, *imports, cwd=work)
        assert done.returncode == 0, done.stderr
    assert tinyclap.from_pretrained(work / "small_graph").embed(work / "a.wav").shape == (1, 4)


@pytest.mark.slow
def test_an_encoder_that_returns_too_little_is_refused_before_any_data_is_made(work):
    (work / "sour_net.py").write_text(SOURCE.replace("PlumNet", "SourNet").replace("as_encoding(frames.mean(1), ", "("))
    (work / "student_sour.yaml").write_text(PART.replace("plum_net.PlumNet", "sour_net.SourNet"))
    words = ["student_sour.yaml" if word == "student_plum.yaml" else word for word in TRAIN]
    words = [{"trained": "soured", "scenes": "soured_scenes"}.get(word, word) for word in words]
    tiny.saved_clap(work / "teacher")
    done = run(*words, cwd=work)
    assert done.returncode == 1 and "encoder SourNet: returns a Tensor; return tinyclap" in done.stderr
    assert "Traceback" not in done.stderr and not (work / "soured_scenes").exists() and not (work / "soured").exists()
