"""``save_pretrained``: models as folders with their card, written atomically, and their checks. No torch.

Such a folder is ``config.json``, weights (safetensors or ONNX), arrays, names and a card: nothing in it executes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyclap.checkpoints.folder import checked_file, checksums, new_folder, path_inside, read_config
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, model_folder, read_json, write_json, write_text
from tinyclap.inference.model_card import model_card, read_metrics, result_of

if TYPE_CHECKING:
    from tinyclap.inference.sound_model import SoundModel

CARD, SCORES = "README.md", "scores.json"
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
    model : tinyclap.SoundModel. A checkpoint that was opened with ``dim`` is written at that size.
    folder : str or os.PathLike. Missing, empty, or an earlier save or export to replace; files of yours in it stay.
    metrics : sequence of str, os.PathLike or dict
        ``metrics.json`` files for the card, or their contents; they are added to those of the model's own folder.
    name : str, optional. What the card calls the model; by default the folder's name.
    add : callable, optional. Called with the new folder before it is put in place, to add files and keys of the config.

    Raises
    ------
    ConfigError: `folder` holds something else or cannot be written; no metrics; an exported model opened with ``dim``.
    CheckpointError: A file of the model is missing or changed.
    """
    results = [result_of(each) for each in read_metrics(metrics)]
    source = model_folder(model.backend.folder)
    with new_folder(folder) as part:
        _write_model(model, source, part)
        if add is not None:
            add(part)
        if (source / SCORES).is_file():
            results = _merged(read_json(source / SCORES, kind=list), results)
        if results:
            write_json(part / SCORES, results)
        write_text(
            part / CARD, model_card(read_json(part / CONFIG), results, name or Path(os.path.abspath(folder)).name)
        )
    return Path(os.path.abspath(folder))


def broken_files(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the files of a saved or exported model that are missing or do not have their checksum."""
    config, broken = read_config(folder), []
    for name in checksums(config):
        try:
            checked_file(folder, config, name)
        except CheckpointError:
            broken.append(name)
    return broken


def _write_model(model: SoundModel, source: Path, part: Path) -> None:
    """Write the config and the files of a model; `source` is its folder."""
    config = read_config(source)
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
    files = {name: checked_file(source, config, name) for name in checksums(config)}
    beside = [str(path.relative_to(source)) for pattern in _BESIDE for path in source.glob(pattern)]
    files |= {name: path_inside(source, name) for name in beside}
    for name, path in {**files, CONFIG: source / CONFIG}.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, part / name)


def _merged(earlier: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier results, with these in the place of those of the same kind."""
    same = ("dataset", "metric", "split", "folds")
    new = [[each.get(key) for key in same] for each in results]
    return [each for each in earlier if [each.get(key) for key in same] not in new] + results
