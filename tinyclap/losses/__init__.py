"""Training losses: modules ``forward(student, teacher) → ()``; no gradient reaches the teacher."""

from tinyclap.losses.captioning import CaptionCrossEntropy as CaptionCrossEntropy
from tinyclap.losses.captioning import EncoderKDLoss as EncoderKDLoss
from tinyclap.losses.captioning import TokenKD as TokenKD
from tinyclap.losses.contrastive import AffinityLoss as AffinityLoss
from tinyclap.losses.contrastive import ClapContrastiveLoss as ClapContrastiveLoss
from tinyclap.losses.contrastive import ContrastiveLoss as ContrastiveLoss
from tinyclap.losses.contrastive import InteractiveContrastiveLoss as InteractiveContrastiveLoss
from tinyclap.losses.contrastive import SigLIPLoss as SigLIPLoss
from tinyclap.losses.distillation import CentredCosineLoss as CentredCosineLoss
from tinyclap.losses.distillation import CosineLoss as CosineLoss
from tinyclap.losses.distillation import MSELoss as MSELoss
from tinyclap.losses.distillation import TagProfileLoss as TagProfileLoss
from tinyclap.losses.distillation import make_loss as make_loss
from tinyclap.losses.hints import FeatureHint as FeatureHint
from tinyclap.losses.hints import MapHint as MapHint
from tinyclap.losses.nested import NestedLoss as NestedLoss
