"""Checkpoints that are whole or not there at all, whenever a run is killed.

SpeechBrain makes a checkpoint's folder, with the file by which it is known as one, before it writes what belongs into
it: a run killed meanwhile leaves half a checkpoint, from which the next one tries to go on. Here a note says what was
there before; what came after it, and was not finished, is thrown away.
"""

import json
import shutil

from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import if_main_process

from tinyclap.files import read_json, write_text

_NOTE = ".saving.json"


def save_whole(checkpointer, meta, end_of_epoch=True, **keep):
    """Save a checkpoint, then delete those that need not be kept; the newest is kept.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
    meta : dict. What the checkpoint says of itself.
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
    """Throw away what a killed run was saving.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer

    Returns
    -------
    list of str. Names of the folders that are gone.
    """
    note = checkpointer.checkpoints_dir / _NOTE
    if not if_main_process() or not note.exists():
        return []
    before = read_json(note, "delete it, and the newest checkpoint", kind=list)
    half = [path for path in checkpointer.checkpoints_dir.iterdir() if path.is_dir() and path.name not in before]
    for path in half:
        shutil.rmtree(path)
    note.unlink()
    return [path.name for path in half]
