#!/usr/bin/env python3
"""Make a recipe's target cache before it is trained: its teacher's targets for every view of its clips.

    python precompute.py RECIPE --target_cache FOLDER [--key value …]        e.g. hparams/distill_phinet.yaml

The options are those of train.py for the same recipe, which then trains from the same --target_cache without running
the teacher. Stopped and run again, it goes on where it was; several runs may fill one cache; a cache of another
teacher, front end or other views is refused. Of its own it has:

--n_processes N   CPU processes, each with a teacher (default: the recipe's n_target_processes); with --ray: teachers
--ray ADDRESS     make the shards on a Ray cluster (extra `scale`): auto, ray://host:10001, or local to start one here
--verify True     hash the shards that are there already, all of them
--device DEVICE   of the teacher, e.g. cuda:1 or cpu (default: the recipe's target_device, else the GPU, else the CPU)
"""

import logging
import sys
import time
from pathlib import Path

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main

from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import ConfigError
from tinyclap.training import command_line

logger = logging.getLogger("precompute")


def main(arguments):
    """Make the target caches of a recipe; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(name)s - %(message)s")
    path, run_opts, options = command_line.parse_command_line(arguments)
    ray_address = options.pop("ray", None)
    n_processes = command_line.own_option(options, "n_processes", None)
    verify = command_line.own_option(options, "verify", False)
    command_line.import_named(options.pop("import", None), path)
    sb.utils.distributed.ddp_init_group(run_opts)
    recipe = command_line.open_recipe(path, options, run_opts)
    hparams = recipe.build()
    command_line.check_recipe(hparams)
    caches = [part for part in hparams["load_weights"] if isinstance(part, TeacherTargets) and part.is_cached]
    if not caches:
        raise ConfigError(f"{recipe.path} has no target cache with these options; name one: --target_cache FOLDER")
    for cache in caches:
        cache.device = run_opts["device"] or cache.device
        cache.scale(cache.n_processes if n_processes is None else n_processes, ray_address)
    for prepare in hparams["prepare"]:
        run_on_main(getattr(prepare, "prepare", prepare))
    for cache in caches:
        started = time.monotonic()
        cache.load(verify)
        logger.info("%s is whole: %d views, %s, %.0f s", cache.folder, len(cache), *_size(cache.folder, started))
    return 0


def _size(folder, started):
    """Size of a folder's files in words, and the seconds since `started`."""
    sizes = [path.stat().st_size for path in Path(folder).iterdir() if path.is_file()]
    return f"{sum(sizes) / 1e6:.1f} MB in {len(sizes)} files", time.monotonic() - started


if __name__ == "__main__":
    sys.exit(command_line.run(main, __doc__))
