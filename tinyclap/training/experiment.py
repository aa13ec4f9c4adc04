"""Around a run: its command line and YAML (HyperPyYAML), its folder, its records."""

import io
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.core import create_experiment_directory
from speechbrain.utils.distributed import ddp_barrier, if_main_process, infer_device
from speechbrain.utils.run_opts import RunOptions

from tinyclap import files
from tinyclap.errors import ConfigError
from tinyclap.training.provenance import git_state as git_state  # known from here too
from tinyclap.training.provenance import installed_packages, provenance

logger = logging.getLogger(__name__)

DEFAULT_KEY = "embedded_default"
_ADVICE = "delete it to go on without it, or give another --output_folder"
_DDP_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def seed_everything(seed):
    """Seed Python, NumPy, PyTorch, and the order in which SpeechBrain shuffles; returns the seed, for a YAML."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ["SB_GLOBAL_SEED"] = str(seed)  # its sampler's order is the same for every seed otherwise
    return seed


def _read_plain(path):
    """A YAML's structure, its tags left alone."""
    with open(path, encoding="utf-8") as file:
        return YAML(typ="rt").load(file) or {}


def embedded_default(hparams_file, overrides):
    """The overrides that make the bare command a demonstration: key → value.

    A recipe may hold a block ``embedded_default`` with ``unless`` (keys) and ``use`` (key: value): the values are used
    when `overrides`, of the command line, name none of the keys.
    """
    block = _read_plain(hparams_file).get(DEFAULT_KEY)
    if not block or any(overrides.get(key) is not None for key in block["unless"]):
        return {}
    return {key: value for key, value in block["use"].items() if key not in overrides}


def parse_command_line(arguments):
    """Split ``recipe.yaml --key value --key=value …`` into the recipe, SpeechBrain's run options and the overrides.

    Values are read as YAML. Names count in full: SpeechBrain's parser takes any prefix of a run option for the option.
    """
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("the recipe comes first: python train.py hparams/distill_phinet.yaml [--key value …]")
    known = set(RunOptions().as_dict())
    run_words, overrides, key = [arguments[0]], {}, None
    for word in arguments[1:]:
        if word.startswith("--"):
            key, sign, value = word[2:].partition("=")
            if key in known:
                run_words.append(word)
            else:
                overrides[key] = [value] if sign else []
        elif key is None:
            raise ConfigError(f"{word!r} stands alone; options are written --key value")
        elif key in known:
            run_words.append(word)
        else:
            overrides[key].append(word)
    recipe, run_opts, surplus = RunOptions.from_command_line_args(run_words)
    if surplus:
        raise ConfigError(f"{surplus!r} stands alone: the option before it takes no value, or no second one")
    return recipe, run_opts, {key: _value(key, words) for key, words in overrides.items()}


def _value(key, words):
    """The one value of an option, read as YAML."""
    if not words:
        raise ConfigError(f"--{key} has no value; write --{key} True, or --{key} null")
    if len(words) > 1:
        raise ConfigError(f"--{key} has more than one value: put {' '.join(words)!r} in quotation marks")
    try:
        return YAML(typ="safe").load(words[0])
    except YAMLError as error:
        quoted = json.dumps(words[0], ensure_ascii=False)
        advice = f"text goes in quotation marks of its own: '{quoted}'"
        raise ConfigError(f"--{key}: {words[0]!r} is not YAML; {advice}") from error


def load_hparams(hparams_file, overrides):
    """Build a recipe's objects: (objects by key, overrides in force), given the `overrides` of the command line."""
    if not Path(hparams_file).is_file():
        near = sorted(str(path) for path in Path(hparams_file).parent.glob("*.yaml"))
        raise ConfigError(f"no recipe {hparams_file}" + (f"; there are: {', '.join(near)}" if near else ""))
    try:
        plain = _read_plain(hparams_file)
    except (ValueError, LookupError, YAMLError) as error:
        raise ConfigError(f"{hparams_file}: no recipe in YAML ({' '.join(str(error).split())})") from error
    if not plain or not hasattr(plain, "keys"):
        raise ConfigError(f"{hparams_file}: no recipe: it holds no keys")
    known = [key for key in plain if key != DEFAULT_KEY]
    unknown = [key for key in overrides if key not in known]
    if unknown:
        near = [f"--{name}" for key in unknown for name in get_close_matches(key, [*known, *RunOptions().as_dict()])]
        raise ConfigError(
            f"{hparams_file} has no key {', '.join(f'--{key}' for key in unknown)}"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
            + f" Its keys are: {', '.join(known)}"
        )
    missing = [key for key in known if getattr(plain[key], "tag", None) and "PLACEHOLDER" in str(plain[key].tag)]
    default = embedded_default(hparams_file, overrides)
    missing = [key for key in missing if {**default, **overrides}.get(key) is None]
    if missing:
        raise ConfigError(f"{hparams_file} needs {', '.join(f'--{key} …' for key in missing)}; see its head")
    if default:
        logger.warning(
            "None of %s was given: this run is the built-in demonstration, with %s",
            ", ".join(f"--{key}" for key in plain[DEFAULT_KEY]["unless"]),
            ", ".join(f"{key}={value}" for key, value in default.items()),
        )
    overrides = {**default, **overrides}
    return load_hyperpyyaml(_open_for(hparams_file, overrides), overrides), overrides


