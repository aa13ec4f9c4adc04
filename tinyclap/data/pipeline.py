"""From manifests to SpeechBrain datasets: crops to train on, whole clips to score.

A crop is a function of (seed, epoch, clip), so a resumed run gets the same crops, with any number of workers.
"""

import zlib

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from tinyclap.data.clip_reader import ClipReader
from tinyclap.data.items import ItemTable
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ManifestError


def read_items(manifests):
    """All items of several (manifest, data_root), one at least: id → item, ids prefixed by the manifest's name."""
    items = {}
    for path, data_root in manifests:
        manifest = read_manifest(path, data_root)
        for item in manifest.items:
            name = f"{path.stem}/{item['id']}"
            items[name] = {**{key: item[key] for key in ("wav", "duration_s")}, "captions": item.get("captions")}
            items[name]["group"] = f"{manifest.meta['dataset']}/{item.get('group') or item.get('freesound_id') or name}"
    if not items:
        raise ManifestError(f"no clips in {len(manifests)} manifest(s): {[str(path) for path, _ in manifests]}")
    return items


def hold_out(items, fraction):
    """(training, validation) items: a fraction in [0, 1) of the groups, chosen by their names alone."""
    held = {name: item for name, item in items.items() if zlib.crc32(item["group"].encode()) / 2**32 < fraction}
    return {name: item for name, item in items.items() if name not in held}, held


def split_items(corpora, valid_fraction):
    """(training, validation) clips of a run as two ItemTables, neither empty.

    `valid_fraction` of the training recordings is held out, beside the corpora's own validation parts.
    """
    train, held = hold_out(read_items(corpora.manifests("train")), valid_fraction)
    valid = {**(read_items(corpora.manifests("valid")) if corpora.manifests("valid") else {}), **held}
    if not train or not valid:
        raise ManifestError(
            f"{len(train)} training and {len(valid)} validation clips; both are needed: name a corpus with a "
            "validation part, or change valid_fraction"
        )
    return ItemTable(train), ItemTable(valid)


def fit_length(waveform, n_samples, short="tile"):
    """Exactly `n_samples` of a waveform (T,): cut at the end, zero-padded if `short` is ``"pad"``, else tiled.

    Example
    -------
    >>> fit_length(np.array([1.0, 2.0]), 5).tolist(), fit_length(np.array([1.0, 2.0]), 3, "pad").tolist()
    ([1.0, 2.0, 1.0, 2.0, 1.0], [1.0, 2.0, 0.0])
    """
    if short == "pad":
        return np.pad(waveform[:n_samples], (0, max(0, n_samples - len(waveform))))
    return np.resize(waveform, n_samples) if len(waveform) < n_samples else waveform[:n_samples]


def by_caption(items):
    """Training items in which a clip stands once for each of its captions, as in the official code: an ItemTable.

    ``name``, ``name#1``, ``name#2`` … have one caption each and different crops; a clip without any stays as it is.
    One of Clotho's clips then weighs five times as much as one of AudioCaps', although the loss reads no caption.

    Example
    -------
    >>> repeated = by_caption({"a": {"captions": ["rain", "water"]}, "b": {"captions": None}})
    >>> {name: repeated[name]["captions"] for name in repeated}
    {'a': ['rain'], 'a#1': ['water'], 'b': None}
    """
    repeated = {}
    for name, item in items.items():
        for index, caption in enumerate(item["captions"] or [None]):
            own = {} if caption is None else {"captions": [caption]}
            repeated[f"{name}#{index}" if index else name] = {**item, **own}
    return ItemTable(repeated)


