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
    """The :class:`Recordings` of a folder, or of ``MANIFEST.json@FOLDER``, a manifest and the folder of its corpus."""
    manifest, _, root = str(given).partition("@")
    if manifest.endswith(".json"):
        if not root:
            raise ConfigError(f"{given}: say where the corpus of this manifest is: {given}@FOLDER")
        meta, items = read_manifest(manifest, root)
        labels = [item["label"] for item in items] if all("label" in item for item in items) else []
        return Recordings(Path(manifest).stem, [item["wav"] for item in items], labels, meta["classes"])
    if not Path(given).is_dir():
        raise ConfigError(f"{given}: no recordings there, it is no folder")
    return Recordings(Path(given).resolve().name, sorted(map(Path, recordings_in(given))), [], [])


def sample(recordings, n_wanted, seed=0):
    """Split recordings into a random sample of at most `n_wanted` and the rest, both in their first order."""
    order = np.random.default_rng(seed).permutation(len(recordings.paths))
    return [
        recordings._replace(
            paths=[recordings.paths[place] for place in places],
            labels=[recordings.labels[place] for place in places if recordings.labels],
        )
        for places in (sorted(order[:n_wanted]), sorted(order[n_wanted:]))
    ]
