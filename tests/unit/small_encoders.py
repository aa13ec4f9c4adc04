"""A small encoder of every kind, and spectrograms for it."""

import torch
from torch import nn

from tinyclap.models.encoders import ENCODERS

SMALL = {
    "effb2": {"width": 0.3, "depth": 0.1},
    "phinet": {"alpha": 0.5, "n_layers": 3, "t_zero": 2, "embed_width": 24, "embed_norm": True},
    "mn": {"width": 0.2, "n_blocks": 4, "n_tags": 0, "n_mels": 64},
    "cnn14": {"channels": [8, 12, 16], "n_tags": 0},
    "htsat": {"image_size": 64, "n_mels": 32, "depths": (1, 2), "n_heads": (2, 4), "width": 16, "n_tags": 0},
    "ced": {"width": 64, "n_layers": 2},
}


def make(kind):
    """A small encoder of a kind whose norms have seen something."""
    torch.manual_seed(0)
    encoder = ENCODERS[kind](**SMALL[kind])
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return encoder


def spectrograms(encoder, n_clips=3, n_frames=101):
    return torch.randn(n_clips, n_frames, encoder.n_mels, generator=torch.Generator().manual_seed(1)) * 10 - 30
