"""Training losses: contrastive, distillation, captioning."""

from tinyclap.losses.contrastive import ClapContrastiveLoss as ClapContrastiveLoss
from tinyclap.losses.contrastive import clap_contrastive as clap_contrastive
from tinyclap.losses.distillation import CentredCosineDistillLoss as CentredCosineDistillLoss
from tinyclap.losses.distillation import CosineDistillLoss as CosineDistillLoss
from tinyclap.losses.distillation import EmbeddingMSELoss as EmbeddingMSELoss
from tinyclap.losses.distillation import NestedLoss as NestedLoss
from tinyclap.losses.distillation import cosine_distill as cosine_distill
from tinyclap.losses.distillation import make_distill_loss as make_distill_loss
from tinyclap.losses.distillation import mse_distill as mse_distill
