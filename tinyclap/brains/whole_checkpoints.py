"""Checkpoints saved atomically.

SpeechBrain makes a checkpoint's folder before its content, so a killed run leaves an incomplete one that the next run
would load. Here a note lists what was there before; newer folders that were not finished are removed.
"""

import json
import shutil

from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import if_main_process

from tinyclap.files import read_json, write_text

_NOTE = ".saving.json"


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
    checkpointer.save_checkpoint(meta=meta, end_of_epoch=end_of_epoch)
    if if_main_process():
        note.unlink()
    checkpointer.delete_checkpoints(num_to_keep=1, importance_keys=[ckpt_recency], **keep)


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
