"""Model folders, exported or saved: ``config.json``, and files whose SHA-256 it states. No torch.

An exported folder's config has ``format``, ``kind`` ("audio_encoder", "tagger" or "captioner"), ``files`` (name to
SHA-256 of every other file that the runtime reads) and what its kind needs; a saved model's has ``format``, ``model``
(see :mod:`tinyclap.config.registry`) and ``weights_sha256``. Nothing in a folder is executed.
"""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np

from tinyclap.checkpoints.schema import config_problem, is_inside
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, atomic_folder, read_json, sha256_of, write_json

FORMAT = 1
WEIGHTS = "model.safetensors"
_ADVICE = "fetch the folder again, or install the tinyclap that wrote it"
# what is written beside the files that a config lists
_REPORTS = {"parity.json", "latency.json", "latency.md", "scores.json", "README.md", "MODEL_CARD.md"}


def read_config(folder):
    """Read the ``config.json`` of an exported folder (which has ``graphs``) or of a saved model, every key checked."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {CONFIG} there; give an exported folder, or a saved model")
    config = read_json(path, _ADVICE)
    if "format" not in config or not {"kind", "files", "graphs"} & set(config) and "model" not in config:
        raise CheckpointError(f"{path}: no config of a tinyclap model; give an exported folder, or a saved model")
    if config["format"] != FORMAT or isinstance(config["format"], bool):
        raise CheckpointError(f"{path}: format {config['format']!r}, this version reads {FORMAT}; {_ADVICE}")
    if found := config_problem(config):
        raise CheckpointError(f"{path}: {found}; {_ADVICE}")
    return config


def read_export(folder):
    """As :func:`read_config`, of an exported folder alone."""
    config = read_config(folder)
    if "graphs" not in config:
        raise CheckpointError(f"{folder}: a saved model, not an exported folder; write one with: tinyclap export")
    return config


def checksums(config):
    """File name → SHA-256, of what the config of a saved or exported model vouches for.

    Example
    -------
    >>> checksums({"format": 1, "model": {}, "weights_sha256": "ab"})
    {'model.safetensors': 'ab'}
    """
    if "files" in config:
        return dict(config["files"])
    probe = {config["probe"]["file"]: config["probe"]["sha256"]} if "probe" in config else {}
    return {WEIGHTS: config["weights_sha256"], **probe}


def path_inside(folder, name):
    """The path of a file in a folder, by a name that came from elsewhere and, like links, must not reach outside.

    Where ``config.json`` itself is a link, as in the cache of the Hub, files may be links to the folder it lies in.
    """
    folder = Path(folder)
    path = folder / name
    if is_inside(name):
        roots = (folder.resolve(), (folder / CONFIG).resolve().parent)
        if any(path.resolve().is_relative_to(root) for root in roots):
            return path
    raise CheckpointError(f"{folder}: its file {name!r} is outside the folder; take a folder that is whole")


def checked_file(folder, config, name):
    """The path of the file `name` of a model folder whose config is `config`, once its SHA-256 was compared."""
    known = checksums(config)
    if name not in known:
        raise CheckpointError(f"{folder}: {name} is none of its files ({', '.join(known)})")
    path = path_inside(folder, name)
    if not path.is_file():
        raise CheckpointError(f"{path}: the file is missing; copy the whole folder")
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if sha256 != known[name]:
        raise CheckpointError(
            f"{path}: not the file that was exported or saved (its sha256 differs): cut short or changed; copy the "
            "folder again"
        )
    return path


def read_arrays(path, *names):
    """Arrays of an ``.npz`` file without Python objects, `names` among them: dict of str to numpy.ndarray."""
    try:
        if not zipfile.is_zipfile(path):  # numpy's own advice would be to unpickle it
            raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
    except Exception as error:  # zipfile, zlib, struct and numpy each raise their own
        raise CheckpointError(f"{path}: no file of plain arrays ({error}); fetch it again") from error
    if lacking := [name for name in names if name not in arrays]:
        raise CheckpointError(f"{path}: lacks {', '.join(lacking)}; export the model again")
    return arrays


@contextlib.contextmanager
def new_folder(target):
    """Yield a temporary folder that takes the place of `target` when the block ends without an error.

    `target` is missing, empty, or an earlier export or save, which is replaced; files that it did not write are kept.
    ConfigError: `target` holds something else, which is left alone, or cannot be written.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as scratch:
    ...     with new_folder(f"{scratch}/exported") as folder:
    ...         _ = (folder / "a.txt").write_text("a")
    ...     os.listdir(scratch), os.listdir(f"{scratch}/exported")
    (['exported'], ['a.txt'])
    """
    if not isinstance(target, (str, os.PathLike)) or not os.fspath(target) or "\0" in os.fspath(target):
        raise ConfigError(f"a folder to write is a path, not {target!r:.60}")
    target, known = Path(os.path.abspath(target)), {}
    if target.is_dir() and any(target.iterdir()):
        with contextlib.suppress(CheckpointError):
            known = read_config(target)
    if os.path.lexists(target) and not known and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(f"{target} is there and is no earlier model; give another folder, or remove it yourself")
    if Path.cwd().is_relative_to(target):
        raise ConfigError(
            f"{target} is the working folder, which is not replaced; give another folder, or a new one in it"
        )
    written = {CONFIG, *_REPORTS, *(checksums(known) if known else ())}
    try:
        with atomic_folder(target) as folder:
            yield folder
            for path in sorted(target.rglob("*")) if known else ():
                name = path.relative_to(target)
                is_other = name.as_posix() not in written and (path.is_symlink() or path.is_file())
                if is_other and not os.path.lexists(folder / name):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, folder / name, follow_symlinks=False)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error}); look at its permissions and the disk") from error


def write_config(folder, kind, files, **fields):
    """Write the ``config.json`` of an exported folder, last of all: `files` are what the runtime reads there."""
    folder = Path(folder)
    hashes = {name: sha256_of(folder / name) for name in files}
    write_json(folder / CONFIG, {"format": FORMAT, "kind": kind, **fields, "files": hashes})


def amend(folder, files=(), **fields):
    """Add fields, and files that are new or have changed, to an exported folder's config."""
    config = read_export(folder)
    del config["format"]
    names, kind = [*config.pop("files"), *files], config.pop("kind")
    write_config(folder, kind, list(dict.fromkeys(names)), **{**config, **fields})