class _NamedText(io.StringIO):
    """A recipe's text with a file name: its includes are relative to it."""

    def __init__(self, text, name):
        super().__init__(text)
        self.name = str(name)


def _open_for(hparams_file, overrides):
    """The recipe's text with {} for a null that a map overrides: HyperPyYAML merges maps into maps alone."""
    text = Path(hparams_file).read_text(encoding="utf-8")
    for key, value in overrides.items():
        if isinstance(value, dict):
            text = re.sub(rf"^{re.escape(key)}:[ ]*(null|~)[ ]*(#.*)?$", f"{key}: {{}}", text, count=1, flags=re.M)
    return _NamedText(text, hparams_file)


def write_json(path, content):
    """Write JSON atomically; the folder of `path` is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, content)


def start_run(hparams, hparams_file, overrides, run_opts):
    """Make the run's folder and record the resolved YAML, the script, the environment and the commit.

    Arguments
    ---------
    hparams, hparams_file, overrides, run_opts : dict, str or os.PathLike, dict, and SpeechBrain's RunOptions
    """
    folder = Path(hparams["output_folder"])
    note = {"recipe": Path(hparams_file).name, "overrides": {key: _plain(value) for key, value in overrides.items()}}
    started = folder / "run.json"
    if started.exists():
        before = files.read_json(started, _ADVICE, ConfigError)
        if before != json.loads(json.dumps(note)) and "epoch_counter" in hparams:
            raise ConfigError(
                f"{folder} holds a run with other options: {json.dumps(before.get('overrides'))}, now "
                f"{json.dumps(note['overrides'])}. Give the same options to resume it, or another --output_folder"
            )
    # its own list of packages comes from a pip in another process, which takes longer than a small run
    create_experiment_directory(experiment_directory=str(folder), save_env_desc=False)
    if if_main_process():
        packages = "\n".join([f"Python {sys.version}", *installed_packages(), ""])
        (folder / "env.log").write_text(packages, encoding="utf-8")
        resolved = resolve_references(_open_for(hparams_file, overrides), overrides).getvalue()
        (folder / "hyperparams.yaml").write_text(f"# Resolved from {hparams_file}\n{resolved}", encoding="utf-8")
        # SpeechBrain copies its caller, which is this file
        (folder / Path(__file__).name).unlink(missing_ok=True)
        if Path(sys.argv[0]).is_file():  # not so in a notebook, or where another program calls main()
            shutil.copy(sys.argv[0], folder)
        write_json(started, note)
        starts = folder / "provenance.json"
        before = files.read_json(starts, _ADVICE, ConfigError, list) if starts.exists() else []
        write_json(starts, [*before, provenance(run_opts["device"] or infer_device())])


def _plain(value):
    return value if isinstance(value, (int, float, str, bool, list, dict, type(None))) else str(value)


def release_note(hparams):
    """Metadata of a released folder, JSON-able: teacher, its text side, corpora, seed, each start of the run."""
    folder = Path(hparams["output_folder"])
    note = {
        "seed": hparams["seed"],
        "corpora": hparams["corpora"].describe(),
        "starts": files.read_json(folder / "provenance.json", _ADVICE, ConfigError, list),
    }
    teacher = hparams["modules"].get("teacher")
    if teacher is not None:
        note["teacher"], note["text_side"] = teacher.kind, teacher.text_side()
    loss = hparams["modules"].get("distill_loss")
    if hasattr(loss, "stored_order"):  # a nested loss
        note["latent"] = loss.stored_order(hparams["modules"]["student"].embed_dim)
    return note


def write_metrics(hparams, meta, brain):
    """Write ``metrics.json`` of a brain's evaluation, with `meta` of :func:`tinyclap.data.scoring.make_test_set`."""
    model = brain.modules.model
    record = {
        "dataset": meta["dataset"],
        "split": meta["split"],
        "options": meta["options"],
        **brain.results,
        "model": {"kind": model.kind, "weights": str(model.weights), **brain.complexity()},
        "seed": hparams["bootstrap_seed"],
        **provenance(brain.device),
    }
    write_json(Path(hparams["output_folder"]) / "metrics.json", record)


def ensure_run(recipe, folder, wanted):
    """Train the run that another one starts from, if it is `wanted` and not in `folder` yet; returns `folder`."""
    if wanted and not (Path(folder) / "student" / "config.json").exists() and if_main_process():
        logger.warning("%s has no trained model yet: running %s first", folder, recipe)
        command = [sys.executable, "train.py", str(recipe), "--output_folder", str(folder)]
        alone = {key: value for key, value in os.environ.items() if key not in _DDP_VARIABLES}
        if subprocess.run(command, env=alone, check=False).returncode != 0:
            raise ConfigError(f"{' '.join(command[1:])} failed; see {folder}/log.txt, and run this again")
    ddp_barrier()
    return str(folder)
