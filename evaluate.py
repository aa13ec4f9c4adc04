#!/usr/bin/env python3
"""Score a model on a corpus: zero-shot classification, or captions.

    python evaluate.py hparams/esc50.yaml --data_folder ESC-50-master --weights results/distill_phinet/…/1234
    python evaluate.py hparams/clotho.yaml --data_folder clotho --weights results/distill_captioner_clotho/…/1234
    python evaluate.py RECIPE --help              the recipe's keys, with their defaults

A model whose weights were not loaded is refused. The output folder gets metrics.json (each score with its bootstrap
interval, n, the options, the model's cost, the commit) and predictions.csv (one row a clip, with its scores); for
captions also submission.csv, as DCASE wants it. --import my_net imports a module of your own that the model needs.
"""

import logging
import sys

from speechbrain.utils.distributed import run_on_main

from tinyclap.training import command_line, run_folder

logger = logging.getLogger("evaluate")


def main(arguments):
    """Score what a recipe describes; returns the exit status."""
    path, run_opts, options = command_line.parse_command_line(arguments)
    own_modules = command_line.import_named(options.pop("import", None), path)
    recipe = command_line.open_recipe(path, options, run_opts)
    hparams = recipe.build()
    command_line.check_recipe(hparams)
    for weights in hparams["load_weights"]:  # first: a model that cannot be loaded leaves nothing behind
        if weights is not None:
            weights.load()
    run_folder.start_run(hparams, recipe, run_opts, own_modules)

    for prepare in hparams["prepare"]:
        run_on_main(getattr(prepare, "prepare", prepare))
    dataset, meta = hparams["make_datasets"]()

    brain = hparams["brain_class"](modules=hparams["modules"], hparams=hparams, run_opts=run_opts)
    brain.start(meta)
    brain.evaluate(dataset, test_loader_kwargs=hparams["test_dataloader_opts"])
    run_folder.write_metrics(hparams, meta, brain)
    result = (meta["dataset"], meta["split"], brain.summary(), hparams["output_folder"])
    logger.info("%s (%s): %s; written to %s", *result)
    return 0


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__))
