"""Views: reproducible pieces of audio, so that a captioning teacher's targets can be cached by ``(clip, view)``.

A view is a window of a clip on a fixed grid, or a random mixture seeded by its name.
"""

import hashlib
import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tinyclap.data.pipeline import ClipReader, CropReader, hold_out, read_items
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.features.resample import resample
from tinyclap.features.windows import WindowPolicy
from tinyclap.files import read_json


class ViewsPart(NamedTuple):
    """The views of one manifest's clips."""

    keys: list  # of (clip, view)
    description: dict  # all that decides the audio; JSON-able


class Views:
    """The views of the training parts of some corpora.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora or None. Read when first needed; None has no clips.
    sample_rate_hz : int. The teacher's input, and the rate at which mixtures are made.
    window_s : float
        Length of a view in seconds. Windows w0, w1, … follow each other, the last one ending with the clip; a shorter
        clip is one window as long as itself.
    n_views : int, optional. At most so many windows of a clip, spread over it; or so many mixtures m0, m1, … of each.
    augment : tinyclap.data.augment.FunctionMatchingAugment, optional
        Makes mixtures in place of windows. The clip's own captions do not hold for them.
    seed : int. Of the mixtures.
    valid_fraction : float. Of the recordings held out for validation; mixtures do not cross sides.
    in_memory : bool. See :class:`tinyclap.data.pipeline.ClipReader`.
    """

    _parts = ("train",)  # of the corpora, that have views

    def __init__(
        self, corpora, sample_rate_hz, window_s, n_views=None, augment=None, seed=0, valid_fraction=0.0, in_memory=False
    ):
        if (augment is not None and n_views is None) or (n_views is not None and n_views < 1):
            raise ConfigError(f"n_views={n_views}: say how many views of a clip there are, at least one")
        if not 0 <= valid_fraction < 1:
            raise ConfigError(f"valid_fraction={valid_fraction}; it is in [0, 1)")
        self.corpora, self.sample_rate_hz, self.window_s, self.n_views = corpora, sample_rate_hz, window_s, n_views
        self.augment, self.seed, self.valid_fraction, self.in_memory = augment, seed, valid_fraction, in_memory
        self._policy = WindowPolicy(window_s=window_s)
        self._readers = {}

    @cached_property
    def items(self):
        """All clips, id → item."""
        manifests = self._manifests("train")
        return read_items(manifests) if manifests else {}

    @cached_property
    def sides(self):
        """(items to train on, items held out)."""
        return hold_out(self.items, self.valid_fraction)

    def valid_items(self):
        """Clips of the corpora's validation parts, id → item; they have no views."""
        manifests = self._manifests("valid")
        return read_items(manifests) if manifests else {}

    def _manifests(self, part):
        return [] if self.corpora is None else self.corpora.manifests(part)

    def views_of(self, name):
        """The names of a clip's views.

        Example
        -------
        >>> views = Views(None, 1000, window_s=2.0)
        >>> views.items = {"a": {"duration_s": 5.0}}
        >>> views.views_of("a")
        ['w0', 'w1', 'w2']
        """
        if self.augment is not None:
            return [f"m{index}" for index in range(self.n_views)]
        return [f"w{index}" for index in range(len(self._starts(name)))]

    def keys(self, names=None):
        """(clip, view) of all views of the clips `names` (all by default)."""
        return [(name, view) for name in (self.items if names is None else names) for view in self.views_of(name)]

    def read(self, name, view, sample_rate_hz=None):
        """The audio of a view, at the views' own rate by default: numpy.ndarray, shape (T,), float32."""
        rate = sample_rate_hz or self.sample_rate_hz
        if name not in self.items or view not in self.views_of(name):
            raise ManifestError(f"there is no view {view!r} of {name!r}; was the corpus prepared again since?")
        index = int(view[1:])
        if self.augment is None:
            start_s = self._starts(name)[index] / self.sample_rate_hz
            return self._reader(rate)(self.items[name]["wav"], start_s, self.window_s)
        random = np.random.default_rng([self.seed, zlib.crc32(name.encode()), index])
        mixture = torch.from_numpy(self._crops[name in self.sides[1]].at(name, random))
        return resample(mixture, self.sample_rate_hz, rate, method="soxr").numpy()

    def hear(self, name, view):
        """The audio of a view at the views' own rate, and a note (empty here; JSON-able)."""
        return self.read(name, view), {}

    def forget(self):
        """Drop the clips kept in memory."""
        self._readers = {}
        self.__dict__.pop("_crops", None)

    def describe(self):
        """What decides a view beside the clips; JSON-able."""
        options = {"sample_rate_hz": self.sample_rate_hz, "window_s": self.window_s, "n_views": self.n_views}
        if self.augment is None:
            return {"kind": "windows", **options}
        mixing = {"augment": self.augment.options, "seed": self.seed, "valid_fraction": self.valid_fraction}
        return {"kind": "mixtures", **options, **mixing}

    def parts(self):
        """ViewsPart by name: ``<manifest>_`` and the views' kind."""
        manifests = [manifest for part in self._parts for manifest in self._manifests(part)]
        digests = {Path(path).stem: clips_digest(path) for path, _ in manifests}
        options, parts = self.describe(), {}
        for stem, digest in digests.items():
            names = [name for name in self.items if name.partition("/")[0] == stem]
            # Any clip can be in any mixture.
            others = {} if self.augment is None else {"mixed_from": digests}
            parts[f"{stem}_{options['kind']}"] = ViewsPart(self.keys(names), {**options, "clips": digest, **others})
        return parts

    def _starts(self, name):
        """First samples of a clip's windows, at the views' rate."""
        n_samples = round(self.items[name]["duration_s"] * self.sample_rate_hz)
        starts = self._policy.starts(n_samples, self.sample_rate_hz)
        if self.n_views is None or len(starts) <= self.n_views:
            return starts
        return [starts[int((index + 0.5) * len(starts) / self.n_views)] for index in range(self.n_views)]

    def _reader(self, rate):
        return self._readers.setdefault(rate, ClipReader(rate, self.in_memory))

    @cached_property
    def _crops(self):
        reader = self._reader(self.sample_rate_hz)
        return [
            CropReader(side, reader, self.window_s, "tile", self.seed, None, self.augment) if side else None
            for side in self.sides
        ]


def clips_digest(path):
    """16 hexadecimal digits of a manifest's clips: ids, places and durations, but not captions."""
    items = read_json(path, "prepare it again", ManifestError)["items"]
    facts = {key: [item["wav"], item["duration_s"]] for key, item in items.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
