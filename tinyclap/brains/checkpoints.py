"""Checkpoints saved atomically, and checked before they are loaded.

SpeechBrain makes a checkpoint's folder before its content, so a killed run leaves an incomplete one that the next run
would load. Here the hashes of a checkpoint's files are written last: one without them was not finished, and is removed;
one that was cut or altered later is named and renamed, and the one before it taken.
"""

import logging
import shutil

from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from tinyclap.errors import CheckpointError
from tinyclap.files import read_json, sha256_of, write_json

logger = logging.getLogger(__name__)

_HASHES, _DAMAGED = "sha256.json", "damaged_"


def save_whole(checkpointer, meta, end_of_epoch=True, **keep):
    """Save a checkpoint with `meta`, then delete old ones but the newest.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
    meta : dict
    end_of_epoch : bool
    keep : As for ``Checkpointer.delete_checkpoints``.
    """
    saved = checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
    if if_main_process():
        write_json(saved.path / _HASHES, {path.name: sha256_of(path) for path in sorted(saved.path.iterdir())})
    checkpointer.delete_checkpoints(num_to_keep=1, importance_keys=[ckpt_recency], **keep)
    ddp_barrier()


def recover_whole(checkpointer, min_key=None):
    """Load the newest checkpoint, or that with the minimum of `min_key` in its meta; None where there is none.

    Raises
    ------
    CheckpointError: Every checkpoint is damaged, or they are of a run with other parts.
    """
    folder = checkpointer.checkpoints_dir
    if if_main_process():
        for path in sorted(folder.glob("CKPT+*")):
            _set_aside(path)
    ddp_barrier()
    found = checkpointer.find_checkpoint(min_key=min_key)
    damaged = sorted(path.name for path in folder.glob(f"{_DAMAGED}*"))
    if found is None and damaged:
        raise CheckpointError(f"{folder}: no whole checkpoint is left beside {damaged[-1]}; delete it to start anew")
    if found is None:
        return None
    try:
        checkpointer.load_checkpoint(found)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        advice = "give another --output_folder"
        raise CheckpointError(f"{found.path}: not of this run's parts ({reason}); {advice}") from error
    return found


def _set_aside(folder):
    """Remove a checkpoint that was not finished, rename one that is damaged."""
    if not (folder / _HASHES).exists():
        logger.warning("%s was being saved when the run was stopped: it is thrown away", folder.name)
        shutil.rmtree(folder)
        return
    try:
        for name, sha256 in read_json(folder / _HASHES).items():
            if not (folder / name).is_file() or sha256_of(folder / name) != sha256:
                raise CheckpointError(f"{folder / name} was cut, altered or removed since it was saved")
    except CheckpointError as error:
        folder.rename(folder.with_name(f"{_DAMAGED}{folder.name}"))
        logger.warning("%s; it is not used, and renamed to %s%s", error, _DAMAGED, folder.name)
