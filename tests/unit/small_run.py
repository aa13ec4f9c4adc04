"""The smallest run that is one: a corpus of tones, a teacher with BatchNorm and dropout, a PhiNet, a Brain."""

import csv
import json

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.epoch_loop import EpochCounter
from torch import nn

from data_prep.esc50_prepare import prepare_esc50
from tests import fakes
from tinyclap.brains import DistillBrain
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.distillation import make_distillation_sets
from tinyclap.data.targets import TeacherTargets
from tinyclap.data.views import Views
from tinyclap.features.front_ends import log_mel
from tinyclap.losses import CosineLoss
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.training.schedules import CosineSchedule

RATE = 8000
CLIP_S = 0.2
QUIET = {"device": "cpu", "noprogressbar": True}


class ToneTeacher(FrozenTeacher):
    """A teacher of random weights, whose text tower must not run."""

    columns = ("clip", "frames", "middle", "tags")

    def __init__(self, embed_dim=6):
        super().__init__("tone")
        torch.manual_seed(1)
        self.sample_rate_hz, self.embed_dim = RATE, embed_dim
        self.frames_net = nn.Sequential(nn.Conv1d(1, 4, 64, stride=32), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, embed_dim)

    def _load(self):
        """The weights are those of the start."""

    def embed_audio(self, wavs, sample_rate_hz):
        """Clips of one length → (B, D)."""
        assert sample_rate_hz == RATE
        return self.head(self.frames_net(wavs[:, None]).mean(dim=-1))

    def embed_text(self, texts):
        """Never."""
        raise AssertionError("the text tower ran")

    def text_side(self):
        """No text side."""
        return {"kind": "tone"}

    def identity(self):
        """What its outputs depend on."""
        return {"kind": self.kind, "embed_dim": self.embed_dim}

    def _targets(self, wavs, sample_rate_hz, columns):
        frames, rows = self.frames_net(wavs[:, None]), self.embed_audio(wavs, sample_rate_hz)
        return {"clip": rows, "tags": rows, "frames": frames.transpose(1, 2), "middle": frames[..., None]}


def make_corpora(folder, folds=(1, 2), n_per_fold=3):
    """A prepared corpus of 0.4 s tones with a training part."""
    root = fakes.esc50(folder, folds=folds, n_per_fold=n_per_fold, duration_s=0.4)
    part = {"split": "train", "folds": list(folds), "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, prepare_esc50, train=part)], folder / "manifests")
    corpora.prepare()
    return corpora


def make_features():
    """A coarse log-mel at 8 kHz."""
    return log_mel("clap2022", sample_rate_hz=RATE, n_fft=256, win_length=256, n_mels=16, f_max_hz=4000.0)


def make_student(embed_dim=6, **options):
    """A student of a few thousand weights, the same each time."""
    torch.manual_seed(0)
    encoder = PhiNet(n_mels=16, alpha=0.35, n_layers=4, t_zero=2, embed_width=None, dropout=0.1)
    head = LinearHead(encoder.embed_dim, embed_dim)
    return AudioStudent(make_features(), encoder, head, {"window_s": CLIP_S}, **options)


def make_views(corpora, **options):
    """Views of a corpus of tones: crops, and about three in ten clips to validate on."""
    return Views(corpora, RATE, CLIP_S, **{"n_views": 2, "seed": 7, "valid_fraction": 0.3, **options})


def make_hparams(folder, **changes):
    """What the Brains ask of a YAML."""
    return {
        "output_folder": str(folder),
        "epoch_counter": EpochCounter(limit=2),
        "lr_annealing": CosineSchedule(lr=0.01, warmup_fraction=0.25),
        "seed": 7,
        "ema_decay": None,
        "terms": {"distill": {"loss": CosineLoss(), "student": "clip", "teacher": "clip"}},
        **changes,
    }


def make_brain(brain_class, folder, student=None, modules=None, run_opts=None, opt_class=torch.optim.Adam, **changes):
    """A Brain on the CPU with a checkpointer in `folder`, as train.py would make it."""
    folder.mkdir(parents=True, exist_ok=True)
    return brain_class(
        modules={"student": student or make_student(), **(modules or {})},
        opt_class=opt_class,
        hparams=make_hparams(folder, **changes),
        run_opts={**QUIET, **(run_opts or {})},
        checkpointer=Checkpointer(folder / "save"),
    )


class Killed(Exception):
    """What stands in for SIGKILL."""


class Distillation:
    """A distillation run: 18 tones, about 12 of them to train on, in batches of three, two epochs."""

    def __init__(self, corpora, folder, teacher=None, columns=("clip",), target_cache=None, n_workers=0, **options):
        self.views, self.n_workers = make_views(corpora), n_workers
        self.targets = TeacherTargets(teacher or ToneTeacher(), self.views, columns, target_cache).load()
        self.brain = make_brain(DistillBrain, folder, modules={"teacher": self.targets}, **options)

    def datasets(self):
        """Training and validation set."""
        return make_distillation_sets(self.targets, self.views, seed=7)

    def fit(self):
        """Train to the end."""
        datasets, options = self.datasets(), {"batch_size": 3, "num_workers": self.n_workers}
        counter = self.brain.hparams.epoch_counter
        self.brain.fit(
            counter, datasets["train"], datasets["valid"], train_loader_kwargs=options, valid_loader_kwargs=options
        )

    def fit_until(self, epoch, step):
        """Train, and stop dead before a step is taken."""
        start = self.brain.on_fit_batch_start

        def stop(batch, should_step):
            if (self.brain.hparams.epoch_counter.current, self.brain.step) == (epoch, step):
                raise Killed
            start(batch, should_step)

        self.brain.on_fit_batch_start = stop
        with pytest.raises(Killed):
            self.fit()

    def steps(self):
        """What train_steps.csv holds: list of dict of str."""
        with open(self.brain.logs.steps, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def history(self):
        """What history.jsonl holds: list of dict."""
        lines = self.brain.logs.history.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def snapshot(module):
    """A copy of a module's state."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module, before):
    """Names of the tensors that are not as in `before`."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
