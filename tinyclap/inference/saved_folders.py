"""Models as folders that can be given away: saved with their card, whole or not at all, and checked. No torch.

Such a folder is ``config.json``, weights (safetensors or ONNX), arrays, names and a card: nothing in it executes.
"""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from tinyclap.checkpoints.exported import CONFIG, checked_file, file_sha256
from tinyclap.checkpoints.folder import new_folder, write_json
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.inference.model_card import model_card, read_metrics, result_of

WEIGHTS, CARD, SCORES, PROBE = "model.safetensors", "README.md", "scores.json", "probe.npz"
# What a saved folder has beside the files that its config lists.
_BESIDE = ("parity.json", "latency.json", SCORES, "MODEL_CARD.md", "banks/*.npz")


def save_pretrained(model, folder, metrics=(), name=None, add=None):
    """Write a model into a folder that :func:`tinyclap.from_pretrained` opens, with its card: whole or not at all.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    folder : str or os.PathLike
        Missing, empty, or an earlier save, which is then replaced.
    metrics : sequence of str, os.PathLike or dict
        ``metrics.json`` files for the card, or their contents; they are added to those of the model's own folder.
    name : str, optional
        What the card calls the model; by default the folder's name.
    add : callable, optional
        Called with the folder before it is put in place, to add files and keys of the config.

    Returns
    -------
    pathlib.Path
        `folder`.

    Raises
    ------
    ConfigError
        `folder` holds something else; the metrics are none; or an exported model was opened with ``dim``.
    CheckpointError
        A file of the model is missing or changed.

    Notes
    -----
    Files are copied as they are. A checkpoint that was opened with ``dim`` is written at that size.
    """
    target = Path(os.path.abspath(folder))
    results = [result_of(each) for each in read_metrics(metrics)]
    with _whole(target) as staging:
        source = _copy(model, staging)
        if add is not None:
            add(staging)
        results = _merged(source / SCORES, results)
        config = json.loads((staging / CONFIG).read_text(encoding="utf-8"))
        if results:
            write_json(staging / SCORES, results)
        (staging / CARD).write_text(model_card(config, results, name or target.name), encoding="utf-8")
    return target


def config_of(path, what, error_class=CheckpointError):
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
        Or `error_class`: it is missing, unreadable, or another library's.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise error_class(f"{what}: its {CONFIG} cannot be read ({error}); fetch it again") from error
    is_export = isinstance(config, dict) and {"format", "kind", "files"} <= set(config)
    is_saved = isinstance(config, dict) and {"format", "model", "weights_sha256"} <= set(config)
    if not is_export and not is_saved:
        raise error_class(f"{what} is no model of tinyclap: its {CONFIG} is another library's")
    return config


def broken_files(folder):
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
    config = config_of(folder / CONFIG, folder)
    return [
        name
        for name, sha256 in sums_of(config).items()
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256
    ]


def sums_of(config):
    """File name → SHA-256, of what the config of a saved or exported model vouches for.

    Example
    -------
    >>> sums_of({"format": 1, "model": {}, "weights_sha256": "ab"})
    {'model.safetensors': 'ab'}
    """
    if "files" in config:
        return dict(config["files"])
    probe = {config["probe"]["file"]: config["probe"]["sha256"]} if "probe" in config else {}
    return {WEIGHTS: config["weights_sha256"], **probe}


def _copy(model, staging):
    """Write a model's files; returns the folder that they are of."""
    source = Path(model.backend.folder)
    if not (source / CONFIG).is_file():
        source = source / "student"
    config = config_of(source / CONFIG, source)
    if model.is_cut:
        raise ConfigError(
            f"{model.name} was opened with dim={model.embed_dim}, and its graph has {config['embed_dim']} dimensions; "
            "export the model again at that size, or open it without dim"
        )
    if "graphs" not in config and model.config["saved"] != config:
        from tinyclap.checkpoints.state import extra_of, save_folder

        extra = {key: value for key, value in extra_of(model.config["saved"]).items() if key != "probe"}
        save_folder(model.backend.network, staging, extra)
        return source
    for name in sums_of(config):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checked_file(source, {"files": sums_of(config)}, name), staging / name)
    shutil.copyfile(source / CONFIG, staging / CONFIG)
    for path in (path for pattern in _BESIDE for path in sorted(source.glob(pattern))):
        copy = staging / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return source


def _merged(path, results):
    """Earlier results that are kept in `path`, with these in the place of those of the same kind."""
    if not path.is_file():
        return results
    same = ("dataset", "metric", "split", "folds")
    new = [[each.get(key) for key in same] for each in results]
    old = json.loads(path.read_text(encoding="utf-8"))
    return [each for each in old if [each.get(key) for key in same] not in new] + results


@contextlib.contextmanager
def _whole(target):
    """A folder that becomes `target` at the end: :func:`new_folder`, which replaces exports, for any earlier save."""
    ours = {CONFIG, WEIGHTS, CARD, SCORES, PROBE, "MODEL_CARD.md"}
    is_save = (target / CONFIG).is_file() and {path.name for path in target.iterdir()} <= ours
    if not is_save:
        with new_folder(target) as staging:
            yield staging
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
        with new_folder(Path(beside) / "new") as staging:
            yield staging
        os.replace(target, Path(beside) / "old")
        os.replace(Path(beside) / "new", target)
