"""The Brains, one for each kind of training or evaluation; a recipe names one by ``brain_class``."""

from tinyclap.brains.base import RecipeBrain as RecipeBrain
from tinyclap.brains.caption_scores import CaptionScoreBrain as CaptionScoreBrain
from tinyclap.brains.captioning import CaptioningBrain as CaptioningBrain
from tinyclap.brains.clap import ClapBrain as ClapBrain
from tinyclap.brains.distill import DistillBrain as DistillBrain
from tinyclap.brains.evaluation import EvaluationBrain as EvaluationBrain
from tinyclap.brains.latent_ranking import LatentRankingBrain as LatentRankingBrain
from tinyclap.brains.text_captioning import TextCaptioningBrain as TextCaptioningBrain
from tinyclap.brains.zero_shot import ZeroShotBrain as ZeroShotBrain
