"""Exported folders, written whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from tinyclap.checkpoints.exported import CONFIG, FORMAT, file_sha256, read_config
from tinyclap.errors import CheckpointError, ConfigError


@contextlib.contextmanager
def new_folder(target):
    """A folder to write into, which becomes `target` when the block ends without an error.

    Arguments
    ---------
    target : str or os.PathLike
        Missing, empty, or an earlier export, which is then replaced.

    Yields
    ------
    pathlib.Path
        Beside `target`; it disappears if the block fails.

    Raises
    ------
    ConfigError
        `target` holds something else, which is left alone.

    Example
    -------
    >>> with tempfile.TemporaryDirectory() as scratch:
    ...     with new_folder(f"{scratch}/exported") as folder:
    ...         _ = (folder / "a.txt").write_text("a")
    ...     os.listdir(scratch), os.listdir(f"{scratch}/exported")
    (['exported'], ['a.txt'])
    """
    target = Path(os.path.abspath(target))
    if target.exists() and not (target.is_dir() and (not any(target.iterdir()) or _is_export(target))):
        raise ConfigError(f"{target} is there and is no earlier export; give another --target, or remove it yourself")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        old = staging.with_name(staging.name + ".old")
        if target.exists():
            os.replace(target, old)
        os.replace(staging, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_export(folder):
    try:
        read_config(folder)
    except CheckpointError:
        return False
    return True


def _umask():
    """The process' mask of permissions, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path, content):
    """Write JSON that people can read, one key a line; NaN is refused."""
    Path(path).write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )


def write_config(folder, kind, files, **fields):
    """Write the ``config.json`` that the runtime opens, last of all files.

    Arguments
    ---------
    folder : str or os.PathLike
    kind : {"audio_encoder", "tagger", "captioner"}
    files : sequence of str
        Names, in `folder`, of what the runtime reads; their SHA-256 is noted.
    **fields
        What the kind needs, JSON-able; ``provenance`` among them.
    """
    folder = Path(folder)
    hashes = {name: file_sha256(folder / name) for name in files}
    write_json(folder / CONFIG, {"format": FORMAT, "kind": kind, **fields, "files": hashes})


def amend(folder, files=(), **fields):
    """Add fields and files to an exported folder's config.

    Arguments
    ---------
    folder : str or os.PathLike
    files : sequence of str
        Names of files that were added or have changed.
    **fields
        JSON-able.
    """
    config = read_config(folder)
    known = config.pop("files")
    kind = config.pop("kind")
    del config["format"]
    write_config(folder, kind, list(dict.fromkeys([*known, *files])), **{**config, **fields})