class CropReader:
    """Random crops of one length, each a function of (seed, epoch, clip).

    Arguments
    ---------
    items : dict. id → item with ``wav`` and ``duration_s``.
    reader : ClipReader
    clip_duration_s : float
    short : str. See :func:`fit_length`.
    seed : int
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional. Without it (validation) crops never change.
    augment : callable, optional. ``augment(crop, another, n_samples, random, note) → waveform``.
    """

    def __init__(self, items, reader, clip_duration_s, short, seed, epoch_counter=None, augment=None):
        self.items, self.reader = items, reader
        self.ids = items.names if isinstance(items, ItemTable) else list(items)
        self.short, self.seed = short, seed
        self.n_samples = round(clip_duration_s * reader.sample_rate_hz)
        self.epoch_counter, self.augment = epoch_counter, augment
        durations = np.array([item["duration_s"] for item in items.values()])
        self._share = durations / durations.sum()  # every second of audio is as likely to be mixed in as any other

    def __call__(self, name):
        """The crop of clip `name`: a float32 tensor of shape (T,)."""
        epoch = 0 if self.epoch_counter is None else self.epoch_counter.current
        return torch.from_numpy(self.at(name, np.random.default_rng([self.seed, epoch, zlib.crc32(name.encode())])))

    def at(self, name, random, note=None):
        """The crop of clip `name` by the generator `random`: float32, shape (T,).

        `note` gets ``with`` (names of the other clips) and the notes of the augmentation.
        """
        if self.augment is None:
            return self._crop(name, self.n_samples, random)
        note = {} if note is None else note
        note["with"] = []

        def another(n_samples):
            other = self.any_name(random)
            note["with"].append(other)
            return self._crop(other, n_samples, random)

        return self.augment(
            lambda n_samples: self._crop(name, n_samples, random), another, self.n_samples, random, note
        )

    def on_grid(self, name, index, n_places):
        """The crop of clip `name` at the middle of the `index`-th of `n_places` equal intervals of possible starts."""
        free_s = self.items[name]["duration_s"] - self.n_samples / self.reader.sample_rate_hz
        if free_s <= 0:
            return self._crop(name, self.n_samples, None)
        return self._cut(name, free_s * (index + 0.5) / n_places, self.n_samples)

    def any_name(self, random):
        """A random clip's name, with a probability in proportion to its duration."""
        return self.ids[int(random.choice(len(self.ids), p=self._share))]

    def _crop(self, name, n_samples, random):
        item, rate = self.items[name], self.reader.sample_rate_hz
        free_s = item["duration_s"] - n_samples / rate
        if free_s > 0:
            return self._cut(name, float(random.uniform(0, free_s)), n_samples)
        waveform = self.reader(item["wav"])
        if self.augment is not None:  # a short clip has no other place to be cut at, but it can begin elsewhere
            waveform = np.roll(waveform, int(random.integers(len(waveform))))
        return fit_length(waveform, n_samples, self.short)

    def _cut(self, name, start_s, n_samples):
        part = self.reader(self.items[name]["wav"], start_s, n_samples / self.reader.sample_rate_hz)
        return fit_length(part, n_samples, self.short)


def crop_dataset(items, crops):
    """A DynamicItemDataset of ``id``, ``wav`` (T,) and, where all clips have captions, ``caption``."""
    dataset = DynamicItemDataset(items)
    dataset.data_ids = crops.ids  # in place of a list of str
    dataset.add_dynamic_item(crops, takes="id", provides="crop")
    dataset.set_output_keys({"id": "id", "wav": "crop"})
    if all(item["captions"] for item in items.values()):

        def choose_caption(name):
            epoch = 0 if crops.epoch_counter is None else crops.epoch_counter.current
            random = np.random.default_rng([crops.seed, epoch, zlib.crc32(name.encode()), 1])
            return str(random.choice(items[name]["captions"]))

        dataset.add_dynamic_item(choose_caption, takes="id", provides="caption")
        dataset.set_output_keys({"id": "id", "wav": "crop", "caption": "caption"})
    return dataset


def make_training_sets(
    corpora,
    sample_rate_hz,
    clip_duration_s,
    seed,
    epoch_counter,
    short="tile",
    augment=None,
    valid_fraction=0.0,
    reader=None,
    repeat_by_captions=False,
):
    """``train`` and ``valid``: the DynamicItemDatasets of a run.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    sample_rate_hz : int. The student's.
    clip_duration_s : float
    seed : int
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
    short : str. See :func:`fit_length`.
    augment : callable, optional. See :class:`CropReader`; training only.
    valid_fraction : float. See :func:`split_items`.
    reader : ClipReader, optional
    repeat_by_captions : bool. See :func:`by_caption`; training only.
    """
    train, valid = split_items(corpora, valid_fraction)
    train = by_caption(train) if repeat_by_captions else train
    reader = reader or ClipReader(sample_rate_hz)
    crops = CropReader(train, reader, clip_duration_s, short, seed, epoch_counter, augment)
    fixed_crops = CropReader(valid, reader, clip_duration_s, short, seed)
    return {"train": crop_dataset(train, crops), "valid": crop_dataset(valid, fixed_crops)}
