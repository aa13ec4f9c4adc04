"""Training losses: contrastive, distillation, captioning."""

from tinyclap.losses.contrastive import *  # noqa: F403
from tinyclap.losses.distillation import make_distill_loss as make_distill_loss
