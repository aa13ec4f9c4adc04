"""EfficientNet-B2 on log-mel spectrograms, the audio encoder of the small captioner.

Source: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Xu et al.,
"Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024. Equal to efficientnet_pytorch.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import as_encoding, at_least_frames, first_channels, last_halving, make_divisible

# EfficientNet-B0's stages: blocks, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_B2_WIDTH, _B2_DEPTH = 1.1, 1.2
_SQUEEZE = 0.25  # of a block's input channels
_FOLD = 256  # weights of an output channel up to which scaling them is cheaper than scaling the map


@configurable
class EfficientNetB2(nn.Module):
    """EfficientNet without its classifier; frames are the last map averaged over mel.

    Arguments
    ---------
    n_mels : int. Mel bands M.
    width, depth : float. Multipliers of channels and of blocks; B2's by default.
    image_size : int. Convolutions are padded as for a square image of this size: see Notes.
    batchnorm_momentum, batchnorm_eps : float
    drop_connect : float. Probability of dropping a residual block in training: rises from 0 at the first to this.

    Notes
    -----
    Padding of a convolution with kernel k and stride S, on a map that would be s wide if the input were `image_size`
    wide: max((⌈s/S⌉ − 1)·S + k − s, 0), the smaller half first. Too short inputs repeat their last frame.
    """

    front_end = "efficientnet_captioner"
    mel_frames_each = 32  # per valid frame
    conv_norms = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))  # what folding.py may join

    def __init__(
        self,
        n_mels=64,
        width=_B2_WIDTH,
        depth=_B2_DEPTH,
        image_size=260,
        batchnorm_momentum=0.01,
        batchnorm_eps=1e-3,
        drop_connect=0.2,
    ):
        super().__init__()
        norm = {"momentum": batchnorm_momentum, "eps": batchnorm_eps}
        self._conv_stem = _SameConv(1, make_divisible(_STEM * width), 3, 2, 1, image_size)
        self._bn0 = nn.BatchNorm2d(self._conv_stem.out_channels, **norm)
        size, n_in = self._conv_stem.out_size, self._conv_stem.out_channels
        n_blocks = sum(math.ceil(depth * repeats) for repeats, *_ in _STAGES)
        blocks = []
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for index in range(math.ceil(depth * repeats)):
                drop = drop_connect * len(blocks) / n_blocks
                n_out = make_divisible(channels * width)
                blocks.append(_Block(n_in, n_out, expansion, kernel, 1 if index else stride, size, drop, norm))
                size, n_in = blocks[-1]._depthwise_conv.out_size, n_out
        self._blocks = nn.ModuleList(blocks)
        self._last_halving = last_halving(blocks)
        self.n_middle = first_channels(blocks[self._last_halving :])
        self._conv_head = _SameConv(n_in, make_divisible(_HEAD * width), 1, 1, 1, size)
        self._bn1 = nn.BatchNorm2d(self._conv_head.out_channels, **norm)
        self.n_mels = n_mels
        self.embed_dim = self.frame_dim = self._conv_head.out_channels
        self._n_min_frames = 1
        for conv in [block._depthwise_conv for block in reversed(blocks)] + [self._conv_stem]:
            self._n_min_frames = max(1, conv.smallest_input(self._n_min_frames))
        if n_mels < self._n_min_frames:
            raise ConfigError(f"the strides need at least {self._n_min_frames} mel bands, not {n_mels}")
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, log_mel):
        """Log-mel (B, F, M) in dB → clip (B, embed_dim), frames (B, ~F / 32, embed_dim)."""
        feature_map = at_least_frames(log_mel, self._n_min_frames).transpose(1, 2)[:, None]
        feature_map = F.silu(_conv_norm(self._conv_stem, self._bn0, feature_map), inplace=True)
        if feature_map.device.type == "cpu":  # depthwise convolutions are quicker so, and the order stays
            feature_map = feature_map.contiguous(memory_format=torch.channels_last)
        for index, block in enumerate(self._blocks):
            if index == self._last_halving:
                middle = feature_map.transpose(2, 3)
            feature_map = block(feature_map)
        feature_map = F.silu(_conv_norm(self._conv_head, self._bn1, feature_map), inplace=True)
        frames = feature_map.mean(2).transpose(1, 2)
        return as_encoding(frames.mean(1), frames, middle)

    def n_valid_frames(self, n_mel_frames):
        """Valid frames of clips of `n_mel_frames` (B,) mel frames, as published."""
        return (n_mel_frames // self.mel_frames_each).clamp(min=1)


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, squeeze-excite, project, skip."""

    conv_norms = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))

    def __init__(self, n_in, n_out, expansion, kernel, stride, size, drop, norm):
        super().__init__()
        n_hidden, n_squeezed = n_in * expansion, max(1, int(n_in * _SQUEEZE))
        self.expands, self.drop = expansion > 1, drop
        if self.expands:
            self._expand_conv = _SameConv(n_in, n_hidden, 1, 1, 1, size)
            self._bn0 = nn.BatchNorm2d(n_hidden, **norm)
        self._depthwise_conv = _SameConv(n_hidden, n_hidden, kernel, stride, n_hidden, size)
        self._bn1 = nn.BatchNorm2d(n_hidden, **norm)
        self._se_reduce = nn.Conv2d(n_hidden, n_squeezed, 1)
        self._se_expand = nn.Conv2d(n_squeezed, n_hidden, 1)
        self._project_conv = _SameConv(n_hidden, n_out, 1, 1, 1, self._depthwise_conv.out_size)
        self._bn2 = nn.BatchNorm2d(n_out, **norm)
        self.skip = stride == 1 and n_in == n_out

    def forward(self, feature_map):
        hidden = feature_map
        if self.expands:
            hidden = F.silu(_conv_norm(self._expand_conv, self._bn0, hidden), inplace=True)
        hidden = F.silu(_conv_norm(self._depthwise_conv, self._bn1, hidden), inplace=True)
        squeezed = F.silu(self._se_reduce(hidden.mean((2, 3), keepdim=True)))
        hidden = hidden * torch.sigmoid(self._se_expand(squeezed))
        projected = _conv_norm(self._project_conv, self._bn2, hidden)
        return self._dropped(projected) + feature_map if self.skip else projected

    def _dropped(self, projected):
        """Stochastic depth: drop the block for some clips of the batch."""
        if not self.training or self.drop == 0:
            return projected
        keep = torch.rand(len(projected), 1, 1, 1, device=projected.device, dtype=projected.dtype) >= self.drop
        return projected * keep / (1 - self.drop)


