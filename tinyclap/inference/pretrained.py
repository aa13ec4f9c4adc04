"""``from_pretrained``: open a model by its folder, its name on the hub, or the name of a shipped one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyclap.config.own_modules import import_modules
from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder, shipped_names
from tinyclap.errors import CheckpointError, ConfigError, DownloadError
from tinyclap.files import CONFIG, model_folder, read_json

if TYPE_CHECKING:
    from tinyclap.inference.sound_model import SoundModel


def from_pretrained(
    source: str | os.PathLike[str] = DEFAULT_MODEL,
    dim: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    engine: str = "onnxruntime",
    precision: str = "auto",
    n_threads: int | None = None,
    imports: str | Sequence[str] = (),
) -> SoundModel:
    """Open a model, ready to use.

    An exported folder is opened by an inference engine, without torch; a run or a saved model by torch.

    Arguments
    ---------
    source : str or os.PathLike
        A shipped model's name, the folder of an export, run or saved model, or ``owner/name`` on the Hugging Face hub.
    dim : int or None. The `dim` most important dimensions alone, of a model in which an order of them is stored.
    revision : str or None. Branch, tag or commit on the hub.
    local_files_only : bool. Never use the network: a hub name is looked up in the cache alone.
    cache_dir : str or os.PathLike, optional. Where downloads are kept; None takes the hub's own place.
    engine, precision, n_threads : Of exported folders; see :func:`tinyclap.runtime.load`.
    imports : str or sequence of str. Your own modules that a checkpoint needs; see :mod:`tinyclap.config.own_modules`.

    Raises
    ------
    CheckpointError: Nothing usable is there.
    ConfigError: An option that this kind of model does not take, or torch is needed and not installed.
    DownloadError: The hub does not answer, or has no such model.

    Example
    -------
    >>> from_pretrained()
    SoundModel('tinyclap-phinet-m', kind='audio_encoder', 527 dimensions, 32000 Hz)
    """
    from tinyclap.inference.sound_model import SoundModel

    if imports:
        import_modules(imports)
    folder = find_folder(source, revision, local_files_only, cache_dir)
    # what a pickled model is opened by: the same folder, or the same commit of the hub
    opening: dict[str, Any] = {"source": folder.absolute() if os.path.isdir(source) else str(source), "dim": dim}
    is_local = os.path.isdir(source) or shipped_folder(source) is not None
    opening |= {
        "revision": None if is_local else folder.name,
        "local_files_only": local_files_only,
        "cache_dir": cache_dir,
    }
    opening |= {"engine": engine, "precision": precision, "n_threads": n_threads, "imports": imports}
    if "graphs" in read_json(model_folder(folder) / CONFIG, "fetch the folder again"):
        from tinyclap.runtime import load

        return SoundModel(load(folder, engine, precision, n_threads), str(source), dim, opening)
    if precision not in ("auto", "fp32") or engine != "onnxruntime":
        raise ConfigError(
            f"{folder}: engine and precision belong to exported folders, and this is a checkpoint; "
            "write one with: tinyclap export"
        )
    try:
        from tinyclap.inference.torch_model import open_checkpoint

        backend = open_checkpoint(folder, dim, local_files_only)
    except ImportError as error:
        raise ConfigError(
            f"{folder} is a checkpoint, which needs torch to open ({error}); run: pip install 'tinyclap[train]', or "
            "where that is installed: tinyclap export"
        ) from error
    return SoundModel(backend, str(source), opening=opening)


def find_folder(
    source: str | os.PathLike[str],
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Where the files of a model are, fetched first if they are on the hub.

    Arguments
    ---------
    source, revision, local_files_only, cache_dir : As for :func:`from_pretrained`.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise CheckpointError(f"no model {source!r}: give a folder, the name of a shipped model, or owner/name")
    local = Path(source) if os.path.isdir(source) else shipped_folder(source)
    if local is not None:
        if revision is not None:
            raise ConfigError(f"revision={revision!r} is for owner/name on the hub; {str(source)!r} is a folder here")
        return local
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts) or parts[1].endswith((".onnx", ".pth", ".ckpt", ".safetensors")):
        raise CheckpointError(
            f"no model {str(source)!r}: neither a folder, nor one that comes with the package "
            f"({', '.join(shipped_names()) or 'none does'}), nor owner/name on the hub"
        )
    from tinyclap.inference.hub import fetch

    try:
        return fetch(str(source), revision, local_files_only, cache_dir)
    except DownloadError as error:  # a mistyped path looks like a name on the hub
        raise DownloadError(f"no folder {str(source)!r} here; as a name on the hub: {error}") from error
