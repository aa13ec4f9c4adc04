"""Models of a few thousand parameters, saved as a run saves its own, for tests."""

import torch

from tinyclap.checkpoints.state import save_folder
from tinyclap.features.front_ends import log_mel
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower

SAMPLE_RATE_HZ = 16000
EMBED_DIM = 16


def student(embed_dim=EMBED_DIM, window_s=1.0, seed=0, **options):
    """An audio tower at 16 kHz with 32 mel bands, in eval mode, its weights random but not deaf."""
    torch.manual_seed(seed)
    features = log_mel("clap2022", sample_rate_hz=SAMPLE_RATE_HZ, f_max_hz=8000.0, n_mels=32)
    encoder = PhiNet(n_mels=32, alpha=0.35, n_layers=3, t_zero=2, embed_width=None)
    head = LinearHead(encoder.embed_dim, embed_dim, bias=False)
    _hear_something(features, encoder)
    return AudioStudent(features, encoder, head, {"window_s": window_s}, **options).eval()


@torch.no_grad()
def _hear_something(features, encoder):
    """Set the batch norms' statistics in one pass: with those of a new network all sounds have about one embedding."""
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    tones = torch.sin(2 * torch.pi * torch.tensor([[200.0], [500.0], [1500.0]]) * torch.arange(8000) / SAMPLE_RATE_HZ)
    encoder.train()(features(torch.cat([0.3 * tones, torch.rand(3, 8000) - 0.5])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def clap(seed=0):
    """Two towers; the text tower knows every word by its hash."""
    audio = student(seed=seed)
    text = WordTextTower(None, EMBED_DIM, width=16, n_layers=1, n_buckets=512)
    torch.nn.init.normal_(text.words.weight, std=3.0)  # one other word in a sentence shows
    return Clap(audio, text).eval()


def saved_clap(run_folder, seed=0):
    """Save a :func:`clap` as the folder of a finished run; returns the folder."""
    save_folder(clap(seed), run_folder / "student", {"seed": seed})
    return run_folder


def saved_student(run_folder, text_side, **options):
    """Save a :func:`student` whose classes another model's text side embeds; returns the folder."""
    save_folder(student(**options), run_folder / "student", {"text_side": text_side})
    return run_folder
