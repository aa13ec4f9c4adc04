"""CED, a small Vision Transformer over log-mel patches, an AudioSet tagger: tiny, mini, small and base.

Source: Dinkel et al., "CED: Consistent Ensemble Distillation for Audio Tagging", ICASSP 2024, and its code,
github.com/RicherMans/CED; parameters are named as in huggingface.co/mispeech/ced-tiny.
"""

import torch.nn.functional as F
from torch import nn
from torch.nn.init import normal_, trunc_normal_, zeros_

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import as_encoding, at_least_frames, norm_mel_bins

_HEAD_WIDTH = 64


@configurable
class Ced(nn.Module):
    """Patches of 16 × 16, embeddings of time and of frequency added, pre-norm Transformer blocks, mean over patches.

    Arguments
    ---------
    width : int. A multiple of 64, the width of a head: 192 (tiny), 256 (mini), 384 (small), 768 (base).
    n_layers : int
    n_tags : int. Classes of the tagging head; 0 leaves it out.
    n_mels : int. Mel bands M, a multiple of `patch`.
    max_frames : int. Maximum number of mel frames.
    patch : int. Side of a patch, in bands and in frames.
    dropout : float. After the positions, and in the blocks after attention and MLP.

    Notes
    -----
    5.5 million parameters in tiny. Frames are patches averaged over frequency, one for `patch` mel frames; a remainder
    is left out, as published, and fewer than `patch` mel frames repeat their last. More than `max_frames` are refused.

    Example
    -------
    >>> import torch
    >>> Ced()(torch.zeros(2, 1001, 64)).frames.shape
    torch.Size([2, 62, 192])
    """

    front_end = "efficientnet_captioner"

    def __init__(self, width=192, n_layers=12, n_tags=0, n_mels=64, max_frames=1012, patch=16, dropout=0.0):
        super().__init__()
        if width < 1 or width % _HEAD_WIDTH:
            raise ConfigError(f"width={width} is no multiple of {_HEAD_WIDTH}, the width of an attention head")
        if n_mels % patch or max_frames < patch:
            raise ConfigError(f"n_mels={n_mels} has to be a multiple of patch={patch}, max_frames={max_frames} more")
        self.n_mels, self.max_frames, self.patch = n_mels, max_frames, patch
        self.embed_dim = self.frame_dim = width
        self.init_bn = nn.BatchNorm2d(n_mels, momentum=0.01)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, patch, patch)})
        self.time_pos_embed = nn.Parameter(normal_(self._positions(1, max_frames // patch), std=0.02))
        self.freq_pos_embed = nn.Parameter(normal_(self._positions(n_mels // patch, 1), std=0.02))
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_Block(width, dropout) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if n_tags:
            self.outputlayer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_tags))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                zeros_(module.bias)

    def _positions(self, n_rows, n_columns):
        return self.patch_embed["proj"].weight.new_empty(1, self.embed_dim, n_rows, n_columns)

    def forward(self, log_mel):
        """Log-mel (B, F, M) in dB, F ≤ ``max_frames`` → clip (B, width), frames (B, F // patch, width)."""
        if log_mel.shape[1] > self.max_frames:
            raise ConfigError(
                f"the spectrogram has {log_mel.shape[1]} frames, CED takes {self.max_frames}; cut the clip into windows"
            )
        log_mel = at_least_frames(log_mel, self.patch)
        patches = self.patch_embed["proj"](norm_mel_bins(self.init_bn, log_mel).transpose(2, 3))
        patches = patches + self.time_pos_embed[..., : patches.shape[3]] + self.freq_pos_embed
        n_bands = patches.shape[2]
        tokens = self.norm(self.blocks(self.pos_drop(patches.flatten(2).transpose(1, 2))))
        return as_encoding(tokens.mean(1), tokens.unflatten(1, (n_bands, -1)).mean(1))

    def n_valid_frames(self, n_mel_frames):
        """Valid frames of clips of `n_mel_frames` (B,) mel frames."""
        return (n_mel_frames // self.patch).clamp(min=1)

    def tag_logits(self, clip):
        """(B, width) → logits (B, n_tags)."""
        if not hasattr(self, "outputlayer"):
            raise ConfigError("this Ced was built with n_tags=0: it has no tagging head")
        return self.outputlayer(clip)


class _Block(nn.Module):
    """Pre-norm self-attention and MLP, both residual."""

    def __init__(self, width, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        tokens = tokens + self.dropout(self.attn(self.norm1(tokens)))
        hidden = self.dropout(F.gelu(self.mlp["fc1"](self.norm2(tokens))))
        return tokens + self.dropout(self.mlp["fc2"](hidden))


class _Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C)."""

    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens):
        heads = self.qkv(tokens).unflatten(-1, (3, -1, _HEAD_WIDTH)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, 64)
        context = F.scaled_dot_product_attention(*heads.unbind(0))
        return self.proj(context.transpose(1, 2).flatten(2))
