"""Shards: files written atomically, with checksums.

A shard is some files ``<part>_<first>.<ending>`` and ``<part>_<first>.sha256``, which comes last and which
``sha256sum -c`` reads. Its bytes do not depend on who makes it, so killed runs resume and runs may share a folder.
"""

import contextlib
import hashlib
import json
import time

import numpy as np

from tinyclap import files
from tinyclap.errors import CheckpointError
from tinyclap.files import atomic_path, sha256_of

_STALE_S = 600  # a shard is written in far less, so a part older than this belongs to a run that was killed


def list_shards(counts, size):
    """Shards of at most `size` rows, (part, first row, number of rows), of parts with `counts` rows.

    Example
    -------
    >>> list_shards({"train": 5, "valid": 2}, 3)
    [('train', 0, 3), ('train', 3, 2), ('valid', 0, 2)]
    """
    return [
        (part, first, min(size, count - first)) for part, count in counts.items() for first in range(0, count, size)
    ]


def shard_path(folder, part, first):
    """Path of a shard without ending; `first` is its first row in the part."""
    return folder / f"{part}_{first:07d}"


def shard_file(shard, ending):
    """Path of one file of a shard."""
    return shard.with_name(f"{shard.name}.{ending}")


def is_whole(shard):
    """Whether a shard is complete: its last file exists."""
    return shard_file(shard, "sha256").exists()


def write_shard(shard, contents):
    """Write the files of a shard, the checksums last.

    `contents` maps an ending to its content: an array for ``npy`` (or ``….npy``), a dict of arrays for ``npz``,
    anything JSON-able for ``json``.
    """
    paths = {ending: shard_file(shard, ending) for ending in ("sha256", *contents)}
    with contextlib.ExitStack() as stack:  # renames in reverse order: sha256 last
        parts = {ending: stack.enter_context(atomic_path(path)) for ending, path in paths.items()}
        for ending, content in contents.items():
            with open(parts[ending], "wb") as file:
                if ending == "json":
                    file.write(json.dumps(content, ensure_ascii=False, indent=0).encode())
                elif ending == "npz":
                    np.savez(file, **content)
                else:
                    np.save(file, content)
        lines = [f"{sha256_of(parts[ending])}  {paths[ending].name}\n" for ending in contents]
        parts["sha256"].write_text("".join(lines), encoding="utf-8")


def checked_files(shard, endings):
    """Paths by ending of a shard's files, or a CheckpointError that names one that is missing or damaged."""
    lines = shard_file(shard, "sha256").read_text(encoding="utf-8").splitlines()
    promised = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    paths = {ending: shard_file(shard, ending) for ending in endings}
    for path in paths.values():
        if not path.exists() or sha256_of(path) != promised.get(path.name):
            raise damaged(shard, f"{path.name} is missing, or has another sha256")
    return paths


def damaged(shard, why):
    """The error that names a shard and its remedy."""
    return CheckpointError(
        f"{shard.parent}: the shard {shard.name} is damaged ({why}); delete {shard.name}.* to make this one again"
    )


def remove_stale(folder):
    """Delete old temporary files of killed runs; another run may be writing newer ones."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()
        except FileNotFoundError:  # its writer has just finished it
            continue


def fingerprint(content):
    """16 hexadecimal digits of a JSON-able dict.

    Example
    -------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 2})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differences(there, here):
    """What differs between two dicts, in words.

    Example
    -------
    >>> differences({"seed": 1, "width": 4}, {"seed": 2, "width": 4})
    'seed (1 there, 2 here)'
    """
    shown = [
        f"{key} ({there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here)"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    return ", ".join(shown)


def read_json(path):
    """The content of a JSON file of a target cache."""
    return files.read_json(path, "delete its folder to make it again", kind=object)
