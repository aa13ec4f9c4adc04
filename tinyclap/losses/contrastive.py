"""CLAP's symmetric contrastive loss.

Source: Elizalde et al., "CLAP", ICASSP 2023.
"""

import torch
import torch.nn.functional as F
from torch import nn

# exp(ln(1 / 0.07)): the temperature 0.07 with which CLIP and CLAP begin.
CLAP_LOGIT_SCALE = 1 / 0.07


def clap_contrastive(audio, text, logit_scale=CLAP_LOGIT_SCALE, max_logit=100.0):
    """CLAP's symmetric contrastive loss over a batch of pairs.

    Arguments
    ---------
    audio, text : torch.Tensor, shape (B, D)
        Row i of one belongs to row i of the other; any length, normalised here.
    logit_scale : float or torch.Tensor, shape ()
        The inverse temperature itself, not its logarithm.
    max_logit : float
        Logits above it are clipped, as in the published code.

    Returns
    -------
    torch.Tensor, shape ()
        ≥ 0.

    Notes
    -----
    C = clip(scale · a tᵀ); L = ½ [CE(C, diagonal) + CE(Cᵀ, diagonal)].
    """
    logits = (logit_scale * F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T).clamp(max=max_logit)
    diagonal = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2


class ClapContrastiveLoss(nn.Module):
    """:func:`clap_contrastive` with the model's learnable temperature given at each call."""

    def forward(self, audio, text, scale):
        """The loss of a batch: (B, D), (B, D) and the inverse temperature itself, shape () → ()."""
        return clap_contrastive(audio, text, scale)
