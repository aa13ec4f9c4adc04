"""What every audio encoder returns, and the one rule for inputs that are too short for a network."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class AudioEncoding(NamedTuple):
    """The two views that an encoder gives of a batch of clips.

    Attributes
    ----------
    clip : torch.Tensor, shape (B, C)
        One vector a clip, not normalised.
    frames : torch.Tensor, shape (B, F', C')
        The feature map that `clip` was pooled from, averaged over mel; F' is about F / 32 for the networks here.
    n_frames : torch.Tensor, shape (B,), int64
        How many of the F' frames belong to the clip: all of them, since batches hold clips of one length.
    middle : torch.Tensor or None, shape (B, C", F", M")
        The feature map before the last halving of time and frequency, for hints; None where an encoder has none.
    """

    clip: torch.Tensor
    frames: torch.Tensor
    n_frames: torch.Tensor
    middle: torch.Tensor | None = None


def as_encoding(clip, frames, middle=None):
    """Join `clip` (B, C) and `frames` (B, F', C') to an :class:`AudioEncoding` in which every frame is valid.

    Example
    -------
    >>> as_encoding(torch.zeros(2, 8), torch.zeros(2, 5, 8)).n_frames.tolist()
    [5, 5]
    """
    n_frames = torch.full((frames.shape[0],), frames.shape[1], dtype=torch.int64, device=frames.device)
    return AudioEncoding(clip, frames, n_frames, middle)


def valid_frames(encoder, n_mel_frames, n_total, n_encoded):
    """How many of an encoder's frames belong to each clip of a padded batch.

    Arguments
    ---------
    encoder : nn.Module
        Its own rule is ``n_valid_frames(n_mel_frames)``, where it has one; else its share of the padded length counts,
        rounded up.
    n_mel_frames : torch.Tensor, shape (B,), int64
        Mel frames of each clip.
    n_total, n_encoded : int
        Mel frames of the padded batch, and frames that the encoder made of them.

    Returns
    -------
    torch.Tensor, shape (B,), int64
        In [1, n_encoded].

    Example
    -------
    >>> valid_frames(None, torch.tensor([100, 51]), 100, 4).tolist()
    [4, 3]
    """
    rule = getattr(encoder, "n_valid_frames", None)
    n_frames = -(-n_mel_frames * n_encoded // n_total) if rule is None else rule(n_mel_frames)
    return n_frames.clamp(1, n_encoded)


def last_halving(layers):
    """Index of the last layer that has a stride of two; 0 where none has.

    Arguments
    ---------
    layers : sequence of torch.nn.Module
    """
    strided = (nn.Conv2d, nn.MaxPool2d)
    halving = [
        index
        for index, layer in enumerate(layers)
        if any(isinstance(part, strided) and part.stride in (2, (2, 2)) for part in layer.modules())
    ]
    return max(halving, default=0)


def at_least_frames(log_mel, n_min):
    """Lengthen a short log-mel spectrogram by repeating its last frame; longer ones pass untouched.

    Arguments
    ---------
    log_mel : torch.Tensor, shape (B, F, M)
        F >= 1.
    n_min : int
        The fewest frames that the network can take.

    Returns
    -------
    torch.Tensor, shape (B, max(F, n_min), M)

    Notes
    -----
    The last frame is repeated rather than zeros added, because zero is an ordinary loudness in dB, not silence.

    Example
    -------
    >>> at_least_frames(torch.ones(1, 3, 2), 5).shape
    torch.Size([1, 5, 2])
    """
    n_short = n_min - log_mel.shape[1]
    if n_short <= 0:
        return log_mel
    return F.pad(log_mel.transpose(1, 2), (0, n_short), mode="replicate").transpose(1, 2)


def norm_mel_bins(norm, log_mel):
    """Normalise every mel bin, and add the axis of channels.

    Arguments
    ---------
    norm : torch.nn.BatchNorm2d or tinyclap.models.folding.ScaleShift
        Of M channels: it wants the bins where channels are. A folded one has ``on_bins``, which needs no turning.
    log_mel : torch.Tensor, shape (B, F, M)

    Returns
    -------
    torch.Tensor, shape (B, 1, F, M)

    Example
    -------
    >>> norm_mel_bins(nn.BatchNorm2d(4), torch.zeros(2, 3, 4)).shape
    torch.Size([2, 1, 3, 4])
    """
    if hasattr(norm, "on_bins"):
        return norm.on_bins(log_mel).unsqueeze(1)
    return norm(log_mel.transpose(1, 2).unsqueeze(3)).permute(0, 3, 2, 1)
