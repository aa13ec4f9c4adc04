"""HTS-AT, a Swin Transformer over log-mel spectrograms: the audio encoder of WavCaps' captioners.

Source: Chen et al., "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification and Detection",
ICASSP 2022; Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021;
Mei et al., "WavCaps", IEEE/ACM TASLP 2024.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import as_encoding, norm_mel_bins


@configurable
class Htsat(nn.Module):
    """A spectrogram folded into a square image, and four stages of attention in windows, shifted in every other block.

    Arguments
    ---------
    n_mels, image_size : int. Mel bands M, and side of the image, a multiple, of ``image_size² / n_mels`` frames.
    patch : int. Side of a patch.
    width : int. Channels of the first stage; each further stage doubles them.
    depths, n_heads : sequence of int. Blocks and attention heads of each stage.
    window : int. Side of an attention window, in patches; a stage that is no larger has one window, unshifted.
    n_tags : int. Tags of the published tagging head, which is loaded and unused; 0 leaves it out.

    Notes
    -----
    Segments of `image_size` frames lie one above the other in the image. The last map is averaged over the bands of
    each segment. Fewer than ``n_image_frames`` mel frames are stretched, more are refused. The published stochastic
    depth and SpecAugment are left out: it is a teacher here.
    """

    front_end = "wavcaps_htsat"

    def __init__(
        self,
        n_mels=64,
        image_size=256,
        patch=4,
        width=96,
        depths=(2, 2, 6, 2),
        n_heads=(4, 8, 16, 32),
        window=8,
        n_tags=527,
    ):
        super().__init__()
        side, self.stride = image_size // patch, patch * 2 ** (len(depths) - 1)
        self.n_mels, self.image_size = n_mels, image_size
        self.n_image_frames = image_size**2 // n_mels
        if len(depths) != len(n_heads) or image_size % n_mels or n_mels % self.stride:
            raise ConfigError(
                f"need as many depths as n_heads, and image_size a multiple of n_mels a multiple of {self.stride}; "
                f"got {list(depths)}, {list(n_heads)}, {image_size}, {n_mels}"
            )
        self.embed_dim = self.frame_dim = width * 2 ** (len(depths) - 1)
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, patch, patch), "norm": nn.LayerNorm(width)})
        stages = [
            _Stage(width * 2**i, side // 2**i, depth, heads, window, is_last=i == len(depths) - 1)
            for i, (depth, heads) in enumerate(zip(depths, n_heads, strict=True))
        ]
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(self.embed_dim)
        if n_tags:
            self.tscam_conv = nn.Conv2d(self.embed_dim, n_tags, (n_mels // self.stride, 3), padding=(0, 1))
            self.head = nn.Linear(n_tags, n_tags)

    def forward(self, log_mel):
        """Log-mel (B, F, M), 1 ≤ F ≤ ``n_image_frames`` → clip (B, C), frames (B, F', C)."""
        patches = self.patch_embed["proj"](self._image(log_mel)).permute(0, 2, 3, 1)
        feature_map = self.norm(self.layers(self.patch_embed["norm"](patches)))
        n_clips, side, _, n_channels = feature_map.shape
        bands = feature_map.reshape(n_clips, self.image_size // self.n_mels, -1, side, n_channels)
        frames = bands.mean(2).flatten(1, 2)
        return as_encoding(frames.mean(1), frames)

    def _image(self, log_mel):
        """Normalise each band, stretch to the image's number of frames, and fold: (B, F, M) to (B, 1, S, S)."""
        if not 1 <= log_mel.shape[1] <= self.n_image_frames:
            takes = f"HTS-AT takes 1 to {self.n_image_frames}; cut the clip into windows first"
            raise ConfigError(f"the spectrogram has {log_mel.shape[1]} frames, {takes}")
        image = norm_mel_bins(self.bn0, log_mel)
        if image.shape[2] < self.n_image_frames:
            image = F.interpolate(image, (self.n_image_frames, self.n_mels), mode="bicubic", align_corners=True)
        segments = image[:, 0].unflatten(1, (-1, self.image_size))
        return segments.transpose(2, 3).flatten(1, 2)[:, None]


class _Stage(nn.Module):
    """Blocks of one resolution, then (but in the last stage) patch merging."""

    def __init__(self, width, side, depth, n_heads, window, is_last):
        super().__init__()
        window = min(window, side)
        shift = 0 if side == window else window // 2
        self.blocks = nn.Sequential(*(_Block(width, side, n_heads, window, shift * (i % 2)) for i in range(depth)))
        self.downsample = None if is_last else _Merging(width)

    def forward(self, feature_map):
        feature_map = self.blocks(feature_map)
        return feature_map if self.downsample is None else self.downsample(feature_map)


class _Merging(nn.Module):
    """(B, S, S, C) to (B, S/2, S/2, 2C)."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, feature_map):
        corners = [feature_map[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class _Block(nn.Module):
    """Pre-norm window attention and MLP, both residual."""

    def __init__(self, width, side, n_heads, window, shift):
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, n_heads, window)
        self.norm2 = nn.LayerNorm(width)
        layers = {"fc1": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        # It follows from the sizes, so it stays out of the state dict.
        self.register_buffer("mask", _shift_mask(side, window, shift) if shift else None, persistent=False)

    def forward(self, feature_map):
        inside = self.norm1(feature_map)
        if self.shift:
            inside = inside.roll((-self.shift, -self.shift), (1, 2))
        inside = self.attn(inside, self.mask)
        if self.shift:
            inside = inside.roll((self.shift, self.shift), (1, 2))
        feature_map = feature_map + inside
        return feature_map + self.mlp(self.norm2(feature_map))


class _WindowAttention(nn.Module):
    """Self-attention within windows, with relative position bias."""

    def __init__(self, width, n_heads, window):
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, n_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("offsets", _offsets(window), persistent=False)

    def forward(self, feature_map, mask):
        windows = _to_windows(feature_map, self.window)  # (B, W, P, C): W windows of P patches
        n_clips, n_windows, n_patches, n_channels = windows.shape
        qkv = self.qkv(windows).unflatten(-1, (3, self.n_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        # Windows stand beside heads, so that one (W·H, P, P) bias serves all clips.
        query, key, value = qkv.reshape(3, n_clips, n_windows * self.n_heads, n_patches, -1)
        bias = self.relative_position_bias_table[self.offsets].permute(2, 0, 1)
        bias = bias.expand(n_windows, -1, -1, -1) if mask is None else bias + mask[:, None]
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.flatten(0, 1)[None])
        context = context.unflatten(1, (n_windows, self.n_heads)).transpose(2, 3)
        return _from_windows(self.proj(context.reshape(windows.shape)), feature_map.shape)


def _to_windows(feature_map, window):
    """(B, S, S, C) to (B, W, P, C): the windows of `window` × `window` patches, row by row."""
    n_clips, side, _, n_channels = feature_map.shape
    n_along = side // window
    windows = feature_map.reshape(n_clips, n_along, window, n_along, window, n_channels).transpose(2, 3)
    return windows.reshape(n_clips, n_along**2, window**2, n_channels)


def _from_windows(windows, shape):
    """Undo :func:`_to_windows`; `shape` is that of the feature map."""
    n_clips, side, _, n_channels = shape
    window = round(windows.shape[2] ** 0.5)
    feature_map = windows.reshape(n_clips, side // window, side // window, window, window, n_channels)
    return feature_map.transpose(2, 3).reshape(shape)


def _offsets(window):
    """Row of the bias table for each pair of patches (P, P): the offset between them, in rows and columns."""
    row, column = (axis.flatten() for axis in torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
    rows = row[:, None] - row[None, :] + window - 1
    columns = column[:, None] - column[None, :] + window - 1
    return rows * (2 * window - 1) + columns


def _shift_mask(side, window, shift):
    """−100 (W, P, P) between patches that a shift brought into one window from opposite edges of the image."""
    part = torch.zeros(side)
    part[side - window :], part[side - shift :] = 1, 2
    parts = _to_windows((3 * part[:, None] + part)[None, ..., None], window)[0, ..., 0]
    return torch.where(parts[:, :, None] == parts[:, None, :], 0.0, -100.0)
