"""The Brains, one for each kind of training or evaluation; a recipe names one by ``brain_class``."""

from tinyclap.brains.base import RecipeBrain
from tinyclap.brains.caption_scores import CaptionScoreBrain
from tinyclap.brains.captioning import CaptionDistillBrain
from tinyclap.brains.clap import ClapBrain
from tinyclap.brains.distill import EmbeddingDistillBrain
from tinyclap.brains.evaluation import EvaluationBrain
from tinyclap.brains.latent_ranking import LatentRankingBrain
from tinyclap.brains.pooled import PooledDistillBrain
from tinyclap.brains.text_captioning import TextCaptioningBrain
from tinyclap.brains.zero_shot import ZeroShotBrain

__all__ = [
    "CaptionDistillBrain",
    "CaptionScoreBrain",
    "ClapBrain",
    "EmbeddingDistillBrain",
    "EvaluationBrain",
    "LatentRankingBrain",
    "PooledDistillBrain",
    "RecipeBrain",
    "TextCaptioningBrain",
    "ZeroShotBrain",
]
