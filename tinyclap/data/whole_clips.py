"""Whole clips of a run's training corpora, to measure something over a training set."""

import zlib

from tinyclap.audio.io import read_audio
from tinyclap.data.item_table import ItemTable
from tinyclap.data.pipeline import read_items
from tinyclap.errors import ConfigError


class WholeClips:
    """A dataset of whole clips, mono, at their own sample rates; `items` is an ItemTable."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items.names)

    def __getitem__(self, index):
        name = self.items.names[index]
        waveform, rate = read_audio(self.items[name]["wav"])
        return {"id": name, "wav": waveform, "rate": rate}


def make_training_clips(corpora, n_clips=None):
    """(WholeClips, meta) of the corpora's training parts; `meta` has ``dataset``, ``split``, ``options``, ``corpora``.

    `n_clips` takes so many of them, chosen by their names alone.
    """
    if n_clips is not None and n_clips < 1:
        raise ConfigError(f"n_clips is {n_clips}; give a number from 1 on, or null for all")
    items = read_items(corpora.manifests("train"))
    chosen = sorted(items, key=lambda name: (zlib.crc32(name.encode()), name))[:n_clips]
    described = corpora.describe()
    meta = {
        "dataset": "+".join(dict.fromkeys(corpus["name"] for corpus in described)),
        "split": "train",
        "options": {"n_clips": n_clips},
        "corpora": described,
    }
    return WholeClips(ItemTable({name: items[name] for name in sorted(chosen)})), meta
