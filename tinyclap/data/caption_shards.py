"""The shards of a caption cache, and how they are read.

A shard is ``<part>_<first>.npy`` (embeddings, float16), ``.json`` (clips, views, captions), ``.npz`` where the teacher
gave word choices (:mod:`tinyclap.data.caption_choices`), and ``.sha256``; see :mod:`tinyclap.data.shards`.
"""

import numpy as np
import torch

from tinyclap.data.caption_choices import TaughtChoices
from tinyclap.data.shards import checked_files, damaged, read_json, shard_path
from tinyclap.errors import CheckpointError, ManifestError

FORMAT = 1  # of the files, and of what is computed: raised when either changes
SHARD_SIZE = 64  # views


class TaughtCaptions:
    """The caption cache in `folder` as it is read: no teacher, no audio, small enough to pickle to loader workers.

    `keys_by_part` maps a part to its (clip, view); given `words`, the teacher's vocabulary, ``choices`` is a
    :class:`TaughtChoices`. A damaged shard raises a CheckpointError that names it.
    """

    def __init__(self, folder, keys_by_part, words=None):
        embeddings, choices, self.captions, self._rows = [], [], [], {}
        for part, keys in keys_by_part.items():
            for first in range(0, len(keys), SHARD_SIZE):
                shard = shard_path(folder, part, first)
                rows, note, said = _read_shard(shard, words is not None)
                wanted = keys[first : first + SHARD_SIZE]
                counts = [len(rows)] if words is None else [len(rows), len(said["n_words"])]
                if [tuple(key) for key in note["keys"]] != wanted or set(counts) != {len(wanted)}:
                    raise damaged(shard, "it is of other clips")
                self._rows.update(zip(wanted, range(len(self._rows), len(self._rows) + len(wanted)), strict=True))
                embeddings.append(rows)
                choices.append(said)
                self.captions += note["captions"]
        widths = {rows.shape[1] for rows in embeddings}
        if len(widths) > 1:
            raise CheckpointError(f"{folder} has embeddings of several widths: {sorted(widths)}; delete it")
        self._embeddings = np.concatenate(embeddings)
        self.embed_dim = self._embeddings.shape[1]
        self.choices = None if words is None else TaughtChoices(choices, words)

    def __len__(self):
        return len(self._rows)

    def get(self, name, view):
        """Teacher targets of a view: (embedding, float32 tensor (D,); caption, str)."""
        row = self.row(name, view)
        return torch.from_numpy(self._embeddings[row].astype(np.float32)), self.captions[row]

    def row(self, name, view):
        """The row of a view, for :meth:`TaughtChoices.row`."""
        self.require([(name, view)])
        return self._rows[name, view]

    def require(self, keys):
        """Raise a ManifestError if some of these (clip, view) are missing."""
        missing = [key for key in keys if key not in self._rows]
        if missing:
            name, view = missing[0]
            raise ManifestError(
                f"the caption store has nothing of {len(missing)} views, such as {view!r} of {name!r}; "
                "give the store the same views as the training"
            )


def _read_shard(shard, with_choices):
    """(embeddings, note, choices or None) of a checked shard."""
    paths = checked_files(shard, ("npy", "json", "npz") if with_choices else ("npy", "json"))
    choices = None
    if with_choices:
        with np.load(paths["npz"]) as arrays:
            choices = dict(arrays)
    return np.load(paths["npy"]), read_json(paths["json"]), choices
