"""Audio towers in bfloat16: the encoder alone; log-mel, its norms, heads and embeddings stay in float32."""

import copy

import torch
from torch import nn

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
        encoding = self.encoder(log_mel if self._normed else log_mel.bfloat16())
        middle = None if encoding.middle is None else encoding.middle.float()
        return encoding._replace(clip=encoding.clip.float(), frames=encoding.frames.float(), middle=middle)

    def tag_logits(self, clip):
        """Logits (B, n_tags) of the tags, given `clip` (B, embed_dim)."""
        return self.encoder.tag_logits(clip)


def in_bf16(student):
    """A folded copy of an AudioStudent whose encoder computes in channels-last bfloat16."""
    low = student.fold()
    low = copy.deepcopy(low) if low is student else low
    low.encoder = Bf16Encoder(low.encoder)
    return low
