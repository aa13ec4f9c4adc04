"""Views: reproducible pieces of audio of a run's clips, so that teacher targets can be cached by (clip, view)."""

import hashlib
import json
import zlib
from collections import ChainMap
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.clip_reader import ClipReader
from tinyclap.data.corpora import Corpora
from tinyclap.data.items import ItemTable, hold_out, read_items, require_both
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.features.resample import resample
from tinyclap.features.windows import WindowPolicy
from tinyclap.files import read_json

KINDS = ("crops", "windows", "mixtures")
_SIDES = ("train", "valid")


class ViewsPart(NamedTuple):
    """The views of one manifest's clips."""

    keys: list  # of (clip, view)
    description: dict  # all that decides the audio; JSON-able


@dataclass(eq=False)
class Views:
    """The views of the clips of some corpora.

    ``crops``: c0, c1, … of a training clip, at the middles of `n_views` equal intervals of the possible starts.
    ``mixtures``: m0, m1, …, random mixtures that begin with the clip; its captions do not hold for them.
    A validation clip of these two kinds has one view, v: the crop that training without a cache validates on.
    ``windows``: w0, w1, … follow each other, the last one ends with the clip, a shorter clip is one shorter window; at
    most `n_views` of them, spread over the clip. Clips of the corpora's validation parts have none.
    """

    corpora: Corpora | None  # read when first needed; None has no clips
    sample_rate_hz: int  # of the waveforms
    duration_s: float  # of a view
    kind: str | None = None  # by default mixtures with an `augment`, else crops
    n_views: int | None = None  # of a training clip; of windows all by default
    short: str = "tile"  # how a clip that is shorter than a crop fills it: "tile" | "pad"
    augment: FunctionMatchingAugment | None = None  # of mixtures
    seed: int = 0  # of mixtures, validation crops and random crops
    valid_fraction: float = 0.0  # of the training recordings, held out beside the corpora's own validation parts
    reader: ClipReader | None = None

    def __post_init__(self):
        self.kind = self.kind or ("crops" if self.augment is None else "mixtures")
        self.reader = self.reader or ClipReader(self.sample_rate_hz)
        kind, n_views, rate = self.kind, self.n_views, self.reader.sample_rate_hz
        for is_wrong, why in (
            (kind not in KINDS, f"kind={kind!r}; choose {' | '.join(KINDS)}"),
            (self.short not in ("tile", "pad"), f"short={self.short!r}; choose tile | pad"),
            ((kind == "mixtures") == (self.augment is None), f"kind={kind!r}; mixtures have an augment, others none"),
            (n_views is None and kind != "windows", f"n_views=None; say how many {kind} of a clip there are"),
            (n_views is not None and (n_views % 1 or n_views < 1), f"n_views={n_views}; at least one, whole"),
            (not 0 <= self.valid_fraction < 1, f"valid_fraction={self.valid_fraction}; it is in [0, 1)"),
            (rate != self.sample_rate_hz, f"{self.sample_rate_hz} Hz with a reader at {rate} Hz; give one rate"),
        ):
            if is_wrong:
                raise ConfigError(f"views: {why}")
        self.n_samples = round(self.duration_s * self.sample_rate_hz)
        self._policy, self._readers = WindowPolicy(window_s=self.duration_s), {self.sample_rate_hz: self.reader}

    @property
    def train_items(self):
        """Clips to train on, id → item (``wav``, ``duration_s``, ``captions``, ``group``)."""
        return self._items[0]

    @property
    def valid_items(self):
        """Clips to validate on, id → item: those of the corpora's validation parts, then those held out."""
        return self._items[1]

    @cached_property
    def _items(self):
        train, valid = map(self._manifests, _SIDES)
        kept, held = hold_out(read_items(train), self.valid_fraction) if train else ({}, {})
        valid = {**(read_items(valid) if valid else {}), **held}
        if self.kind != "windows" and train:
            require_both(kept, valid)
        self.reader.reserve({**kept, **valid})
        return ItemTable(kept), ItemTable(valid)

    @cached_property
    def _all_items(self):
        return ChainMap(*self._items)

    def _manifests(self, part):
        return [] if self.corpora is None else self.corpora.manifests(part)

    def views_of(self, clip):
        """The names of a clip's views."""
        n_views = self.n_views
        if self.kind == "windows":
            n_views = len(self._starts(clip))
        elif clip not in self.train_items:
            return ["v"]
        elif self.kind == "crops":  # the free time in samples: a hundredth of one is no other place
            free_s = self.train_items[clip]["duration_s"] - self.duration_s
            n_views = max(1, min(n_views, round(free_s * self.sample_rate_hz)))
        return [f"{self.kind[0]}{index}" for index in range(n_views)]

    def keys(self, part=None):
        """(clip, view) of all views of ``"train"``, ``"valid"`` or, by default, both parts."""
        sides = zip(_SIDES, self._items, strict=True)
        clips = [clip for side, items in sides if part in (None, side) for clip in items]
        if self.kind == "windows":
            trained = {path.stem for path, _ in self._manifests("train")}
            clips = [clip for clip in clips if clip.partition("/")[0] in trained]
        return [(clip, view) for clip in clips for view in self.views_of(clip)]

    def parts(self):
        """ViewsPart by name: ``<manifest>_<kind>``."""
        train, valid = ({path.stem: clips_digest(path) for path, _ in self._manifests(part)} for part in _SIDES)
        # any training clip can be in any mixture
        options = self.describe() | ({"mixed_from": train} if self.kind == "mixtures" else {})
        digests = train if self.kind == "windows" else train | valid
        parts = {stem: ViewsPart([], {**options, "clips": digest}) for stem, digest in digests.items()}
        for clip, view in self.keys():
            parts[clip.partition("/")[0]].keys.append((clip, view))
        return {f"{stem}_{self.kind}": part for stem, part in parts.items()}

    def describe(self):
        """What decides a view beside the clips; JSON-able."""
        others = [] if self.kind == "windows" else ["short", "seed", "valid_fraction"]
        names = ["kind", "sample_rate_hz", "duration_s", "n_views", *others]
        options = {**{name: getattr(self, name) for name in names}, "resampler": "soxr"}
        if self.kind == "mixtures":
            options["augment"] = self.augment.options
        return options if self.reader.channels == "mean" else {**options, "channels": self.reader.channels}

    def read(self, clip, view, sample_rate_hz=None):
        """The audio of a view, at the views' own rate by default: numpy.ndarray, shape (T,), float32."""
        return self.read_with_note(clip, view, sample_rate_hz)[0]

    def read_with_note(self, clip, view, sample_rate_hz=None):
        """:meth:`read`, and a JSON-able note: of a mixture its other clips (``with``) and their levels; else empty."""
        views = self.views_of(clip) if clip in self._all_items else []
        if view not in views:
            raise ManifestError(f"there is no view {view!r} of {clip!r}; was the corpus prepared again since?")
        index, rate, note = int(view[1:] or 0), sample_rate_hz or self.sample_rate_hz, {}
        if self.kind == "windows":
            start_s = self._starts(clip)[index] / self.sample_rate_hz
            return self.reader_at(rate)(self._all_items[clip]["wav"], start_s, self.duration_s), note
        if view == "v":
            waveform = self.crop(clip, 0)
        elif self.kind == "mixtures":
            waveform = self._mixture(clip, np.random.default_rng([self.seed, zlib.crc32(clip.encode()), index]), note)
        else:
            waveform = self._crop(clip, self.n_samples, lambda free_s: free_s * (index + 0.5) / len(views))
        if rate != self.sample_rate_hz:
            waveform = resample(torch.from_numpy(waveform), self.sample_rate_hz, rate, method="soxr").numpy()
        return waveform, note

    def crop(self, clip, epoch, repeat=0, seed=None):
        """A random crop of a training clip (or a mixture), a validation clip's one crop: float32, shape (T,).

        Arguments
        ---------
        clip : str
        epoch, repeat : int. `repeat` numbers the visits to a clip in an epoch.
        seed : int, optional. Of training crops; by default the views' own.
        """
        is_valid = clip in self.valid_items
        if is_valid:
            epoch, repeat, seed = 0, 0, None
        name = f"{clip}#{repeat}" if repeat else clip
        random = np.random.default_rng([self.seed if seed is None else seed, epoch, zlib.crc32(name.encode())])
        if self.kind == "mixtures" and not is_valid:
            return self._mixture(clip, random, {})
        return self._crop(clip, self.n_samples, lambda free_s: float(random.uniform(0, free_s)))

    def reader_at(self, sample_rate_hz):
        """The reader at another rate; called before loader workers are forked, they share what it keeps in memory."""
        if sample_rate_hz not in self._readers:
            self._readers[sample_rate_hz] = self.reader.at(sample_rate_hz)
            self._readers[sample_rate_hz].reserve(self._all_items)
        return self._readers[sample_rate_hz]

    def _starts(self, clip):
        """First samples of a clip's windows, at the views' rate."""
        n_samples = round(self._all_items[clip]["duration_s"] * self.sample_rate_hz)
        starts = self._policy.starts(n_samples, self.sample_rate_hz)
        n_views = min(self.n_views or len(starts), len(starts))
        return [starts[int((index + 0.5) * len(starts) / n_views)] for index in range(n_views)]

    def _crop(self, clip, n_samples, start_of, random=None):
        """`n_samples` from ``start_of(free_s)`` on; with `random`, a short clip begins at a random sample of it."""
        item, duration_s = self._all_items[clip], n_samples / self.sample_rate_hz
        free_s = item["duration_s"] - duration_s
        if free_s > 0:
            return fit_length(self.reader(item["wav"], start_of(free_s), duration_s), n_samples, self.short)
        waveform = self.reader(item["wav"])
        waveform = waveform if random is None else np.roll(waveform, int(random.integers(len(waveform))))
        return fit_length(waveform, n_samples, self.short)

    def _mixture(self, clip, random, note):
        note["with"] = []

        def crop(n_samples, clip=clip):
            return self._crop(clip, n_samples, lambda free_s: float(random.uniform(0, free_s)), random)

        def another(n_samples):
            other = self.train_items.name(int(random.choice(len(self.train_items), p=self._probabilities)))
            note["with"].append(other)
            return crop(n_samples, other)

        return fit_length(self.augment(crop, another, self.n_samples, random, note), self.n_samples, self.short)

    @cached_property
    def _probabilities(self):
        """Of the training clips in mixtures: each second of audio is as likely as any other."""
        durations = np.array([item["duration_s"] for item in self.train_items.values()])
        return durations / durations.sum()


def fit_length(waveform, n_samples, short="tile"):
    """Exactly `n_samples` of a waveform (T,): cut at the end, zero-padded if `short` is ``"pad"``, else tiled."""
    if short == "pad":
        return np.pad(waveform[:n_samples], (0, max(0, n_samples - len(waveform))))
    return np.resize(waveform, n_samples) if len(waveform) < n_samples else waveform[:n_samples]


def clips_digest(path):
    """16 hexadecimal digits of a manifest's clips: ids, places and durations, but not captions."""
    items = read_json(path, "prepare it again", ManifestError)["items"]
    facts = {key: [item["wav"], item["duration_s"]] for key, item in items.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
