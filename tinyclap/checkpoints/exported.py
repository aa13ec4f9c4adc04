"""What an exported folder holds, checked when it is opened. Needs no torch.

``config.json`` has ``format``, ``kind`` ("audio_encoder", "tagger" or "captioner"), ``files`` (name to SHA-256 of every
other file that the runtime reads) and what its kind needs; `tinyclap.export` writes it.
"""

import hashlib
import json
from pathlib import Path

from tinyclap.errors import CheckpointError

FORMAT = 1
CONFIG = "config.json"
_REQUIRED = ("format", "kind", "files", "provenance")


def file_sha256(path):
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_config(folder):
    """Read an exported folder's ``config.json``.

    Arguments
    ---------
    folder : str or os.PathLike

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        There is no such folder, or it is not an exported one of this format.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {CONFIG} there; give a folder that export.py wrote")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error}); export the model again") from error
    lacking = [key for key in _REQUIRED if key not in config] if isinstance(config, dict) else list(_REQUIRED)
    if lacking:
        raise CheckpointError(
            f"{path}: not the config of an exported folder (lacks: {', '.join(lacking)}); the runtime opens what "
            "export.py wrote, not a run or a checkpoint"
        )
    if config["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: format {config['format']}, this version reads {FORMAT}; export the model again, or install the "
            "version of tinyclap that wrote it"
        )
    return config


def checked_file(folder, config, name):
    """Return the path of a file of an exported folder, after a look whether it is the one that was exported.

    Arguments
    ---------
    folder : str or os.PathLike
    config : dict
        From :func:`read_config`.
    name : str
        One of ``config["files"]``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CheckpointError
        The folder never had it, it is gone, or it has changed.
    """
    path = Path(folder) / name
    if name not in config["files"]:
        raise CheckpointError(f"{folder}: {name} is none of its files ({', '.join(config['files'])})")
    if not path.is_file():
        raise CheckpointError(f"{path}: the file is missing; copy the whole folder")
    if file_sha256(path) != config["files"][name]:
        raise CheckpointError(
            f"{path}: not the file that was exported (its sha256 differs): cut short or changed; copy the folder again"
        )
    return path
