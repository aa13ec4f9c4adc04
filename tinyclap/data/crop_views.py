"""K crops (or mixtures) of each clip on a fixed grid, for a target cache: an epoch takes one of them."""

import zlib
from collections import ChainMap
from functools import cached_property

import numpy as np

from tinyclap.data.pipeline import ClipReader, CropReader, fit_length, split_items
from tinyclap.data.views import Views
from tinyclap.errors import ConfigError, ManifestError


class CropViews(Views):
    """The crops of a distillation's clips.

    A training clip has ``c0`` … ``c<K-1>``, at the middles of K equal intervals of the possible starts (a clip no
    longer than a crop has ``c0`` alone), or the mixtures ``m0`` … ``m<K-1>``. A validation clip has ``v``, the crop
    that training without a cache validates on.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora. Read when first needed.
    sample_rate_hz : int. The student's.
    clip_duration_s : float
    n_views : int. K.
    short : str. See :func:`tinyclap.data.pipeline.fit_length`.
    augment : tinyclap.data.augment.FunctionMatchingAugment, optional. Makes mixtures in place of crops.
    seed : int. Of the mixtures, and of the validation crops.
    valid_fraction : float. See :func:`tinyclap.data.pipeline.split_items`.
    reader : tinyclap.data.pipeline.ClipReader, optional
    """

    _parts = ("train", "valid")

    def __init__(
        self,
        corpora,
        sample_rate_hz,
        clip_duration_s,
        n_views,
        short="tile",
        augment=None,
        seed=0,
        valid_fraction=0.0,
        reader=None,
    ):
        if n_views is None:
            raise ConfigError("n_views=None: say how many crops of a clip there are, at least one")
        super().__init__(corpora, sample_rate_hz, clip_duration_s, n_views, augment, seed, valid_fraction)
        self.short, self.reader = short, reader or ClipReader(sample_rate_hz)

    @cached_property
    def sides(self):
        """(items to train on, items to validate on); see :func:`tinyclap.data.pipeline.split_items`."""
        return split_items(self.corpora, self.valid_fraction)

    @cached_property
    def items(self):
        """All clips, id → item: training, then validation."""
        return ChainMap(self.sides[1], self.sides[0])  # which goes through its last map first

    def views_of(self, name):
        """The names of a clip's views."""
        if name in self.sides[1]:
            return ["v"]
        if self.augment is not None:
            return [f"m{index}" for index in range(self.n_views)]
        # the free time in samples: a hundredth of one is no other place
        free = round((self.items[name]["duration_s"] - self.window_s) * self.sample_rate_hz)
        return [f"c{index}" for index in range(max(1, min(self.n_views, free)))]

    def hear(self, name, view):
        """The audio of a view, float32 of shape (T,), and for mixtures the other clips and their levels."""
        if name not in self.items or view not in (views := self.views_of(name)):
            raise ManifestError(f"there is no view {view!r} of {name!r}; was the corpus prepared again since?")
        note = {}
        if view == "v":
            return self._crops[1](name).numpy(), note
        if self.augment is None:
            return self._crops[0].on_grid(name, int(view[1:]), len(views)), note
        random = np.random.default_rng([self.seed, zlib.crc32(name.encode()), int(view[1:])])
        waveform = self._crops[0].at(name, random, note)
        return fit_length(waveform, self._crops[0].n_samples, self.short), note

    def read(self, name, view, sample_rate_hz=None):
        """The audio of a view at the views' own rate: numpy.ndarray, shape (T,), float32."""
        if sample_rate_hz not in (None, self.sample_rate_hz):
            raise ConfigError(f"these views are at {self.sample_rate_hz} Hz, not at {sample_rate_hz}")
        return self.hear(name, view)[0]

    def describe(self):
        """What decides a view beside the clips; JSON-able."""
        kind = "crops" if self.augment is None else "mixtures"
        mixing = {} if self.augment is None else {"augment": self.augment.options}
        audio = {"sample_rate_hz": self.sample_rate_hz, "resampler": "soxr", "clip_duration_s": self.window_s}
        options = {"n_views": self.n_views, "short": self.short, "seed": self.seed}
        return {"kind": kind, **audio, **options, "valid_fraction": self.valid_fraction, **mixing}

    def forget(self):
        """Nothing is kept here."""

    @cached_property
    def _crops(self):
        train, valid = self.sides
        options = (self.reader, self.window_s, self.short, self.seed)
        return CropReader(train, *options, augment=self.augment), CropReader(valid, *options)
