"""What recipes call around a training: seeds, and a run that another one starts from."""

import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tinyclap.errors import ConfigError

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
_DDP_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def seed_everything(seed):
    """Seed Python, NumPy, PyTorch, and the order in which SpeechBrain shuffles; returns the seed, for a YAML."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ["SB_GLOBAL_SEED"] = str(seed)  # its sampler's order is the same for every seed otherwise
    return seed


def train_first(recipe, folder):
    """Train `recipe` into `folder` in a process of its own, unless a trained model is there; a ``prepare`` of recipes.

    `recipe` is found from the current folder, or else from the checkout of this package.

    Raises
    ------
    ConfigError
        The training failed.
    """
    if (Path(folder) / "student" / "config.json").exists():
        return
    path = next((path for path in (Path(recipe), ROOT / recipe) if path.is_file()), Path(recipe))
    logger.warning("%s has no trained model yet: running %s first", folder, recipe)
    words = [str(ROOT / "train.py"), str(path), "--output_folder", str(folder)]
    alone = {key: value for key, value in os.environ.items() if key not in _DDP_VARIABLES}
    if subprocess.run([sys.executable, *words], env=alone, check=False).returncode != 0:
        raise ConfigError(f"{' '.join(words)} failed; see {folder}/log.txt, and run this again")
