"""Whole clips to score: test parts, training clips for statistics, and clips as the public codes read them."""

import functools
import zlib

import numpy as np
import torch

from tinyclap.audio.io import read_audio, read_channels
from tinyclap.data.batches import Batch, FixedDataset
from tinyclap.data.items import ItemTable, read_items
from tinyclap.data.manifest import read_manifest
from tinyclap.data.views import fit_length
from tinyclap.errors import ConfigError, ManifestError, TinyclapError

LOADERS = ("ours", "official", "msclap")
CLIP_S = 5.0  # of both public codes


class ReferenceLoader:
    """Reads a recording whole (`kind` "ours": the mean of its channels), or five seconds of it as a public code does.

    ``official`` (tinyCLAP) sums channels, which adds 6 dB to what they share; short clips end in zeros (defect D11).
    ``msclap`` (Microsoft's CLAP) concatenates channels, so that 4 s of stereo are 8 s; short clips are repeated. Longer
    clips are cut at a random place, by `seed` and the clip's id alone (D10: by random state and number of workers).

    Source: github.com/fpaissan/tinyCLAP (clap_datasets.py); github.com/microsoft/CLAP (CLAPWrapper.py).
    """

    def __init__(self, kind="ours", seed=0):
        if kind not in LOADERS:
            raise ConfigError(f"loader {kind!r} is unknown; choose one of {', '.join(LOADERS)}")
        self.kind, self.seed = kind, seed

    def __call__(self, path, name):
        """A recording, whose id is `name`: (samples (T,), float32; rate in Hz)."""
        if self.kind == "ours":
            return read_audio(path)
        channels, rate = read_channels(path)
        return self.fit(channels, rate, name), rate

    def fit(self, channels, sample_rate_hz, name):
        """Five seconds (5·sample_rate_hz,) of `channels` (channels, T). Summed channels may leave [−1, 1]."""
        waveform = channels.sum(axis=0) if self.kind == "official" else channels.reshape(-1)
        n_samples = round(CLIP_S * sample_rate_hz)
        if len(waveform) > n_samples:
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
            waveform = waveform[int(random.integers(len(waveform) - n_samples + 1)) :]
        return fit_length(waveform, n_samples, "pad" if self.kind == "official" else "tile")


def whole_clips(items, loader=None):
    """Dataset of `items`, id → item, read by a `loader`: dicts of ``id``, ``wav`` (T,), ``rate`` (Hz) and ``item``."""
    return FixedDataset(zip(items, strict=True), functools.partial(_read_clip, items, loader or ReferenceLoader()))


def _read_clip(items, loader, name):
    item = items[name]
    waveform, rate = loader(item["wav"], name)
    return {"id": name, "wav": torch.from_numpy(waveform), "rate": rate, "item": item}


def collate_clips(clips):
    """Keep clips of different lengths and rates apart: list of dict → Batch of lists."""
    errors = [clip for clip in clips if isinstance(clip, TinyclapError)]
    return Batch(error=errors[0]) if errors else Batch({key: [clip[key] for clip in clips] for key in clips[0]})


def make_test_set(corpora, loader=None):
    """(dataset of :func:`whole_clips`, meta) of the corpora's test parts, read by a `loader`.

    `meta` is the manifest's ``_meta``, with the loader's options; of several, ``dataset`` and ``split`` are joined by
    "+", and ``options`` are by split. A ManifestError where there is no test part, ids repeat, or classes differ.
    """
    manifests = [read_manifest(path, data_root) for path, data_root in corpora.manifests("test")]
    items = {item["id"]: item for manifest in manifests for item in manifest.items}
    metas = {f"{meta['dataset']} {meta['split']}": meta for meta, _ in manifests}
    classes = {tuple(meta["classes"]) for meta in metas.values()}
    if len(items) != sum(len(manifest.items) for manifest in manifests) or len(classes) != 1:
        raise ManifestError(
            f"the test parts ({', '.join(metas) or 'none'}) cannot be scored together: they need a clip at least, ids "
            "of their own, and the same classes"
        )
    meta, *others = metas.values()
    if others:
        names, splits = ([meta[key] for meta in metas.values()] for key in ("dataset", "split"))
        meta = {"dataset": "+".join(dict.fromkeys(names)), "split": "+".join(splits), "classes": meta["classes"]}
        meta["options"] = {name: each["options"] for name, each in metas.items()}
    is_ours = loader is None or loader.kind == "ours"
    options = {} if is_ours else {"loader": loader.kind, "loader_seed": loader.seed}
    return whole_clips(items, loader), {**meta, "options": {**meta["options"], **options}}


def make_training_clips(corpora, n_clips=None):
    """(dataset of :func:`whole_clips`, meta) of the corpora's training parts: all, or `n_clips`, by name alone."""
    if n_clips is not None and n_clips < 1:
        raise ConfigError(f"n_clips is {n_clips}; give a number from 1 on, or null for all")
    items = read_items(corpora.manifests("train"))
    chosen = sorted(items, key=lambda name: (zlib.crc32(name.encode()), name))[:n_clips]
    dataset = "+".join(dict.fromkeys(corpus.name for corpus in corpora.corpora))
    meta = {"dataset": dataset, "split": "train", "options": {"n_clips": n_clips}, "corpora": corpora.describe()}
    return whole_clips(ItemTable({name: items[name] for name in sorted(chosen)})), meta
