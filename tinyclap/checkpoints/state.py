"""Strict loading of state dicts, and saved models: ``model.safetensors`` and the ``config.json`` that rebuilds them.

This is the only module that reads weights with torch; nothing in a file is executed.
"""

import importlib
import os
import pkgutil
import re
from pathlib import Path

import torch

from tinyclap.checkpoints.folder import FORMAT, WEIGHTS, read_config
from tinyclap.config.kept_dims import at_dim
from tinyclap.config.registry import build, unknown_class
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, model_folder, sha256_of, write_json

_NEW_WEIGHTS = f".{WEIGHTS}.new"
_RESERVED = ("format", "model", "weights_sha256")
_N_SHOWN = 10
_WRAPPERS = ("model", "state_dict")  # keys under which published files keep the state dict


def read_state_dict(path):
    """Read a state dict (or that under ``model`` or ``state_dict``) of a safetensors or ``torch.save`` file."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a weights file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; fetch it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken pickle raises can be anything; nothing is swallowed
        # torch's own advice would be to unpickle it
        reason = str(error).strip().split("\n")[0].split(" In PyTorch")[0]
        raise CheckpointError(
            f"{path}: cut short, or not a file of weights alone ({reason}); compare its size with the published one "
            "and fetch it again"
        ) from error
    return unwrapped(content, path)


def _read_safetensors(path):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: cut short, or not a safetensors file ({error}); fetch it again") from error


def unwrapped(content, source):
    """The state dict that `content` is, or holds under ``model`` or ``state_dict``; else a CheckpointError.

    Example
    -------
    >>> list(unwrapped({"model": {"a": torch.zeros(1)}, "epoch": 3}, "x.pth"))
    ['a']
    """
    if isinstance(content, dict):
        for key in _WRAPPERS:
            if isinstance(content.get(key), dict):
                content = content[key]
        if content and all(isinstance(value, torch.Tensor) for value in content.values()):
            return content
        found = ", ".join(f"{key} ({type(value).__name__})" for key, value in list(content.items())[:_N_SHOWN])
        raise CheckpointError(f"{source}: not a state dict (names to tensors); it holds: {found or 'nothing'}")
    raise CheckpointError(f"{source}: holds a {type(content).__name__}, not a state dict (names to tensors)")


def strict_load(module, state_dict, rename=None, allowed_extra=(), source="the state dict"):
    """Load every tensor of `module` from `state_dict`, or nothing; returns `module`.

    Arguments
    ---------
    module, state_dict : nn.Module, and dict of str to torch.Tensor
    rename : callable or None. A name of `module`'s state dict to that in `state_dict`; None where they are equal.
    allowed_extra : sequence of str. Regular expressions (searched) for names of `state_dict` that are left unused.
    source : str. What to call `state_dict` in messages.

    Example
    -------
    >>> strict_load(torch.nn.Linear(2, 1), {"weight": torch.zeros(1, 3), "bias": torch.zeros(1), "b": torch.zeros(1)})
    Traceback (most recent call last):
    tinyclap.errors.CheckpointError: the state dict does not fit Linear; nothing was loaded
      1 surplus: b
      1 of another shape: weight is (1, 3), should be (1, 2)
    """
    ours = module.state_dict()
    theirs_by_ours = {name: rename(name) if rename else name for name in ours}
    expected = {theirs: ours[name] for name, theirs in theirs_by_ours.items()}
    missing = [name for name in expected if name not in state_dict]
    others = [name for name in state_dict if name not in expected]
    surplus = [name for name in others if not any(re.search(pattern, name) for pattern in allowed_extra)]
    misshaped = [
        f"{name} is {tuple(state_dict[name].shape)}, should be {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state_dict and state_dict[name].shape != tensor.shape
    ]
    untied = [] if missing or misshaped else _untied(module, theirs_by_ours, state_dict)
    problems = {"missing": missing, "surplus": surplus, "of another shape": misshaped}
    problems["different, and one tensor in the model"] = untied
    lines = [f"  {len(found)} {kind}: {_listed(found)}" for kind, found in problems.items() if found]
    if lines:
        name = type(module).__name__
        raise CheckpointError("\n".join([f"{source} does not fit {name}; nothing was loaded", *lines]))
    module.load_state_dict({name: state_dict[theirs] for name, theirs in theirs_by_ours.items()})
    return module


def _untied(module, theirs_by_ours, state_dict):
    """Names that are one parameter of `module` (tied weights) and not one in `state_dict`."""
    owners = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(theirs_by_ours[name])
    return [
        f"{names[0]} and {name}"
        for names in owners.values()
        for name in names[1:]
        if not torch.equal(state_dict[name], state_dict[names[0]])
    ]


def _listed(names):
    more = f", … and {len(names) - _N_SHOWN} more" if len(names) > _N_SHOWN else ""
    return ", ".join(names[:_N_SHOWN]) + more


def save_folder(module, folder, extra=None):
    """Write `module` as a folder that :func:`load_folder` turns back into it; other files in it are left alone.

    Its class is under :func:`tinyclap.config.configurable`; `extra` are JSON values to keep in its config. The
    config is renamed into place first: a run killed before the second rename leaves the new weights under their
    temporary name, where :func:`load_folder` finds them.
    """
    from safetensors.torch import save_file

    extra = extra or {}
    if taken := [key for key in _RESERVED if key in extra]:
        raise ConfigError(f"save_folder: {', '.join(taken)} cannot be in extra, they are its own")
    if not isinstance(getattr(type(module), "config", None), property):
        name = type(module).__name__
        raise ConfigError(f"{name} cannot be saved: write @configurable above its class (tinyclap.config)")
    model, folder = module.config, Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Copies, because safetensors refuses tensors that share memory (tied weights).
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    new_weights = folder / _NEW_WEIGHTS
    save_file(tensors, new_weights, metadata={"format": "pt"})
    with open(new_weights, "rb+") as stream:
        os.fsync(stream.fileno())
    config = {"format": FORMAT, "model": model, **extra, "weights_sha256": sha256_of(new_weights)}
    write_json(folder / CONFIG, config)
    os.chmod(new_weights, (folder / CONFIG).stat().st_mode)  # safetensors writes files that only their owner can read
    os.replace(new_weights, folder / WEIGHTS)


def load_folder(folder):
    """Rebuild the model of a folder of :func:`save_folder`: (nn.Module in eval mode on the CPU, its config)."""
    folder = Path(folder)
    config = read_config(folder)
    if "graphs" in config:
        raise CheckpointError(f"{folder}: an exported folder, not a saved model; open it with tinyclap.from_pretrained")
    candidates = [path for path in (folder / WEIGHTS, folder / _NEW_WEIGHTS) if path.is_file()]
    if not candidates:
        raise CheckpointError(f"{folder}: {WEIGHTS} missing; give the folder of a saved model")
    weights = [path for path in candidates if sha256_of(path) == config["weights_sha256"]]
    if not weights:
        raise CheckpointError(
            f"{folder / WEIGHTS}: not the file that {CONFIG} was written with (its sha256 differs): cut short, "
            "changed, or copied from another run; fetch or save the folder again"
        )
    _know_all_classes()
    if unknown := unknown_class(config["model"]):
        raise CheckpointError(f"{folder}: {unknown}")
    try:
        module = build(config["model"])
    except Exception as error:  # arguments of a kind that a constructor does not expect raise anything
        raise CheckpointError(f"{folder / CONFIG}: model cannot be built ({error}); save it again") from error
    strict_load(module, _read_safetensors(weights[0]), source=str(weights[0]))
    return module.eval(), config


def load_student(run_or_folder, dim=None):
    """Load the student of a run or the model of a saved folder, as :func:`load_folder`: (nn.Module, its config).

    With `dim`, of a folder of ``prune.py``, its most important dimensions; see :mod:`tinyclap.config.kept_dims`.
    """
    folder = model_folder(run_or_folder)
    return at_dim(*load_folder(folder), dim, folder)


def fold_folder(run_or_folder, target):
    """Write the folded student of a run to another folder, and return it; see ``AudioStudent.fold``."""
    student, config = load_student(run_or_folder)
    if not hasattr(student, "fold"):
        raise CheckpointError(f"{run_or_folder}: {type(student).__name__} is no audio student, so it does not fold")
    if Path(target).resolve() in (Path(run_or_folder).resolve(), (Path(run_or_folder) / "student").resolve()):
        raise CheckpointError(f"{target} holds the student that is to be folded; give another folder")
    folded = student.fold()
    save_folder(folded, target, {**extra_of(config), "folded_from_sha256": config["weights_sha256"]})
    return folded


def extra_of(config):
    """The `extra` that :func:`save_folder` was given, from the config that it wrote.

    Example
    -------
    >>> extra_of({"format": 1, "model": {}, "weights_sha256": "", "seed": 7})
    {'seed': 7}
    """
    return {key: value for key, value in config.items() if key not in _RESERVED}


def load_frozen_encoder(run_or_folder, reference_frozen_drift=False):
    """The AudioStudent of a run for stage 2: its projection trains on, its encoder is frozen.

    `reference_frozen_drift` as for :class:`tinyclap.models.student.AudioStudent`.
    """
    student, config = load_student(run_or_folder)
    if getattr(student, "projection", None) is None:
        raise CheckpointError(f"{run_or_folder}: {type(student).__name__} has no projection to train on")
    again = build(config["model"] | {"freeze_encoder": True, "reference_frozen_drift": reference_frozen_drift})
    again.load_state_dict(student.state_dict(), strict=True)
    return again


def _know_all_classes():
    """Import the modules whose classes a config may name."""
    importlib.import_module("tinyclap.features.front_ends")
    importlib.import_module("tinyclap.text.tokenizer")
    for module in pkgutil.iter_modules(importlib.import_module("tinyclap.models").__path__):
        importlib.import_module(f"tinyclap.models.{module.name}")
