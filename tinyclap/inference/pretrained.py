"""A model by its folder, its name on the hub, or the name of one that comes with the package: one call.

    model = tinyclap.from_pretrained()
    model.classify("dog.wav", labels=["dog barking", "rain", "siren"])

An exported folder is opened by an inference engine, without torch; a run or a saved model by torch.
"""

import json
from pathlib import Path

from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder, shipped_names
from tinyclap.errors import CheckpointError, ConfigError, DownloadError

CONFIG = "config.json"


def from_pretrained(
    source=DEFAULT_MODEL,
    dim=None,
    revision=None,
    local_files_only=False,
    cache_dir=None,
    engine="onnxruntime",
    precision="auto",
    n_threads=None,
):
    """Open a model, ready to use.

    Arguments
    ---------
    source : str or os.PathLike
        The name of a shipped model, an exported folder, the folder of a run or of a saved model, or ``owner/name`` on
        the Hugging Face hub.
    dim : int or None
        The `dim` most important dimensions alone, of a model in which an order of them is stored.
    revision : str or None
        Branch, tag or commit on the hub.
    local_files_only : bool
        Never ask the network: a hub name is looked up in the cache alone.
    cache_dir : str or os.PathLike, optional
        Where downloads are kept; None takes the hub's own place.
    engine, precision, n_threads
        Of exported folders; see :func:`tinyclap.runtime.load`.

    Returns
    -------
    tinyclap.inference.sound_model.SoundModel

    Raises
    ------
    CheckpointError
        Nothing usable is there.
    ConfigError
        An option that this kind of model does not take.
    DownloadError
        The hub does not answer, or has no such model.

    Example
    -------
    >>> from_pretrained("no-such-model")
    Traceback (most recent call last):
    tinyclap.errors.CheckpointError: no model 'no-such-model': ...
    """
    folder = find_folder(source, revision, local_files_only, cache_dir)
    config = _config_of(folder)
    if "graphs" in config:
        from tinyclap.inference.sound_model import SoundModel
        from tinyclap.runtime import load

        return SoundModel(load(folder, engine, precision, n_threads), str(source), dim)
    if precision not in ("auto", "fp32") or engine != "onnxruntime":
        raise ConfigError(
            f"{folder}: engine and precision belong to exported folders, and this is a checkpoint; "
            "write one with: tinyclap export"
        )
    from tinyclap.inference.sound_model import SoundModel
    from tinyclap.inference.torch_model import open_checkpoint

    return SoundModel(open_checkpoint(folder, dim), str(source))


def find_folder(source, revision=None, local_files_only=False, cache_dir=None):
    """Where the files of a model are, fetched first if they are on the hub.

    Arguments
    ---------
    source, revision, local_files_only, cache_dir
        As for :func:`from_pretrained`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CheckpointError
        There is no such folder or shipped model, and the name is none of the hub's form.
    DownloadError
        The hub does not answer, or has no such model.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    shipped = shipped_folder(source)
    if shipped is not None:
        return shipped
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts) or folder.suffix in (".onnx", ".pth", ".ckpt", ".safetensors"):
        raise CheckpointError(
            f"no model {str(source)!r}: neither a folder, nor one that comes with the package "
            f"({', '.join(shipped_names()) or 'none does'}), nor owner/name on the hub"
        )
    from tinyclap.inference.hub import fetch

    try:
        return fetch(str(source), revision, local_files_only, cache_dir)
    except DownloadError as error:  # a mistyped path looks like a name on the hub
        raise DownloadError(f"no folder {str(source)!r} here; as a name on the hub: {error}") from error


def _config_of(folder):
    """The config of an exported or saved model in `folder`, or in its ``student``."""
    for path in (folder / CONFIG, folder / "student" / CONFIG):
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise CheckpointError(f"{path}: not readable as JSON ({error}); fetch the folder again") from error
    raise CheckpointError(
        f"{folder}: no model there (neither {CONFIG} nor student/{CONFIG}); give an exported folder, the folder of a "
        "finished run, or of a saved model"
    )
