"""Checks of a recipe's values: what a key takes follows from its default, its name and its comment."""

import json
import math
import re
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import model_folder

MAX_SEED = 2**32 - 1
_KINDS = {  # kind → (type, test, in words)
    "seed": (int, lambda value: 0 <= value <= MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
    "count": (int, lambda value: value >= 1, "a whole number from 1 on"),
    "count or none": (int, lambda value: value >= 0, "a whole number from 0 on"),
    "integer": (int, lambda value: True, "a whole number"),
    "positive": (float, lambda value: value > 0, "a number above 0"),
    "amount": (float, lambda value: value >= 0, "a number from 0 on"),
    "fraction": (float, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "number": (float, lambda value: True, "a number"),
}
_KIND_OF_NAME = (  # the first pattern that matches the whole name of a key decides
    (r"(.*_)?seed", "seed"),
    (r"lr|peak_lr|max_lr|.*temperature|alpha|beta|width", "positive"),
    (r"(final|min)_lr|weight_decay|(.*_)?weight|.*noise|ridge", "amount"),
    (r".*_fraction|dropout|label_smoothing|scheduled_sampling|(ema|average)_decay|.*momentum|valid_part", "fraction"),
    (r"n_(.*_)?(workers|processes|readers)|num_workers|lr_patience|patience|min_count", "count or none"),
    (r"n_.*|number_of_.*|(.*_)?batch_size|.*_(layers|heads|dim|length|beam)|limit|max_words", "count"),
    (r"examples_per_epoch|.*_epochs|.*_epoch|embed_width|decoder_width|kept_dims|dim|t_zero", "count"),
    (r".*_(s|hz|minutes)", "positive"),
    (r".*_db", "number"),
)
_LIST_OF_COUNTS = re.compile(r"(.*_)?folds|nested_dims")
_NULLABLE = re.compile(r"ema_decay|.*_(folder|weights|cache|device)")
_MADE = re.compile(r"(output|manifest|soundscapes|target|save)_folder")
_CHOICES = re.compile(r"(?:[^|:]*: )?([\w.-]+)(?: \([^)]*\))?((?: \| [\w.-]+(?: \([^)]*\))?)+)(?=$|[,;:.…])")
_OWN_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")  # module.Class of one's own
_WEIGHTS_ENDINGS = (".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".bin", ".npz")


def read_value(name, text, default):
    """The value of option `name`: `text` read as YAML, but for numbers and the like given where a text is expected."""
    if not isinstance(text, str):
        return text
    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        quoted = json.dumps(text, ensure_ascii=False)
        advice = f"text goes in quotation marks of its own: '{quoted}'"
        raise ConfigError(f"--{name}: {text!r} is not YAML; {advice}") from error
    is_text = isinstance(default, str) or (default is None and re.fullmatch(r".*_(folder|weights|cache)", name))
    return text if is_text and not isinstance(value, (str, list, dict, type(None))) else value


def choices_in(comment):
    """The values that a comment lists, ``a | b (why) | c``: list of str, empty where it lists none."""
    found = _CHOICES.match(comment)
    return [found[1], *re.findall(r"\| ([\w.-]+)", found[2])] if found else []


def check_value(name, value, default=None, comment=""):
    """Check one value of a recipe; returns it, whole numbers as int where they are counts.

    Arguments
    ---------
    name : str. The key, perhaps after its part's: ``student.alpha``.
    value : object
    default : object. The recipe's own value.
    comment : str. The key's comment; ``a | b | c`` at its start are the choices, also of the values of a list.

    Raises
    ------
    ConfigError: It is of another type, out of range, or none of the choices.
    """
    key = name.rpartition(".")[2]
    kind, choices = _kind(key, default), choices_in(comment)
    needs_list = isinstance(default, list) or _LIST_OF_COUNTS.fullmatch(key)
    if value is None:
        needs_value = default is not None and not isinstance(default, (list, dict)) and not _NULLABLE.fullmatch(key)
        if needs_value and "null" not in comment:
            raise ConfigError(f"--{name} null: it needs {_KINDS[kind][2] if kind else 'a value'}")
        return None
    if isinstance(value, dict) and (default is None or isinstance(default, dict)) and not kind:
        known = default if isinstance(default, dict) else {}
        return {each: check_value(f"{name}.{each}", part, known.get(each)) for each, part in value.items()}
    if needs_list and not isinstance(value, list):
        raise ConfigError(f"--{name} {value}: it needs a list, as in --{name} [1, 2]")
    for each in (value if isinstance(value, list) else [value]) if choices and value != default else ():
        if str(each) not in choices and not _OWN_CLASS.fullmatch(str(each)):
            raise ConfigError(f"--{name} {each}: unknown; choose one of {', '.join(choices)}")
    if _LIST_OF_COUNTS.fullmatch(key):
        return [_checked_number(name, each, "count") for each in value]
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ConfigError(f"--{name} {value}: it needs True or False")
    if isinstance(default, str) and not kind and not isinstance(value, (str, list)):
        raise ConfigError(f"--{name} {value}: it needs a text")
    return _checked_number(name, value, kind) if kind else value


def _kind(key, default):
    """The kind of number that a key takes, or None: its value is no number."""
    if isinstance(default, (bool, list, dict)):
        return None
    named = next((kind for pattern, kind in _KIND_OF_NAME if re.fullmatch(pattern, key)), None)
    if named == "count" and default == 0:
        return "count or none"
    if named or default is None:
        return named
    return "integer" if isinstance(default, int) else "number" if isinstance(default, float) else None


def _checked_number(name, value, kind):
    """`value` where it is a number of this kind, else ConfigError."""
    type_of, test, words = _KINDS[kind]
    number = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not number or (type_of is int and value != int(value)) or not test(value):
        comma = "; decimals have a point" if isinstance(value, str) and re.fullmatch(r"-?\d+,\d+", value) else ""
        raise ConfigError(f"--{name} {value}: it needs {words}{comma}")
    return int(value) if type_of is int else value


def check_place(name, value, default=None):
    """Check an option that names a folder, weights or a device: it is there, unless the run makes it.

    The run makes a folder whose `default` is in ``results/``, as that of the built-in corpus.
    """
    key = name.rpartition(".")[2]
    if not isinstance(value, str):
        return
    path = Path(value).expanduser()
    is_made = _MADE.fullmatch(key) or str(default).startswith("results/")
    if key.endswith("_folder") and not path.is_dir() and (path.exists() or not is_made):
        raise ConfigError(f"--{name} {value}: no such folder" + (" (a file is there)" if path.exists() else ""))
    is_path = path.is_absolute() or value.startswith((".", "~")) or value.count("/") > 1
    if key == "weights" or key.endswith("_weights"):
        if not path.exists() and (is_path or value.endswith(_WEIGHTS_ENDINGS)):
            raise ConfigError(f"--{name} {value}: no such file or folder")
        if path.is_dir():
            try:
                model_folder(path)
            except CheckpointError as error:
                raise ConfigError(f"--{name} {error}") from error
    if key.endswith("_device"):
        check_device(name, value)


def check_device(name, device):
    """Raise ConfigError where `device`, given as option `name`, is not on this machine."""
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("nothing can be computed there")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--{name} {device}: no such device ({reason}); there are: {', '.join(there)}") from error
