"""Recordings of a folder or manifest, for int8 calibration, and checks of exports and pruned networks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyclap.audio.find import recordings_in
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError


class Recordings(NamedTuple):
    """``name``, ``paths`` (list of Path), ``labels`` (one each, or empty), ``classes`` (in the corpus' order)."""

    name: str
    paths: list
    labels: list
    classes: list


def find_recordings(given):
    """The :class:`Recordings` of a folder, or of ``MANIFEST.json@FOLDER``, a manifest and the folder of its corpus.

    Raises
    ------
    ConfigError: There are none.
    """
    manifest, _, root = str(given).partition("@")
    if manifest.endswith(".json"):
        if not root:
            raise ConfigError(f"{given}: say where the corpus of this manifest is: {given}@FOLDER")
        meta, items = read_manifest(manifest, root)
        labels = [item["label"] for item in items] if all("label" in item for item in items) else []
        found = Recordings(Path(manifest).stem, [item["wav"] for item in items], labels, list(meta["classes"]))
    else:
        folder = Path(given)
        if not folder.is_dir():
            raise ConfigError(f"{given}: no recordings there, it is no folder")
        paths = sorted(map(Path, recordings_in(folder)))
        found = Recordings(folder.resolve().name, paths, [], [])
    if not found.paths:
        raise ConfigError(f"{given}: no recordings there")
    return found


def sample(recordings, n_wanted, seed=0):
    """Split recordings into a random sample of at most `n_wanted` and the rest, both in their first order.

    Example
    -------
    >>> some, rest = sample(Recordings("toy", ["a", "b", "c"], ["x", "y", "x"], ["x", "y"]), 2)
    >>> len(some.paths), len(some.labels), len(rest.paths)
    (2, 2, 1)
    """
    order = np.random.default_rng(seed).permutation(len(recordings.paths))
    return _part(recordings, sorted(order[:n_wanted])), _part(recordings, sorted(order[n_wanted:]))


def _part(recordings, indices):
    labels = [recordings.labels[index] for index in indices] if recordings.labels else []
    return recordings._replace(paths=[recordings.paths[index] for index in indices], labels=labels)
