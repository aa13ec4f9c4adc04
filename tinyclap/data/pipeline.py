"""From manifests to SpeechBrain datasets: crops to train on, whole clips to score.

What is random in a crop is a function of (seed, epoch, clip): a run that was killed and resumed hears the same crops
as one that was not, whatever the number of workers.
"""

import zlib

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from tinyclap.audio.io import read_audio
from tinyclap.data.clip_reader import ClipReader
from tinyclap.data.item_table import ItemTable
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ManifestError


def read_items(manifests):
    """All items of several manifests.

    Arguments
    ---------
    manifests : list of (path, data_root)

    Returns
    -------
    dict. id → item; ids are made unique by their manifest's name.

    Raises
    ------
    ManifestError: No manifest was given, or they hold no clip.
    """
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
    """Set unlabelled clips aside for validation; all clips of one recording go to the same side.

    Arguments
    ---------
    items : dict. id → item with ``group``.
    fraction : float. In [0, 1).

    Returns
    -------
    (dict, dict). Training and validation items; a function of the groups' names alone.
    """
    held = {name: item for name, item in items.items() if zlib.crc32(item["group"].encode()) / 2**32 < fraction}
    return {name: item for name, item in items.items() if name not in held}, held


def split_items(corpora, valid_fraction):
    """The clips of a run: to train on, and to validate on.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    valid_fraction : float. Share of the training recordings held out, beside the corpora's own validation parts.

    Returns
    -------
    (ItemTable, ItemTable). Of what :func:`read_items` gives; workers of a loader share them.

    Raises
    ------
    ManifestError: One side is empty.
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
    """Exactly `n_samples` of a waveform: cut at the end, or tiled or zero-padded as the student's windows are.

    Arguments
    ---------
    waveform : numpy.ndarray, shape (T,)
    n_samples : int
    short : str. ``"pad"`` appends zeros; anything else repeats the clip.

    Returns
    -------
    numpy.ndarray, shape (n_samples,)

    Example
    -------
    >>> fit_length(np.array([1.0, 2.0]), 5).tolist(), fit_length(np.array([1.0, 2.0]), 3, "pad").tolist()
    ([1.0, 2.0, 1.0, 2.0, 1.0], [1.0, 2.0, 0.0])
    """
    if short == "pad":
        return np.pad(waveform[:n_samples], (0, max(0, n_samples - len(waveform))))
    return np.resize(waveform, n_samples) if len(waveform) < n_samples else waveform[:n_samples]


def by_caption(items):
    """Training items in which a clip stands once for each of its captions, as the official code counts them.

    Arguments
    ---------
    items : mapping of str to dict. With ``captions``, a list or None; a clip without any stays as it is.

    Returns
    -------
    ItemTable
        ``name``, ``name#1``, ``name#2`` …, each with one caption: their crops differ, being a function of the name.

    Notes
    -----
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
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional
        Without it (validation) every epoch hears the same crops.
    augment : callable, optional
        ``augment(crop, another, n_samples, random, note) → waveform``; see :mod:`tinyclap.data.augment`.
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
        """The crop of clip `name` that the generator `random` leads to: float32, shape (T,).

        Arguments
        ---------
        name : str
        random : numpy.random.Generator
        note : dict, optional
            Gets ``with`` (the other clips' names) and what the augmentation writes there, such as their weights.
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
        """The crop of clip `name` at the middle of the `index`-th of `n_places` equal shares of its free time."""
        free_s = self.items[name]["duration_s"] - self.n_samples / self.reader.sample_rate_hz
        if free_s <= 0:
            return self._crop(name, self.n_samples, None)
        return self._cut(name, free_s * (index + 0.5) / n_places, self.n_samples)

    def any_name(self, random):
        """The name of a random clip, as likely as it is long."""
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
    """A dataset of ``id``, ``wav`` (T,) and, where the corpus has captions, ``caption``.

    Arguments
    ---------
    items : dict
    crops : CropReader

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
    """
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
    """Training and validation sets of a run.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    sample_rate_hz : int. The student's.
    clip_duration_s : float
    seed : int
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
    short : str. See :func:`fit_length`.
    augment : callable, optional. See :class:`CropReader`; training only.
    valid_fraction : float
        Share of the training recordings held out for validation, beside the corpora's own validation parts.
    reader : ClipReader, optional. One that keeps what it has decoded, say.
    repeat_by_captions : bool. See :func:`by_caption`; training only.

    Returns
    -------
    dict. ``train`` and ``valid``: DynamicItemDataset.
    """
    train, valid = split_items(corpora, valid_fraction)
    train = by_caption(train) if repeat_by_captions else train
    reader = reader or ClipReader(sample_rate_hz)
    crops = CropReader(train, reader, clip_duration_s, short, seed, epoch_counter, augment)
    fixed_crops = CropReader(valid, reader, clip_duration_s, short, seed)
    return {"train": crop_dataset(train, crops), "valid": crop_dataset(valid, fixed_crops)}


def make_test_set(corpora, loader=None):
    """Whole clips to score, as they are on disk: the test parts of a run's corpora.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    loader : tinyclap.data.reference_loader.ReferenceLoader, optional
        Reads them in another way; its options then stand among those of the dict.

    Returns
    -------
    (DynamicItemDataset, dict)
        The dataset has ``id``, ``wav`` (float32 tensor (T,), mono), ``rate`` (Hz) and ``item`` (the manifest's own).
        The dict is the manifest's ``_meta``; of several it says ``dataset`` and ``split`` joined by "+", the
        ``options`` by split, and the ``classes``.

    Raises
    ------
    ManifestError: There is no test part, two manifests have a clip of the same id, or they have different classes.
    """
    manifests = [read_manifest(path, data_root) for path, data_root in corpora.manifests("test")]
    items = {item["id"]: {"item": item} for manifest in manifests for item in manifest.items}
    classes = {tuple(manifest.meta["classes"]) for manifest in manifests}
    if len(items) != sum(len(manifest.items) for manifest in manifests) or len(classes) != 1:
        names = [f"{manifest.meta['dataset']} {manifest.meta['split']}" for manifest in manifests]
        raise ManifestError(
            f"the test parts ({', '.join(names) or 'none'}) cannot be scored together: they need a clip at least, ids "
            "of their own, and the same classes"
        )

    def read(item):
        waveform, rate = read_audio(item["wav"]) if loader is None else loader(item["wav"], item["id"])
        yield torch.from_numpy(waveform)
        yield rate

    dataset = DynamicItemDataset(items)
    dataset.add_dynamic_item(read, takes="item", provides=["wav", "rate"])
    dataset.set_output_keys(["id", "wav", "rate", "item"])
    meta = _joined_meta([manifest.meta for manifest in manifests])
    return dataset, meta if loader is None else {**meta, "options": {**meta["options"], **loader.options}}


def _joined_meta(metas):
    if len(metas) == 1:
        return metas[0]
    return {
        "dataset": "+".join(dict.fromkeys(meta["dataset"] for meta in metas)),
        "split": "+".join(meta["split"] for meta in metas),
        "options": {f"{meta['dataset']} {meta['split']}": meta["options"] for meta in metas},
        "classes": metas[0]["classes"],
    }


def collate_clips(clips):
    """Keep clips of different lengths apart: list of dict → dict of lists."""
    return {key: [clip[key] for clip in clips] for key in clips[0]}
