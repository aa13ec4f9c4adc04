"""The Brains: one a kind of training, named in the YAML by ``brain_class``."""

from tinyclap.brains.base import RecipeBrain
from tinyclap.brains.clap import ClapBrain
from tinyclap.brains.distill import EmbeddingDistillBrain
from tinyclap.brains.pooled import PooledDistillBrain
from tinyclap.brains.zero_shot import ZeroShotBrain

__all__ = ["ClapBrain", "EmbeddingDistillBrain", "PooledDistillBrain", "RecipeBrain", "ZeroShotBrain"]
