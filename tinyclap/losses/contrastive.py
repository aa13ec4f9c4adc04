"""CLAP's symmetric contrastive loss.

Source: Elizalde et al., "CLAP", ICASSP 2023.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLAP_LOGIT_SCALE = 1 / 0.07  # the inverse temperature with which CLIP and CLAP start


def clap_contrastive(
    audio: Tensor, text: Tensor, logit_scale: float | Tensor = CLAP_LOGIT_SCALE, max_logit: float = 100.0
) -> Tensor:
    """L = ½ [CE(C, diagonal) + CE(Cᵀ, diagonal)] with C = min(scale · cos(audio, text), max_logit).

    Arguments
    ---------
    audio, text : torch.Tensor, shape (B, D). Pairs; L2-normalised here.
    logit_scale : float or torch.Tensor, shape (). The inverse temperature, not its logarithm.
    max_logit : float. Logits are clipped to it, as in the published code.
    """
    logits = (logit_scale * F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T).clamp(max=max_logit)
    diagonal = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2


class ClapContrastiveLoss(nn.Module):
    """:func:`clap_contrastive` with the model's learnable temperature."""

    def forward(self, audio: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """(B, D), (B, D) and the inverse temperature () → ()."""
        return clap_contrastive(audio, text, scale)
