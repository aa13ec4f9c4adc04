"""The files of a caption store: shards that are there whole or not at all, with their checksums, and how they are read.

A shard is ``<part>_<first>.npy`` (embeddings, float16), ``.json`` (clips, views, captions), ``.npz`` where the teacher
gave word choices (see :mod:`tinyclap.data.caption_choices`), and ``.sha256``, which comes last and which
``sha256sum -c`` reads.
"""

import hashlib
import json
import os
import time

import numpy as np
import torch

from tinyclap.data.caption_choices import TaughtChoices
from tinyclap.errors import CheckpointError, ManifestError

FORMAT = 1  # of the files, and of what is computed: raised when either changes
SHARD_SIZE = 64  # views
_STALE_S = 600  # a shard is written in far less, so a part older than this belongs to a run that was killed


class TaughtCaptions:
    """The store as it is read: no teacher, no audio, small enough to go to the workers of a loader.

    Arguments
    ---------
    folder : pathlib.Path
    keys_by_part : dict of str to list of (str, str)
    words : list of str, optional
        The teacher's vocabulary; given, the store has word choices, and ``choices`` is a :class:`TaughtChoices`.

    Raises
    ------
    CheckpointError
        A shard is not as it was written; it is named.
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
                    raise _damaged(shard, "it is of other clips")
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
        """What the teacher said of a view: (embedding, float32 tensor of shape (D,); caption, str)."""
        row = self.row(name, view)
        return torch.from_numpy(self._embeddings[row].astype(np.float32)), self.captions[row]

    def row(self, name, view):
        """The place of a view in the store, for :meth:`TaughtChoices.row`."""
        self.require([(name, view)])
        return self._rows[name, view]

    def require(self, keys):
        """Raise a ManifestError if the store has nothing of some of these (clip, view)."""
        missing = [key for key in keys if key not in self._rows]
        if missing:
            name, view = missing[0]
            raise ManifestError(
                f"the caption store has nothing of {len(missing)} views, such as {view!r} of {name!r}; "
                "give the store the same views as the training"
            )


def shard_path(folder, part, first):
    """Path of a shard whose first view is the `first` of its part; each of its files adds an ending."""
    return folder / f"{part}_{first:07d}"


def is_whole(shard):
    """Whether a shard's last file is there, and so all of them."""
    return _file(shard, "sha256").exists()


def write_shard(shard, embeddings, note, choices=None):
    """Write the files of a shard; it is there once the last of them, its checksums, is.

    Arguments
    ---------
    shard : pathlib.Path
        Of :func:`shard_path`.
    embeddings : numpy.ndarray, shape (n_views, D)
    note : dict
    choices : dict of str to numpy.ndarray, optional
    """
    kinds = ("npy", "json") if choices is None else ("npy", "json", "npz")
    paths = {kind: _file(shard, kind) for kind in (*kinds, "sha256")}
    temporary = {kind: path.with_name(f".{path.name}.{os.getpid()}.part") for kind, path in paths.items()}
    with open(temporary["npy"], "wb") as file:
        np.save(file, embeddings)
    temporary["json"].write_text(json.dumps(note, ensure_ascii=False, indent=0), encoding="utf-8")
    if choices is not None:
        with open(temporary["npz"], "wb") as file:
            np.savez(file, **choices)
    lines = [f"{sha256_of_file(temporary[kind])}  {paths[kind].name}\n" for kind in kinds]
    temporary["sha256"].write_text("".join(lines), encoding="utf-8")
    for kind, path in paths.items():
        os.replace(temporary[kind], path)


def _read_shard(shard, with_choices):
    """(embeddings, note, choices or None) of a shard that is as it was written."""
    lines = _file(shard, "sha256").read_text(encoding="utf-8").splitlines()
    promised = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    paths = [_file(shard, kind) for kind in (("npy", "json", "npz") if with_choices else ("npy", "json"))]
    for path in paths:
        if not path.exists() or sha256_of_file(path) != promised.get(path.name):
            raise _damaged(shard, f"{path.name} is missing, or has another sha256")
    choices = None
    if with_choices:
        with np.load(paths[2]) as arrays:
            choices = dict(arrays)
    return np.load(paths[0]), read_json(paths[1]), choices


def _damaged(shard, why):
    return CheckpointError(
        f"{shard.parent}: the shard {shard.name} is damaged ({why}); delete {shard.name}.* to make this one again"
    )


def _file(shard, kind):
    return shard.with_name(f"{shard.name}.{kind}")


def sha256_of_file(path):
    """The SHA-256 of a small file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def remove_stale(folder):
    """Delete half-written files of runs that were killed, not those that another run is writing."""
    for part in folder.glob(".*.part"):
        if part.exists() and time.time() - part.stat().st_mtime > _STALE_S:
            part.unlink(missing_ok=True)


def fingerprint(content):
    """16 hexadecimal digits of a JSON-able dict.

    Example
    -------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 2})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differences(there, here):
    """What differs between two dicts, in words."""
    shown = [
        f"{key} ({there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here)"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    return ", ".join(shown)


def read_json(path):
    """The content of a JSON file of the store."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); delete its folder to make it again") from error


def write_json(path, content):
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
