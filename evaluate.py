#!/usr/bin/env python3
"""Score a model on a corpus: zero-shot classification, or captions.

    python evaluate.py hparams/esc50.yaml --data_folder ESC-50-master --weights results/distill_phinet/…/1234
    python evaluate.py hparams/esc50.yaml --data_folder ESC-50-master --model msclap2022 --weights CLAP_weights_2022.pth
    python evaluate.py hparams/clotho.yaml --data_folder clotho --weights results/distill_captioner_clotho/…/1234

A model whose weights were not loaded is refused. The output folder gets metrics.json (each score with its bootstrap
interval, n, what was asked of the model, what it costs, the commit) and predictions.csv (one row a clip, with its
scores); of captions also submission.csv, as DCASE wants it.
"""

import logging
import sys

from speechbrain.utils.distributed import run_on_main

from tinyclap.errors import TinyclapError
from tinyclap.training import experiment

logger = logging.getLogger("evaluate")


def main(arguments):
    """Score what a recipe describes; returns the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0
    hparams_file, run_opts, overrides = experiment.parse_command_line(arguments)
    hparams, overrides = experiment.load_hparams(hparams_file, overrides)
    experiment.start_run(hparams, hparams_file, overrides, run_opts)

    for prepare in hparams["prepare"]:
        run_on_main(prepare.prepare)
    for weights in hparams["load_weights"]:
        weights.load()
    dataset, meta = hparams["make_datasets"]()

    brain = hparams["brain_class"](modules=hparams["modules"], hparams=hparams, run_opts=run_opts)
    brain.start(meta)
    brain.evaluate(dataset, test_loader_kwargs=hparams["test_loader"])
    experiment.write_metrics(hparams, meta, brain)
    said = (meta["dataset"], meta["split"], brain.summary(), hparams["output_folder"])
    logger.info("%s (%s): %s; written to %s", *said)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
