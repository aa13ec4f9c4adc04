"""``save_pretrained``: models as folders with their card, written atomically, and the checks of such folders. No torch.

Such a folder is ``config.json``, weights (safetensors or ONNX), arrays, names and a card: nothing in it executes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, atomic_folder, model_folder, read_json, sha256_of, write_json, write_text
from tinyclap.inference.model_card import model_card, read_metrics, result_of

if TYPE_CHECKING:
    from tinyclap.inference.sound_model import SoundModel

WEIGHTS, CARD, SCORES, PROBE = "model.safetensors", "README.md", "scores.json", "probe.npz"
# What a saved folder has beside the files that its config lists.
_BESIDE = ("parity.json", "latency.json", SCORES, "MODEL_CARD.md", "banks/*.npz")


def save_pretrained(
    model: SoundModel,
    folder: str | os.PathLike[str],
    metrics: Sequence[str | os.PathLike[str] | dict[str, Any]] | str | os.PathLike[str] | dict[str, Any] = (),
    name: str | None = None,
    add: Callable[[Path], None] | None = None,
) -> Path:
    """Write a model atomically into a folder that :func:`tinyclap.from_pretrained` opens, with its card.

    Arguments
    ---------
    model : tinyclap.SoundModel
    folder : str or os.PathLike
        Missing, empty, or an earlier save or export, which is replaced; files of yours in it stay.
    metrics : sequence of str, os.PathLike or dict
        ``metrics.json`` files for the card, or their contents; they are added to those of the model's own folder.
    name : str, optional
        What the card calls the model; by default the folder's name.
    add : callable, optional
        Called with the new folder before it is put in place, to add files and keys of the config.

    Returns
    -------
    pathlib.Path
        `folder`.

    Raises
    ------
    ConfigError
        `folder` holds something else; the metrics are none; or an exported model was opened with ``dim``.
    CheckpointError
        A file of the model is missing or changed, or `folder` cannot be written.

    Notes
    -----
    Files are copied as they are. A checkpoint that was opened with ``dim`` is written at that size.
    """
    target = Path(os.path.abspath(folder))
    results = [result_of(each) for each in read_metrics(metrics)]
    old = _files_of_save(target)
    source = model_folder(model.backend.folder)
    try:
        with atomic_folder(target) as part:
            _write_model(model, source, part)
            if add is not None:
                add(part)
            results = _merged(source / SCORES, results)
            if results:
                write_json(part / SCORES, results)
            write_text(part / CARD, model_card(read_json(part / CONFIG), results, name or target.name))
            _keep_others(target, part, old)
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error.strerror or error}); what was there is there still"
        ) from error
    return target


def config_of(
    path: Path, what: str | os.PathLike[str], error_class: type[Exception] = CheckpointError
) -> dict[str, Any]:
    """The config of a saved or exported model.

    Arguments
    ---------
    path : pathlib.Path
        Of the ``config.json``.
    what : str or os.PathLike
        What to call the model in messages.
    error_class : type
        What to raise.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        Or `error_class`: it is missing, unreadable, another library's, or names files outside its folder.
    """
    config = read_json(path, error=error_class)
    is_export = {"format", "kind", "files"} <= set(config) and isinstance(config["files"], dict)
    is_saved = {"format", "model", "weights_sha256"} <= set(config)
    if not is_export and not is_saved:
        raise error_class(f"{what} is no model of tinyclap: its {CONFIG} is another library's")
    for name in sums_of(config):
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise error_class(f"{what}: its {CONFIG} names {name!r}, which is no file in its folder; do not use it")
    return config


def broken_files(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the files of a saved or exported model that are missing or not those its config was written with.

    Arguments
    ---------
    folder : str or os.PathLike

    Returns
    -------
    list of str
        Empty where all is well.

    Raises
    ------
    CheckpointError
        There is no readable config, or it is of no model of this library.
    """
    folder = Path(folder)
    sums = sums_of(config_of(folder / CONFIG, folder))
    return [name for name, sha256 in sums.items() if not _is_file(folder / name, sha256)]


def sums_of(config: dict[str, Any]) -> dict[str, str]:
    """File name → SHA-256, of the files that the config of a saved or exported model lists.

    Example
    -------
    >>> sums_of({"format": 1, "model": {}, "weights_sha256": "ab"})
    {'model.safetensors': 'ab'}
    """
    if "files" in config:
        return dict(config["files"])
    probe = {config["probe"]["file"]: config["probe"]["sha256"]} if "probe" in config else {}
    return {WEIGHTS: config["weights_sha256"], **probe}


def _is_file(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _write_model(model: SoundModel, source: Path, part: Path) -> None:
    """Write the config and the files of a model; `source` is its folder."""
    config = config_of(source / CONFIG, source)
    if model.is_cut:
        raise ConfigError(
            f"{model.name} was opened with dim={model.embed_dim}, and its graph has {config['embed_dim']} dimensions; "
            "export the model again at that size, or open it without dim"
        )
    if "graphs" not in config and model.config["saved"] != config:  # opened with dim
        from tinyclap.checkpoints.state import extra_of, save_folder

        extra = {key: value for key, value in extra_of(model.config["saved"]).items() if key != "probe"}
        save_folder(model.backend.network, part, extra)
        return
    broken = broken_files(source)
    if broken:
        raise CheckpointError(
            f"{source / broken[0]}: missing, or not the file that was exported (its sha256 differs); copy the folder "
            "again"
        )
    beside = [path.relative_to(source) for pattern in _BESIDE for path in sorted(source.glob(pattern))]
    for name in {CONFIG, *sums_of(config), *map(str, beside)}:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, part / name)


def _files_of_save(target: Path) -> set[str]:
    """Names of the files that an earlier save or export wrote; ConfigError where `target` holds something else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return set()
    try:
        return {CONFIG, CARD, "classifier.onnx", *_BESIDE, *sums_of(config_of(target / CONFIG, target))}
    except CheckpointError:
        raise ConfigError(f"{target} is there and is no earlier export or save; give another folder") from None


def _keep_others(target: Path, part: Path, old: set[str]) -> None:
    """Link (or copy) into `part` what a user has put into `target`."""
    for path in target.rglob("*"):
        name = path.relative_to(target)
        if name.as_posix() in old or (part / name).exists() or (path.is_dir() and not path.is_symlink()):
            continue
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, part / name, follow_symlinks=False)
        except OSError:  # a file system without hard links
            shutil.copy2(path, part / name, follow_symlinks=False)


def _merged(path: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier results that are kept in `path`, with these in the place of those of the same kind."""
    if not path.is_file():
        return results
    same = ("dataset", "metric", "split", "folds")
    new = [[each.get(key) for key in same] for each in results]
    return [each for each in read_json(path, kind=list) if [each.get(key) for key in same] not in new] + results
