#!/usr/bin/env python3
"""Train what a recipe describes.

    python train.py RECIPE [--key value …]        e.g. hparams/distill_phinet.yaml
    python train.py RECIPE --help                 the recipe's keys, with their defaults

The same command resumes a run that was stopped; a larger --number_of_epochs goes on with one that has ended.
--profile True writes profile.txt and trace.json (torch.profiler) of some steps.
--import my_net imports a module of your own, from beside the recipe or the current folder. With several GPUs:

    torchrun --standalone --nproc_per_node=4 train.py RECIPE …

The run's folder (key output_folder) ends with: student/ (config.json and model.safetensors of the best epoch),
history.jsonl and train_steps.csv (exact losses), provenance.json, hyperparams.yaml, log.txt, save/ (checkpoints).
"""

import logging
import sys

import speechbrain as sb
import torch
from speechbrain.utils.distributed import run_on_main

from tinyclap.brains.profiling import profile_steps
from tinyclap.training import command_line, run_folder

logger = logging.getLogger("train")


def main(arguments):
    """Run a recipe from its YAML to its released student; returns the exit status."""
    path, run_opts, options = command_line.parse_command_line(arguments)
    own_modules = command_line.import_named(options.pop("import", None), path)
    wants_profile = command_line.own_option(options, "profile", False)
    sb.utils.distributed.ddp_init_group(run_opts)
    recipe = command_line.open_recipe(path, options, run_opts)
    hparams = recipe.build()
    command_line.check_recipe(hparams)
    run_folder.start_run(hparams, recipe, run_opts, own_modules)

    for prepare in hparams["prepare"]:
        run_on_main(getattr(prepare, "prepare", prepare))
    modules = {name: _built(module) for name, module in hparams["modules"].items()}
    if "train_logger" in hparams:
        hparams["train_logger"] = _built(hparams["train_logger"])  # may open files, so not before the run's folder
    hparams["modules"] = modules
    for weights in hparams["load_weights"]:
        if weights is not None:
            weights.load()
    datasets = hparams["make_datasets"]()

    brain = hparams["brain_class"](
        modules=modules,
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=_built(hparams["checkpointer"]),
    )
    if wants_profile:
        profile_steps(brain, hparams["output_folder"])
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_dataloader_opts"],
        valid_loader_kwargs=hparams["valid_dataloader_opts"],
    )
    folder = f"{hparams['output_folder']}/student"
    brain.release(folder, run_folder.release_note(hparams))
    logger.info("best epoch of %s released to %s", recipe.path, folder)
    return 0


def _built(module):
    """An object, made now where the recipe names how (``!name:``): it depends on what was prepared, or writes files."""
    return module if isinstance(module, torch.nn.Module) or not callable(module) else module()


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__))
