"""The command line of the scripts: options, errors in one line, help of a recipe."""

import contextlib
import functools
import io
import logging
import math
import os
import sys
from pathlib import Path

import torch
from speechbrain.utils.run_opts import RunOptions

from tinyclap import losses
from tinyclap.config.own_modules import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.files import model_folder
from tinyclap.models.check import check_student
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.training.recipe import Recipe, data_options, demonstration
from tinyclap.training.values import check_device, check_value, read_value
from tinyclap.training.yaml_tree import head_comment, text_of

logger = logging.getLogger(__name__)

_COMPARES_EXAMPLES = (losses.AffinityLoss, losses.ClapContrastiveLoss, losses.ContrastiveLoss)
_COMPARES_EXAMPLES += (losses.InteractiveContrastiveLoss,)
_LOWEST = {  # run options that SpeechBrain takes below this too
    **{"grad_accumulation_factor": 1, "debug_batches": 1, "nonfinite_patience": 0, "optimizer_step_limit": 1},
    **{"profile_warmup": 0, "profile_steps": 1},
}
_RUN_OPTIONS = {  # of SpeechBrain's, those in the help
    "device": "cpu, cuda:0, mps …; by default a GPU where there is one",
    "precision": "fp32 | bf16 | fp16",
    "compile": "compile the student by torch.compile",
    "debug": "two batches of two epochs, in a temporary folder",
    "max_grad_norm": "norm at which gradients are clipped; -1: not at all",
    "grad_accumulation_factor": "batches in a step of the optimiser",
    "remove_vector_weight_decay": "no weight decay of norms and biases",
    "ckpt_interval_minutes": "a checkpoint so often within an epoch; 0: none",
    "ckpt_interval_steps": "the same in steps",
    "optimizer_step_limit": "stop after so many steps",
    "nonfinite_patience": "steps of an epoch whose loss may be NaN or infinite",
    "noprogressbar": "no bar",
}


def parse_command_line(arguments):
    """Split ``recipe.yaml --key value --key=value …`` into the recipe, SpeechBrain's run options and the options.

    Options stay text, as typed: a recipe knows what each of its keys takes. Names count in full: SpeechBrain's parser
    takes any prefix of a run option for the option.
    """
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError("the recipe comes first: python train.py hparams/distill_phinet.yaml [--key value …]")
    known = set(RunOptions().as_dict())
    run_words, options, key = [arguments[0]], {}, None
    for word in arguments[1:]:
        if word.startswith("--"):
            key, sign, value = word[2:].partition("=")
            if key in known:
                run_words.append(word)
            else:
                options[key] = [value] if sign else []
        elif key is None:
            raise ConfigError(f"{word!r} stands alone; options are written --key value")
        elif key in known:
            run_words.append(word)
        else:
            options[key].append(word)
    return arguments[0], _run_options(run_words), {key: _one_value(key, words) for key, words in options.items()}


def _one_value(key, words):
    if not words:
        raise ConfigError(f"--{key} has no value; write --{key} True, or --{key} null")
    if len(words) > 1:
        raise ConfigError(f"--{key} has more than one value: put {' '.join(words)!r} in quotation marks")
    return words[0]


def _run_options(words):
    """SpeechBrain's run options, checked."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _, run_opts, surplus = RunOptions.from_command_line_args(words)
    except SystemExit:
        message = said.getvalue().strip().rpartition("error: ")[2].replace("argument ", "")
        raise ConfigError(message or f"{' '.join(words[1:])}: no such run options") from None
    if surplus:
        raise ConfigError(f"{surplus!r} stands alone: the option before it takes no value, or no second one")
    values = run_opts.as_dict()
    if values["optimizer_step_limit"] is not None:  # SpeechBrain leaves it a text
        values["optimizer_step_limit"] = _integer("optimizer_step_limit", values["optimizer_step_limit"])
        run_opts = RunOptions(**values)
    for name, lowest in _LOWEST.items():
        if values[name] is not None and values[name] < lowest:
            raise ConfigError(f"--{name} {values[name]}: it needs a whole number from {lowest} on")
    if not math.isfinite(values["max_grad_norm"]):
        raise ConfigError(f"--max_grad_norm {values['max_grad_norm']}: it needs a number; -1 switches clipping off")
    if values["device"] is not None:
        check_device("device", values["device"])
    return run_opts


def _integer(name, text):
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{name} {text!r}: it needs a whole number") from None


def import_named(names, path):
    """Import modules of the user's (``--import a,b``), from the current folder or beside the recipe; their names."""
    names = [name for name in str(names or "").replace(",", " ").split() if name]
    import_modules(names, Path(path).parent)
    return names


