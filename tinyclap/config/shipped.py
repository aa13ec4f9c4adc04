"""The models that come with the package: exported folders under ``tinyclap/shipped_models``, each by its name."""

from pathlib import Path

DEFAULT_MODEL = "tinyclap-phinet-m"
DEFAULT_CAPTIONER = "tinyclap-captioner-mn04"
_FOLDER = Path(__file__).resolve().parents[1] / "shipped_models"


def shipped_names():
    """Names of the models that come with the package, sorted: list of str."""
    # a folder that is being written begins with a dot
    return sorted(path.parent.name for path in _FOLDER.glob("*/config.json") if not path.parent.name.startswith("."))


def shipped_folder(name):
    """Where a shipped model lies.

    Arguments
    ---------
    name : str

    Returns
    -------
    pathlib.Path or None
        None where no shipped model has this name.
    """
    folder = _FOLDER / str(name)
    return folder if str(name) in shipped_names() else None
