#!/usr/bin/env python3
"""Train what a recipe describes.

    python train.py hparams/distill_phinet.yaml [--key value …]

Any top-level key of the recipe can be given as an option; so can SpeechBrain's run options (--device cuda:0,
--precision bf16, --debug, …). The same command resumes a run that was stopped. --profile True times the stages of a
step (waiting for data, log-mel, teacher, forward, backward, optimiser) and writes profile.json. With several GPUs:

    torchrun --standalone --nproc_per_node=4 train.py hparams/distill_phinet.yaml …

The run's folder (key output_folder) ends with: student/ (config.json and model.safetensors of the best epoch),
history.jsonl and train_steps.csv (exact losses), provenance.json, hyperparams.yaml, log.txt, save/ (checkpoints).
"""

import logging
import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from tinyclap.brains.stage_times import StageTimes
from tinyclap.errors import TinyclapError
from tinyclap.training import experiment

logger = logging.getLogger("train")


def main(arguments):
    """Run a recipe from its YAML to its released student; returns the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0
    hparams_file, run_opts, overrides = experiment.parse_command_line(arguments)
    wants_profile = overrides.pop("profile", False)
    sb.utils.distributed.ddp_init_group(run_opts)
    hparams, overrides = experiment.load_hparams(hparams_file, overrides)
    experiment.start_run(hparams, hparams_file, overrides, run_opts)

    for prepare in hparams["prepare"]:
        run_on_main(prepare.prepare)
    for weights in filter(None, hparams["load_weights"]):
        weights.load()
    datasets = hparams["make_datasets"]()

    brain = hparams["brain_class"](
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    if wants_profile:
        reader = hparams["reader"] if "reader" in hparams else None
        StageTimes(brain, hparams["output_folder"], reader).attach()
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    folder = f"{hparams['output_folder']}/student"
    brain.release(folder, experiment.release_note(hparams))
    logger.info("best epoch of %s released to %s", hparams_file, folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")
