"""Files that are made once and read often: shards that are there whole or not at all, each with its checksums.

A shard is some files ``<part>_<first>.<ending>`` and ``<part>_<first>.sha256``, which comes last and which
``sha256sum -c`` reads. Who makes a shard twice makes the same bytes, so a run that was killed goes on where it was, and
several runs may share a folder.
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
    """The shards of some parts.

    Arguments
    ---------
    counts : dict of str to int. Rows of each part.
    size : int. Rows of a shard; the last of a part may have fewer.

    Returns
    -------
    list of (str, int, int). Part, first row, number of rows.

    Example
    -------
    >>> list_shards({"train": 5, "valid": 2}, 3)
    [('train', 0, 3), ('train', 3, 2), ('valid', 0, 2)]
    """
    return [
        (part, first, min(size, count - first)) for part, count in counts.items() for first in range(0, count, size)
    ]


def shard_path(folder, part, first):
    """Path of a shard whose first row is the `first` of its part; each of its files adds an ending."""
    return folder / f"{part}_{first:07d}"


def shard_file(shard, ending):
    """Path of one file of a shard."""
    return shard.with_name(f"{shard.name}.{ending}")


def is_whole(shard):
    """Whether a shard's last file is there, and so all of them."""
    return shard_file(shard, "sha256").exists()


def write_shard(shard, contents):
    """Write the files of a shard; it is there once the last of them, its checksums, is.

    Arguments
    ---------
    shard : pathlib.Path. Of :func:`shard_path`.
    contents : dict of str to object
        Ending → what is in that file: an array for ``npy`` (or ``….npy``), a dict of arrays for ``npz``, anything
        JSON-able for ``json``.
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
    """The files of a shard that is as it was written.

    Arguments
    ---------
    shard : pathlib.Path
    endings : sequence of str

    Returns
    -------
    dict of str to pathlib.Path

    Raises
    ------
    CheckpointError: A file is missing, or its checksum is not the one that was written; it is named.
    """
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
    """Delete half-written files of runs that were killed, not those that another run is writing."""
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
