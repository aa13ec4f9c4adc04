"""The models that come with the package: exported folders under ``tinyclap/shipped_models``, each by its name."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MODEL = "tinyclap-phinet-m"
DEFAULT_CAPTIONER = "tinyclap-captioner-mn04"
_FOLDER = Path(__file__).resolve().parents[1] / "shipped_models"


def shipped_names() -> list[str]:
    """Names of the models that come with the package, sorted."""
    # a folder that is being written begins with a dot
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json") if not path.parent.name.startswith("."))


def shipped_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a shipped model; None where no shipped model has this name."""
    return _FOLDER / str(name) if str(name) in shipped_names() else None
