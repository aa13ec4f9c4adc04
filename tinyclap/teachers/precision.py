"""Audio networks of teachers in bfloat16; front ends, heads, decoders, text towers and all outputs stay in float32.

On CPUs with such instructions a folded CNN14 is about 2.5 times as fast, elsewhere slower. Cosines to float32 are above
0.999 for embeddings and tags of trained networks, above 0.997 for their feature maps.
"""

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tinyclap.models.encoders import ENCODERS
from tinyclap.models.folding import fold_norms
from tinyclap.models.student import AudioStudent

PRECISIONS = ("fp32", "bf16")
# Levels in dB need four digits and bfloat16 has less than three, so their norm stays in float32; heads cost nothing.
_KEPT = ("bn0", "classifier", "fc_audioset")


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


class Bf16Encoder(AutocastEncoder):
    """A folded `encoder` of ours, changed so that its weights and maps are bfloat16 and channels-last."""

    def __init__(self, encoder):
        encoder.to(torch.bfloat16, memory_format=torch.channels_last)
        for name in _KEPT:
            if hasattr(encoder, name):
                getattr(encoder, name).float()
        super().__init__(encoder)
        self._is_normed = hasattr(encoder, "bn0")
        if self._is_normed:
            encoder.bn0.dtype = torch.bfloat16

    def forward(self, log_mel):
        """Encode log-mel spectrograms (B, F, M), float32, to an ``AudioEncoding`` in float32."""
        return _in_fp32(self.encoder(log_mel if self._is_normed else log_mel.bfloat16()))


def in_bf16(network):
    """A copy of an AudioStudent or of one of our encoders, its norms folded; another network itself, under autocast."""
    if isinstance(network, AudioStudent):
        low = copy.deepcopy(network)
        low.encoder = in_bf16(low.encoder)
        return low.requires_grad_(False).eval()
    if type(network) in ENCODERS.values():
        return Bf16Encoder(fold_norms(copy.deepcopy(network))).requires_grad_(False).eval()
    return AutocastEncoder(network)


def _in_fp32(outputs):
    return tree_map_only(torch.Tensor, lambda value: value.float() if value.is_floating_point() else value, outputs)
