"""Training losses: contrastive, distillation, captioning."""

from tinyclap.losses.contrastive import ClapContrastiveLoss, clap_contrastive
from tinyclap.losses.distillation import (
    CentredCosineDistillLoss,
    CosineDistillLoss,
    EmbeddingMSELoss,
    NestedLoss,
    cosine_distill,
    make_distill_loss,
    mse_distill,
)

__all__ = [
    "CentredCosineDistillLoss",
    "ClapContrastiveLoss",
    "CosineDistillLoss",
    "EmbeddingMSELoss",
    "NestedLoss",
    "clap_contrastive",
    "cosine_distill",
    "make_distill_loss",
    "mse_distill",
]
