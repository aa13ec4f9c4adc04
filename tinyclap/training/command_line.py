"""The command line of the scripts: options, errors in one line, help of a recipe."""

import contextlib
import io
import logging
import math
import os
import sys
import tempfile
from pathlib import Path

import torch
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.run_opts import RunOptions

from tinyclap.config.own_modules import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.files import model_folder
from tinyclap.losses import AffinityLoss, ClapContrastiveLoss, ContrastiveLoss, InteractiveContrastiveLoss
from tinyclap.models.check import check_student
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.training.recipe import Recipe
from tinyclap.training.values import check_device, check_value, read_value
from tinyclap.training.yaml_tree import head_comment, text_of

logger = logging.getLogger(__name__)
# SpeechBrain warns of a missing torchvision, which it needs for images alone
logging.getLogger("speechbrain.utils.train_logger").addFilter(lambda record: "torchvision" not in record.getMessage())

_COMPARES_EXAMPLES = (AffinityLoss, ClapContrastiveLoss, ContrastiveLoss, InteractiveContrastiveLoss)
_LOWEST = {"grad_accumulation_factor": 1, "debug_batches": 1, "optimizer_step_limit": 1, "profile_steps": 1}
_LOWEST |= {"nonfinite_patience": 0, "profile_warmup": 0}  # SpeechBrain takes run options below these too
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
            if key not in known:
                options[key] = [value] if sign else []
        elif key is None:
            raise ConfigError(f"{word!r} stands alone; options are written --key value")
        elif key not in known:
            options[key].append(word)
        if key in known:
            run_words.append(word)
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
        try:
            values["optimizer_step_limit"] = int(values["optimizer_step_limit"])
        except ValueError as error:
            raise ConfigError(f"--optimizer_step_limit: it needs a whole number ({error})") from None
        run_opts = RunOptions(**values)
    for name, lowest in _LOWEST.items():
        if values[name] is not None and values[name] < lowest:
            raise ConfigError(f"--{name} {values[name]}: it needs a whole number from {lowest} on")
    if not math.isfinite(values["max_grad_norm"]):
        raise ConfigError(f"--max_grad_norm {values['max_grad_norm']}: it needs a number; -1 switches clipping off")
    if values["device"] is not None:
        check_device("device", values["device"])
    return run_opts


def import_named(names, path):
    """Import modules of the user's (``--import a,b``), from the current folder or beside the recipe; their names."""
    return [module.__name__ for module in import_modules(str(names or ""), Path(path).parent)]


def own_option(options, name, default):
    """Take an option of the script's own out of `options`: its value, checked as that of a key with this default."""
    return check_value(name, read_value(name, options.pop(name, default), default), default)


def open_recipe(path, options, run_opts):
    """The recipe with these options; where neither data nor a teacher are named, its built-in demonstration.

    A run with ``--debug`` writes into a temporary folder, of which all processes know.
    """
    if run_opts["debug"] and not run_opts["debug_persistently"]:
        folders = [tempfile.mkdtemp(prefix="tinyclap_debug_")] if if_main_process() else [None]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(folders)
        options = {**options, "output_folder": folders[0]}
    recipe = Recipe(path, options, is_complete=False)
    demo = recipe.demonstration()
    if demo is not None:
        names = dict.fromkeys(key.key for key in recipe.data_options() if key.key != "soundscapes_folder")
        logger.warning(
            "No data and no teacher were named: this is the built-in demonstration, %s. For the real experiment: "
            "python train.py %s %s (all keys: --help)",
            *(demo, path, " ".join(f"--{name} …" for name in list(names)[:4])),
        )
        return Recipe(demo, options)
    recipe.check_complete()
    return recipe


def check_recipe(hparams):
    """Refuse, before any work, what the objects of a recipe cannot do together (ConfigError): the Brain's keys,
    batches of one for a loss that compares examples, a teacher's run that is not there, the student.
    """
    if hasattr(hparams["brain_class"], "check"):
        hparams["brain_class"].check(hparams)
    if hparams.get("train_dataloader_opts", {}).get("batch_size") == 1 and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        given = [*hparams["modules"].values(), *(term["loss"] for term in hparams.get("terms", {}).values())]
        inner = [module for loss in given if isinstance(loss, torch.nn.Module) for module in loss.modules()]
        for name in sorted({type(module).__name__ for module in inner if isinstance(module, _COMPARES_EXAMPLES)}):
            raise ConfigError(f"--batch_size 1: {name} compares the examples of a batch, and learns nothing from one")
    trained_first = [str(part.keywords.get("folder")) for part in hparams["prepare"] if hasattr(part, "keywords")]
    for part in hparams["load_weights"]:
        teacher = part if isinstance(part, FrozenTeacher) else getattr(part, "teacher", None)
        weights = getattr(teacher, "weights", None) if getattr(teacher, "weights_are_a_run", False) else None
        if weights is not None and not getattr(part, "is_cached", False) and str(weights) not in trained_first:
            model_folder(weights)
    check_student(hparams["modules"].get("student"))


def run(main, documentation, arguments=None):
    """Run a script's ``main(arguments)`` or show its help; returns the exit status, after one line for an error.

    `documentation` is the script's docstring; `arguments`, a list of str, are by default those of the process.
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
        recipe = Recipe(words[0], parse_command_line(words)[2], is_complete=False)
        defaults, lines = RunOptions().as_dict(), ["Run options (SpeechBrain's):"]
        for name in (name for name in _RUN_OPTIONS if name not in recipe.tree):
            value = "" if defaults[name] is False else text_of(defaults[name])
            lines.append(f"  {f'--{name} {value}':40}  {_RUN_OPTIONS[name]}")
        return "\n".join([recipe.help(), "", *lines])
    script = Path(sys.argv[0]).name
    found = [path for path in sorted(Path("hparams").glob("*.yaml")) if script in head_comment(path)]
    width = max((len(str(path)) for path in found), default=0)
    lines = [f"  {str(path):{width}}  {head_comment(path).splitlines()[0]}" for path in found]
    return "\n".join([documentation.strip(), "", f"Recipes (their keys: {script} RECIPE --help):", *lines])
