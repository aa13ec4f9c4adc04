"""Output of every audio encoder, and small functions that encoders share."""

import contextlib
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError


class AudioEncoding(NamedTuple):
    """Output of an audio encoder."""

    clip: torch.Tensor  # (B, C), not normalised
    frames: torch.Tensor  # (B, F', C'): the map that `clip` was pooled from, averaged over mel; F' ≈ F / 32 here
    n_frames: torch.Tensor  # (B,), int64: valid frames of each clip
    # (B, C", F", M"): the map before the last halving, for hints; encoders that give it have C" as ``n_middle``
    middle: torch.Tensor | None = None


@contextlib.contextmanager
def evaluating(module):
    """Put a module into eval mode for a while."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def check_attributes(encoder, n_mels):
    """Check the attributes of an encoder (ConfigError): ``embed_dim``, ``frame_dim``, and the front end's `n_mels`."""
    name = type(encoder).__name__
    wanted = ("n_mels", "embed_dim", "frame_dim")
    if missing := [each for each in wanted if not isinstance(getattr(encoder, each, None), int)]:
        what = "mel bands M, widths of a clip's and of a frame's vector"
        raise ConfigError(f"encoder {name}: has no {', '.join(missing)}; set them in its constructor ({what})")
    if encoder.n_mels != n_mels:
        raise ConfigError(f"the front end gives {n_mels} mel bands, the encoder {name} wants {encoder.n_mels}")


def as_encoding(clip, frames, middle=None):
    """An :class:`AudioEncoding` in which every frame is valid."""
    n_frames = torch.full((frames.shape[0],), frames.shape[1], dtype=torch.int64, device=frames.device)
    return AudioEncoding(clip, frames, n_frames, middle)


def valid_frames(encoder, n_mel_frames, n_total, n_encoded):
    """Number of an encoder's frames (B,) that are valid in a padded batch, in [1, n_encoded].

    Arguments
    ---------
    encoder : nn.Module. With ``n_valid_frames(n_mel_frames)``; else it is the valid fraction, rounded up.
    n_mel_frames : torch.Tensor, shape (B,), int64. Mel frames of each clip.
    n_total, n_encoded : int. Mel frames of the padded batch, and encoder frames.

    Example
    -------
    >>> valid_frames(None, torch.tensor([100, 51]), 100, 4).tolist()
    [4, 3]
    """
    rule = getattr(encoder, "n_valid_frames", None)
    n_frames = -(-n_mel_frames * n_encoded // n_total) if rule is None else rule(n_mel_frames)
    return n_frames.clamp(1, n_encoded)


def last_halving(layers):
    """Index of the last of some modules that has a stride of two; 0 where none has."""
    strided = (nn.Conv2d, nn.MaxPool2d)
    halving = [
        index
        for index, layer in enumerate(layers)
        if any(isinstance(part, strided) and part.stride in (2, (2, 2)) for part in layer.modules())
    ]
    return max(halving, default=0)


def first_channels(layers):
    """Input channels of the first convolution of some modules; None where there is none."""
    convolutions = (part for layer in layers for part in layer.modules() if isinstance(part, nn.Conv2d))
    return next((part.in_channels for part in convolutions), None)


def at_least_frames(log_mel, n_min):
    """Repeat the last frame of log-mel spectrograms (B, F, M), F ≥ 1, up to `n_min` frames (0 dB is not silence)."""
    n_short = n_min - log_mel.shape[1]
    if n_short <= 0:
        return log_mel
    return F.pad(log_mel.transpose(1, 2), (0, n_short), mode="replicate").transpose(1, 2)


def norm_mel_bins(norm, log_mel):
    """Apply a BatchNorm2d of M channels (or its folded form) to the bins of (B, F, M): (B, 1, F, M)."""
    if hasattr(norm, "on_bins"):
        return norm.on_bins(log_mel).unsqueeze(1)
    return norm(log_mel.transpose(1, 2).unsqueeze(3)).permute(0, 3, 2, 1)


def make_divisible(n_channels, divisor=8):
    """Round a width to a multiple of `divisor`, at least one, and never by more than 10 % down."""
    nearest = max(divisor, int(n_channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * n_channels else nearest + divisor
