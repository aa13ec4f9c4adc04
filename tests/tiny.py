"""Models of a few thousand parameters, saved as a run saves its own, for tests."""

import torch

from tinyclap.checkpoints import save_folder
from tinyclap.features import log_mel
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower

SAMPLE_RATE_HZ = 16000
EMBED_DIM = 16


def student(embed_dim=EMBED_DIM, window_s=1.0, seed=0, **options):
    """An audio tower at 16 kHz with 32 mel bands, in eval mode, its weights random."""
    torch.manual_seed(seed)
    features = log_mel("clap2022", sample_rate_hz=SAMPLE_RATE_HZ, f_max_hz=8000.0, n_mels=32)
    encoder = PhiNet(n_mels=32, alpha=0.35, n_layers=3, t_zero=2, embed_width=None)
    return AudioStudent(
        features, encoder, LinearHead(encoder.embed_dim, embed_dim), {"window_s": window_s}, **options
    ).eval()


def clap(seed=0):
    """Two towers; the text tower knows every word by its hash."""
    audio = student(seed=seed)
    return Clap(audio, WordTextTower(None, EMBED_DIM, width=16, n_layers=1, n_buckets=64)).eval()


def saved_clap(run_folder, seed=0):
    """Save a :func:`clap` as the folder of a finished run; returns the folder."""
    save_folder(clap(seed), run_folder / "student", {"seed": seed})
    return run_folder


def saved_student(run_folder, text_side, **options):
    """Save a :func:`student` whose classes another model's text side embeds; returns the folder."""
    save_folder(student(**options), run_folder / "student", {"text_side": text_side})
    return run_folder
