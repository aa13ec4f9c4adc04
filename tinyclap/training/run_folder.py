"""The folder of a run: what may be resumed, and the records in it."""

import json
import logging
import shutil
import sys
import sysconfig
from pathlib import Path

from speechbrain.core import create_experiment_directory
from speechbrain.utils.distributed import if_main_process, infer_device

from tinyclap.errors import ConfigError
from tinyclap.files import read_json, sha256_of, write_json, write_text
from tinyclap.training.provenance import installed_packages, provenance

logger = logging.getLogger(__name__)

_ADVICE = "delete it to go on without it, or give another --output_folder"


def start_run(hparams, recipe, run_opts, modules=()):
    """Make the run's folder and record the resolved YAML, the script, the environment and the commit.

    Arguments
    ---------
    hparams : dict. The recipe's objects.
    recipe : tinyclap.training.recipe.Recipe
    run_opts : speechbrain.utils.run_opts.RunOptions
    modules : iterable of str. Modules that ``--import`` named.

    Raises
    ------
    ConfigError: The folder holds a run that is trained with other options; nothing was written.
    """
    folder = Path(hparams["output_folder"])
    settings = recipe.settings(output_folder=".")
    overrides = json.loads(json.dumps(recipe.options, default=str))
    note = {"recipe": recipe.path.name, "overrides": overrides, "settings": settings}
    note["modules"] = _own_modules(settings, modules)
    started, starts = folder / "run.json", folder / "provenance.json"
    more_epochs = None
    if started.exists() and "epoch_counter" in hparams:
        more_epochs = _check_same_run(folder, read_json(started, _ADVICE, ConfigError), note, recipe)
    before = read_json(starts, _ADVICE, ConfigError, list) if starts.exists() else []
    # its own list of packages comes from a pip in another process, which takes longer than a small run
    create_experiment_directory(experiment_directory=str(folder), save_env_desc=False)
    if if_main_process():
        if more_epochs:
            logger.warning(
                "%s was to have %d epochs and goes on to %d: a learning rate that depends on the total (cosine, "
                "exponential, warm-up) goes on as in a run of the new total",
                *(folder, *more_epochs),
            )
        write_text(folder / "env.log", "\n".join([f"Python {sys.version}", *installed_packages(), ""]))
        write_text(folder / "hyperparams.yaml", f"# Resolved from {recipe.path}\n{recipe.resolved()}")
        # SpeechBrain copies its caller, which is this file
        (folder / Path(__file__).name).unlink(missing_ok=True)
        if Path(sys.argv[0]).is_file():  # not so in a notebook, or where another program calls main()
            shutil.copy(sys.argv[0], folder)
        write_json(started, note)
        write_json(starts, [*before, provenance(run_opts["device"] or infer_device())])


def _check_same_run(folder, before, note, recipe):
    """Raise ConfigError unless the run in `folder` can be resumed; returns (before, now) where it gets more epochs."""
    if "settings" not in before or before.get("recipe") != note["recipe"]:
        held = before.get("recipe") if "settings" in before else "an older version, which noted other things"
        raise ConfigError(f"{folder} holds a run of {held}, not of {note['recipe']}. Give another --output_folder")
    old, new = before["settings"], note["settings"]
    epochs = old.get("number_of_epochs"), new.get("number_of_epochs")
    if all(isinstance(each, int) for each in epochs) and epochs[0] < epochs[1]:
        new = recipe.settings(output_folder=".", number_of_epochs=epochs[0])
    different = [key for key in dict.fromkeys([*old, *new]) if old.get(key, "absent") != new.get(key, "absent")]
    if different:
        # a key of the recipe stands in other places too, by reference: name the place where it is given
        given = set(recipe.keys())
        shown = [key for key in different if key in given] or different
        words = "; ".join(f"{key}: {old.get(key, 'absent')}, now {new.get(key, 'absent')}" for key in shown[:6])
        more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
        advice = "Give the same options to resume it, or another --output_folder"
        raise ConfigError(f"{folder} holds a run with other options ({words}{more}). {advice}")
    return epochs if new is not note["settings"] else None


def _own_modules(settings, names):
    """Modules of the user's that a run uses, by ``--import`` or by its YAML: name → file and its SHA-256."""
    tags = [str(value).partition(":")[2] for place, value in settings.items() if place.endswith("!")]
    packages = {tag.partition(".")[0] for tag in tags} - {"tinyclap", "data_prep", ""}
    found = {name: getattr(sys.modules.get(name), "__file__", None) for name in sorted({*packages, *names})}
    installed = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib"))
    own = {name: file for name, file in found.items() if file and (name in names or not file.startswith(installed))}
    return {name: {"file": file, "sha256": sha256_of(file)} for name, file in own.items()}


def release_note(hparams):
    """Metadata of a released folder, JSON-able: teacher, its text side, corpora, seed, each start of the run."""
    note = {"seed": hparams["seed"], "corpora": hparams["corpora"].describe()}
    note["starts"] = read_json(Path(hparams["output_folder"]) / "provenance.json", _ADVICE, ConfigError, list)
    teacher = hparams["modules"].get("teacher")
    if teacher is not None:
        about = {"teacher": teacher.kind, "text_side": teacher.text_side()}
        note |= {name: value for name, value in about.items() if value is not None}  # a captioner has no text side
    for term in hparams.get("terms", {}).values():
        if hasattr(term["loss"], "stored_order"):  # a nested loss
            note["latent"] = term["loss"].stored_order(hparams["modules"]["student"].embed_dim)
    return note


def write_metrics(hparams, meta, brain):
    """Write ``metrics.json`` of a brain's evaluation, with `meta` of the test set."""
    model = brain.modules.model
    record = {
        **{key: meta[key] for key in ("dataset", "split", "options")},
        **brain.results,
        "model": {"kind": model.kind, "weights": str(model.weights), **brain.complexity()},
        "seed": hparams["bootstrap_seed"],
        **provenance(brain.device),
    }
    write_json(Path(hparams["output_folder"]) / "metrics.json", record)
