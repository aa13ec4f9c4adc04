"""Audio networks of teachers in bfloat16; front ends, heads, decoders, text towers and all outputs stay in float32.

On CPUs with such instructions a folded CNN14 is about 2.5 times as fast as in float32; cosines to float32 are above
0.999. Where a GPU or CPU has none, bfloat16 is right and slow.
"""

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_map

from tinyclap.models.folding import fold_norms
from tinyclap.models.student import AudioStudent

PRECISIONS = ("fp32", "bf16")
# Levels in dB need four digits and bfloat16 has less than three, so their norm stays in float32; heads cost nothing.
_KEPT = ("bn0", "classifier", "fc_audioset")


class Bf16Encoder(nn.Module):
    """The `encoder` of a folded student, changed so that its weights and maps are bfloat16."""

    def __init__(self, encoder):
        super().__init__()
        encoder.to(torch.bfloat16, memory_format=torch.channels_last)
        for name in _KEPT:
            if hasattr(encoder, name):
                getattr(encoder, name).float()
        self._normed = hasattr(encoder, "bn0")
        if self._normed:
            encoder.bn0.dtype = torch.bfloat16
        self.encoder = encoder
        self.n_mels, self.embed_dim, self.frame_dim = encoder.n_mels, encoder.embed_dim, encoder.frame_dim

    def forward(self, log_mel):
        """Encode log-mel spectrograms (B, F, M), float32, to an ``AudioEncoding`` in float32."""
        return _in_fp32(self.encoder(log_mel if self._normed else log_mel.bfloat16()))

    def tag_logits(self, clip):
        """Logits (B, n_tags) of the tags, given `clip` (B, embed_dim)."""
        return self.encoder.tag_logits(clip)


class AutocastEncoder(nn.Module):
    """Any `encoder` under autocast to bfloat16, with its own attributes; weights and outputs are float32."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("encoder"), name)

    def forward(self, *inputs, **named):
        """As the encoder."""
        with torch.autocast(next(self.encoder.parameters()).device.type, torch.bfloat16):
            return _in_fp32(self.encoder(*inputs, **named))


def in_bf16(network):
    """A network in bfloat16: of an AudioStudent a copy with folded norms, any other one under autocast."""
    if not isinstance(network, AudioStudent):
        return AutocastEncoder(network)
    low = copy.deepcopy(network)
    if not low.folded:
        fold_norms(low.encoder)
        low.folded = True
    low.encoder = Bf16Encoder(low.encoder)
    return low.requires_grad_(False).eval()


def _in_fp32(outputs):
    def cast(value):
        return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return tree_map(cast, outputs)