class _SameConv(nn.Conv2d):
    """Convolution without bias, padded as for an image of `size`, whose output would be ``out_size`` wide."""

    def __init__(self, n_in, n_out, kernel, stride, groups, size):
        self.out_size = math.ceil(size / stride)
        n_padded = max((self.out_size - 1) * stride + kernel - size, 0)
        super().__init__(n_in, n_out, kernel, stride, n_padded // 2, groups=groups, bias=False)
        self.n_padded, self.n_more = n_padded, n_padded % 2

    def forward(self, feature_map, scale=None, shift=None):
        """Convolve, then multiply by `scale` and add `shift` (C,)."""
        if self.n_more:
            feature_map = F.pad(feature_map, (0, self.n_more, 0, self.n_more))
        weight = self.weight if scale is None else self.weight * scale[:, None, None, None]
        bias = self.bias if shift is None else shift
        return F.conv2d(feature_map, weight, bias, self.stride, self.padding, groups=self.groups)

    def smallest_input(self, n_out):
        """Minimum input for `n_out` outputs."""
        return (n_out - 1) * self.stride[0] + self.kernel_size[0] - self.n_padded


def _conv_norm(conv, norm, feature_map):
    """Convolution, then batch norm; in evaluation the norm is folded into the weights where that is faster."""
    is_folded = isinstance(norm, nn.Identity)  # by folding.py
    if is_folded or norm.training or conv.weight[0].numel() > _FOLD:
        return norm(conv(feature_map))
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv(feature_map, scale, norm.bias - norm.running_mean * scale)
