"""CNN14, the audio encoder of Microsoft's CLAP 2022 and the teacher of tinyCLAP.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", TASLP 2020;
Elizalde et al., "CLAP: Learning Audio Concepts from Natural Language Supervision", ICASSP 2023.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import as_encoding, at_least_frames, norm_mel_bins

_PUBLISHED_CHANNELS = (64, 128, 256, 512, 1024, 2048)


@configurable
class Cnn14(nn.Module):
    """Blocks of two 3×3 convolutions with pooling between; mean over mel; mean plus maximum over time; ReLU(fc1).

    Arguments
    ---------
    n_mels : int. Mel bands M, at least 2^(blocks − 1).
    n_tags : int. Classes of the AudioSet head ``fc_audioset``; 0 leaves it out.
    channels : list of int. Width of each block; the last is also the width of ``fc1``.
    dropout : float. After each block; around ``fc1`` it is 0.5.

    Notes
    -----
    79,673,792 parameters without the tagging head. Inputs of fewer frames than the poolings need repeat their last.
    """

    front_end = "clap2022"

    def __init__(self, n_mels=64, n_tags=527, channels=_PUBLISHED_CHANNELS, dropout=0.2):
        super().__init__()
        self._n_min_frames = 2 ** (len(channels) - 1)
        if n_mels < self._n_min_frames:
            raise ConfigError(f"{len(channels)} blocks need at least {self._n_min_frames} mel bands, not {n_mels}")
        self.n_mels, self.dropout = n_mels, dropout
        self.embed_dim = self.frame_dim = channels[-1]
        self.bn0 = nn.BatchNorm2d(n_mels)
        self._blocks = [f"conv_block{index + 1}" for index in range(len(channels))]
        for name, n_in, n_out in zip(self._blocks, (1, *channels), channels, strict=False):
            self.add_module(name, _ConvBlock(n_in, n_out))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        if n_tags:
            self.fc_audioset = nn.Linear(channels[-1], n_tags)

    def forward(self, log_mel):
        """Log-mel (B, F, M) in dB → clip (B, embed_dim) ≥ 0, frames (B, F // 32, embed_dim)."""
        log_mel = at_least_frames(log_mel, self._n_min_frames)
        feature_map = norm_mel_bins(self.bn0, log_mel)
        for name in self._blocks:
            feature_map = self.get_submodule(name)(feature_map)
            if name != self._blocks[-1]:
                feature_map = F.avg_pool2d(feature_map, 2)
            feature_map = F.dropout(feature_map, self.dropout, self.training)
        frames = feature_map.mean(3).transpose(1, 2)
        pooled = F.dropout(frames.amax(1) + frames.mean(1), 0.5, self.training)
        clip = F.dropout(F.relu(self.fc1(pooled)), 0.5, self.training)
        return as_encoding(clip, frames)

    def tag_logits(self, clip):
        """(B, embed_dim) → logits (B, n_tags)."""
        if not hasattr(self, "fc_audioset"):
            raise ConfigError("this Cnn14 was built with n_tags=0: it has no tagging head")
        return self.fc_audioset(clip)


class _ConvBlock(nn.Module):
    """Twice: 3×3 convolution without bias, batch norm, ReLU."""

    conv_norms = (("conv1", "bn1"), ("conv2", "bn2"))  # what folding.py may join

    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.bn2 = nn.BatchNorm2d(n_out)
        for conv in (self.conv1, self.conv2):
            nn.init.xavier_uniform_(conv.weight)

    def forward(self, feature_map):
        feature_map = torch.relu(self.bn1(self.conv1(feature_map)))
        return torch.relu(self.bn2(self.conv2(feature_map)))
