#!/usr/bin/env python3
"""Make what a recipe's teacher says of its clips, once, before it is trained.

    python precompute.py hparams/distill_phinet.yaml --store_folder STORE [--key value …]

The options are those of train.py for the same recipe; the same store_folder then trains from the store. Stopped and run
again, it goes on where it was; a store of another teacher, other clips or other crops is refused. Of its own it has:

--n_processes N   CPU processes, each with a teacher (by default the recipe's own key); with --ray: teachers at once
--ray ADDRESS     make the shards on a Ray cluster (extra `scale`): auto, ray://host:10001, or local to start one here

Any recipe with a store or a pool can be given: hparams/distill_phinet.yaml, distill_phinet_projection.yaml,
distill_real_audio.yaml, distill_tagger_trunk.yaml, distill_captioner_*.yaml.
"""

import logging
import sys
import time
from pathlib import Path

from tinyclap.errors import ConfigError
from tinyclap.training import command_line

logger = logging.getLogger("precompute")


def main(arguments):
    """Make the stores of a recipe; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(name)s - %(message)s")
    hparams_file, _, overrides = command_line.parse_command_line(arguments)
    n_processes, ray_address = overrides.pop("n_processes", None), overrides.pop("ray", None)
    hparams = command_line.open_recipe(hparams_file, overrides).build()
    stores = [part for part in hparams["load_weights"] if hasattr(part, "scale")]
    if not stores:
        raise ConfigError(f"{hparams_file} has no store with these options; name one: --store_folder FOLDER")
    for prepare in hparams["prepare"]:
        getattr(prepare, "prepare", prepare)()
    for weights in filter(None, hparams["load_weights"]):
        started = time.monotonic()
        if weights in stores and (n_processes is not None or ray_address is not None):
            weights.scale(int(n_processes or 0), ray_address)
        weights.load()
        if weights in stores:
            logger.info("%s is whole: %s, %.0f s", weights.folder, *_size(weights.folder, started))
    return 0


def _size(folder, started):
    """Size of a folder's files in words, and the seconds since `started`."""
    sizes = [path.stat().st_size for path in Path(folder).iterdir() if path.is_file()]
    return f"{sum(sizes) / 1e6:.1f} MB in {len(sizes)} files", time.monotonic() - started


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__))
