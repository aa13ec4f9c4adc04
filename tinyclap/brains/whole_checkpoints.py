"""Checkpoints saved atomically, and checked before they are loaded.

SpeechBrain makes a checkpoint's folder before its content, so a killed run leaves an incomplete one that the next run
would load. Here a note lists what was there before; newer folders that were not finished are removed. The hash of each
file is kept with a checkpoint, so that one that was cut or altered later is named, and the one before it taken.
"""

import json
import logging
import shutil

from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from tinyclap.errors import CheckpointError
from tinyclap.files import read_json, sha256_of, write_json, write_text

logger = logging.getLogger(__name__)

_NOTE, _HASHES, _DAMAGED = ".saving.json", "sha256.json", "damaged_"


def save_whole(checkpointer, meta, end_of_epoch=True, **keep):
    """Save a checkpoint, then delete old ones but the newest.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
    meta : dict. Of the checkpoint.
    end_of_epoch : bool
    keep : As for ``Checkpointer.delete_checkpoints``.
    """
    note = checkpointer.checkpoints_dir / _NOTE
    if if_main_process():
        write_text(note, json.dumps(sorted(path.name for path in checkpointer.checkpoints_dir.iterdir())))
    saved = checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
    if if_main_process():
        write_json(saved.path / _HASHES, {path.name: sha256_of(path) for path in sorted(saved.path.iterdir())})
        note.unlink()
    checkpointer.delete_checkpoints(num_to_keep=1, importance_keys=[ckpt_recency], **keep)
    ddp_barrier()


def drop_half_saved(checkpointer):
    """Remove checkpoints that a killed run left incomplete; returns the names of the folders."""
    note = checkpointer.checkpoints_dir / _NOTE
    if not if_main_process() or not note.exists():
        return []
    before = read_json(note, "delete it, and the newest checkpoint", kind=list)
    half = [path for path in checkpointer.checkpoints_dir.iterdir() if path.is_dir() and path.name not in before]
    for path in half:
        shutil.rmtree(path)
    note.unlink()
    return [path.name for path in half]


def recover_whole(checkpointer, min_key=None):
    """Load the newest checkpoint, or that with the minimum of `min_key` in its meta; None where there is none.

    A damaged one is renamed, with a warning, and the next one taken.

    Raises
    ------
    CheckpointError: Every checkpoint is damaged, or they are of a run with other parts.
    """
    folder = checkpointer.checkpoints_dir
    if if_main_process():
        for path in sorted(folder.glob("CKPT+*")):
            problem = _problem(path)
            if problem:
                path.rename(folder / f"{_DAMAGED}{path.name}")
                logger.warning("%s; it is not used, and renamed to %s%s", problem, _DAMAGED, path.name)
    ddp_barrier()
    found = checkpointer.find_checkpoint(min_key=min_key)
    damaged = sorted(path.name for path in folder.glob(f"{_DAMAGED}*"))
    if found is None:
        if damaged:
            raise CheckpointError(
                f"{folder}: no whole checkpoint is left beside {damaged[-1]}; delete it to start anew"
            )
        return None
    try:
        checkpointer.load_checkpoint(found)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{found.path}: not of this run's parts ({reason}); give another --output_folder"
        ) from error
    return found


def _problem(folder):
    """What is wrong with the files of a checkpoint, or None."""
    if not (folder / _HASHES).exists():
        return None  # of an earlier version
    try:
        hashes = read_json(folder / _HASHES)
    except CheckpointError as error:
        return str(error)
    for name, sha256 in hashes.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != sha256:
            return f"{folder / name} was cut, altered or removed since it was saved"
    return None