def own_option(options, name, default):
    """Take an option of the script's own out of `options`: its value, checked as that of a key with this default."""
    return check_value(name, read_value(name, options.pop(name, default), default), default)


def open_recipe(path, options):
    """The recipe with these options; where neither data nor a teacher are named, its built-in demonstration."""
    demo = demonstration(path, options)
    if demo is None:
        return Recipe(path, options)
    recipe = Recipe(demo, options)
    folders = " ".join(f"--{name} …" for name in data_options(path)[:4])
    logger.warning(
        "No data and no teacher were named: this is the built-in demonstration, %s. For the real experiment: "
        "python train.py %s %s (all keys: --help)",
        *(demo, path, folders),
    )
    return recipe


def check_recipe(hparams):
    """Refuse, before any work, what the objects of a recipe cannot do together: the Brain's keys, the student.

    Raises
    ------
    ConfigError
    """
    check = getattr(hparams["brain_class"], "check", None)
    if check is not None:
        check(hparams)
    _refuse_batch_of_one(hparams)
    _require_runs(hparams)
    check_student(hparams["modules"].get("student"))


def _refuse_batch_of_one(hparams):
    """Refuse batches of one where a loss compares the examples of a batch: it would be 0 in every step."""
    if hparams.get("train_dataloader_opts", {}).get("batch_size") != 1 or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return
    given = [*hparams["modules"].values(), *(term["loss"] for term in hparams.get("terms", {}).values())]
    inner = [module for loss in given if isinstance(loss, torch.nn.Module) for module in loss.modules()]
    found = sorted({type(module).__name__ for module in inner if isinstance(module, _COMPARES_EXAMPLES)})
    if found:
        raise ConfigError(f"--batch_size 1: {found[0]} compares the examples of a batch, and learns nothing from one")


def _require_runs(hparams):
    """Refuse a teacher, or model to score, whose run is not there and is not trained first by the recipe."""
    first = [str(part.keywords.get("folder")) for part in hparams["prepare"] if isinstance(part, functools.partial)]
    for part in hparams["load_weights"]:
        teacher = part if isinstance(part, FrozenTeacher) else getattr(part, "teacher", None)
        is_needed = isinstance(teacher, FrozenTeacher) and not getattr(part, "is_cached", False)
        if (
            is_needed
            and teacher.weights_are_a_run
            and teacher.weights is not None
            and str(teacher.weights) not in first
        ):
            model_folder(teacher.weights)


def run(main, documentation, arguments=None):
    """Run a script's ``main(arguments)`` or print its help; returns the exit status, after one line for an error.

    Arguments
    ---------
    main : callable
    documentation : str. The script's docstring.
    arguments : list of str, optional. Those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments or {"-h", "--help"} & set(arguments):
            words = [word for word in arguments if word not in ("-h", "--help")]
            sys.stdout.write(help_text(documentation, words) + "\n")
            return 0
        return main(arguments)
    except TinyclapError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. The same command goes on from the last checkpoint, if there is one.\n")
        return 130


def help_text(documentation, words):
    """Help of a script, or of the recipe that `words` begin with."""
    if words and not words[0].startswith("-"):
        _, _, options = parse_command_line(words)
        recipe = Recipe(words[0], options, is_complete=False)
        return f"{recipe.help()}\n\n{_run_options_help({key.key for key in recipe.options_of()})}"
    script = Path(sys.argv[0]).name
    found = [path for path in sorted(Path("hparams").glob("*.yaml")) if script in head_comment(path)]
    width = max((len(str(path)) for path in found), default=0)
    lines = [f"  {str(path):{width}}  {head_comment(path).splitlines()[0]}" for path in found]
    return "\n".join([documentation.strip(), "", f"Recipes (their keys: {script} RECIPE --help):", *lines])


def _run_options_help(keys):
    """Run options that are no `keys` of the recipe."""
    defaults = RunOptions().as_dict()
    lines = ["Run options (SpeechBrain's):"]
    for name, words in ((name, words) for name, words in _RUN_OPTIONS.items() if name not in keys):
        lines.append(
            f"  {f'--{name}' if defaults[name] is False else f'--{name} {text_of(defaults[name])}':40}  {words}"
        )
    return "\n".join(lines)
