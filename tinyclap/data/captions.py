"""Datasets for captioners: labelled clips with their captions, unlabelled ones with teacher targets.

An example is a function of (seed, epoch, index), so a resumed run sees the same examples as an unbroken one, with any
number of workers.
"""

import hashlib
import logging
import math
import zlib
from collections import Counter

import numpy as np
import torch

from tinyclap.data.caption_batches import CaptionExample, RowMaker, collate_captions
from tinyclap.data.pipeline import ClipReader
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.tokenizer import caption_words

__all__ = ["choose_labelled", "collate_captions", "make_caption_sets"]

logger = logging.getLogger(__name__)

_N_SHOWN = 5
_LABELLED, _UNLABELLED = 0, 1  # streams of random numbers
_N_ORDERS = 4  # an epoch may touch two passes of each stream


def choose_labelled(items, fraction, seed):
    """The round(fraction · n) clips that keep their captions, at least one for a fraction above 0; the sets are nested.

    `items` maps id → item with ``group``; the order of `items` is kept, and `seed` decides which groups come first.

    Example
    -------
    >>> items = {name: {"group": name} for name in "abcdefgh"}
    >>> quarter, half = (choose_labelled(items, fraction, seed=1) for fraction in (0.25, 0.5))
    >>> len(quarter), len(half), set(quarter) < set(half)
    (2, 4, True)
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"labelled_fraction={fraction}; it is in [0, 1]")

    def place(name):
        return hashlib.sha256(f"{seed}/{items[name]['group']}".encode()).digest(), name

    n_chosen = max(round(fraction * len(items)), math.ceil(fraction)) if items else 0
    chosen = set(sorted(items, key=place)[:n_chosen])
    return [name for name in items if name in chosen]


def make_caption_sets(
    labelled,
    unlabelled,
    tokenizer,
    sample_rate_hz,
    seed,
    epoch_counter,
    store=None,
    labelled_fraction=1.0,
    rest_as_unlabelled=False,
    unlabelled_per_labelled=1,
    examples_per_epoch=None,
    max_words=20,
    valid_max_s=30.0,
    valid_max_clips=None,
):
    """``train`` and ``valid``: datasets of a captioner's run for :func:`collate_captions`.

    Validation is on labelled clips: the corpora's validation parts and those held out by ``labelled.valid_fraction``;
    where there are none, on held-out unlabelled views with the teacher's captions as references.
    Load with ``shuffle: False`` and without ``persistent_workers``: workers learn the epoch when they start.

    Arguments
    ---------
    labelled, unlabelled : tinyclap.data.views.Views or None
        Windows of clips with captions (which belong to the whole clip), and views of audio alone.
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    sample_rate_hz, seed : int. The student's rate.
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
    store : tinyclap.data.caption_store.CaptionStore, optional. Without it: no teacher targets, no unlabelled rows.
    labelled_fraction : float. Of the labelled training clips that keep their captions; see :func:`choose_labelled`.
    rest_as_unlabelled : bool. The other clips join the unlabelled ones.
    unlabelled_per_labelled : int. Unlabelled rows for each labelled one; without labelled clips, rows of an example.
    examples_per_epoch : int, optional. By default each labelled clip (or else unlabelled view) comes once an epoch.
    max_words, valid_max_s : int, float. Longer captions and validation clips are cut; in words and seconds.
    valid_max_clips : int, optional. At most so many validation clips, the same in every run.
    """
    if labelled is not None and labelled.augment is not None:
        raise ConfigError(
            "labelled views are mixtures, of which the clips' captions do not hold; leave their augment out"
        )
    with_labels, held = labelled.sides if labelled is not None else ({}, {})
    chosen = choose_labelled(with_labels, labelled_fraction, seed)
    valid = {**(labelled.valid_items() if labelled is not None else {}), **held}
    _require_captions({**{name: with_labels[name] for name in chosen}, **valid})
    taught = store.load().taught if store is not None else None
    pool = []
    if taught is not None and unlabelled_per_labelled:
        rest = sorted(set(with_labels) - set(chosen)) if rest_as_unlabelled else []
        pool += [(labelled, *key) for key in labelled.keys(rest)] if rest else []
        pool += [(unlabelled, *key) for key in unlabelled.keys(unlabelled.sides[0])] if unlabelled is not None else []
    if not chosen and not pool:
        raise ManifestError("nothing to train on: no labelled clip, and no unlabelled one in a teacher's store")
    maker = RowMaker(tokenizer, taught, sample_rate_hz, max_words, valid_max_s)
    _report([caption for name in chosen for caption in with_labels[name]["captions"]], maker, "the training captions")
    if taught is not None:
        taught.require([*(labelled.keys(chosen) if chosen else []), *(key[1:] for key in pool)])
        _report(taught.captions, maker, "the teacher's captions")
        if maker.choices is not None:
            logger.info("%s", maker.choices.report())
    train = _TrainSet(labelled, chosen, pool, maker, seed, epoch_counter, examples_per_epoch, unlabelled_per_labelled)
    if valid:
        kept = _some(sorted(valid), valid_max_clips)
        return {"train": train, "valid": _WholeClips({name: valid[name] for name in kept}, maker, labelled.in_memory)}
    held = unlabelled.keys(unlabelled.sides[1]) if unlabelled is not None and taught is not None else []
    if not held:
        raise ManifestError(
            "nothing to validate on: name a labelled corpus with a validation part, or hold recordings out by the "
            "views' valid_fraction"
        )
    return {"train": train, "valid": _HeldViews(unlabelled, _some(held, valid_max_clips), maker)}


class _TrainSet(torch.utils.data.Dataset):
    """Training examples in a shuffled order that depends on seed and epoch alone."""

    def __init__(self, labelled, names, pool, maker, seed, epoch_counter, examples_per_epoch, unlabelled_per_labelled):
        self.labelled, self.names, self.pool, self.maker = labelled, names, pool, maker
        self.seed, self.epoch_counter = seed, epoch_counter
        self.n_unlabelled = unlabelled_per_labelled if pool else 0
        whole = len(names) or math.ceil(len(pool) / self.n_unlabelled)
        self.n_examples = examples_per_epoch or whole
        self._orders = {}

    def __len__(self):
        return self.n_examples

    def __getitem__(self, index):
        position = (max(self.epoch_counter.current, 1) - 1) * self.n_examples + index
        rows = []
        if self.names:
            turn, place = self._place(position, len(self.names), _LABELLED)
            name = self.names[place]
            random = np.random.default_rng([self.seed, turn, zlib.crc32(name.encode())])
            views, captions = self.labelled.views_of(name), self.labelled.items[name]["captions"]
            view, chosen = views[random.integers(len(views))], random.integers(len(captions))
            rows.append(self.maker.row(self.labelled, name, view, captions, chosen))
        for number in range(position * self.n_unlabelled, (position + 1) * self.n_unlabelled):
            _, place = self._place(number, len(self.pool), _UNLABELLED)
            rows.append(self.maker.row(*self.pool[place]))
        return CaptionExample(rows, self.maker.tokenizer.pad_id)

    def _place(self, number, n_places, stream):
        """The pass over the places, each shuffled anew, and the place of a running number."""
        turn, step = divmod(number, n_places)
        if (stream, turn) not in self._orders:
            if len(self._orders) == _N_ORDERS:
                self._orders.pop(next(iter(self._orders)))
            self._orders[stream, turn] = np.random.default_rng([self.seed, stream, turn]).permutation(n_places)
        return turn, int(self._orders[stream, turn][step])


class _WholeClips(torch.utils.data.Dataset):
    """Labelled validation clips, short ones first, to need little padding."""

    def __init__(self, items, maker, in_memory):
        self.items, self.maker = items, maker
        self.names = sorted(items, key=lambda name: (items[name]["duration_s"], name))
        self.reader = ClipReader(maker.sample_rate_hz, in_memory)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        name = self.names[index]
        return CaptionExample([self.maker.whole(name, self.items[name], self.reader)], self.maker.tokenizer.pad_id)


class _HeldViews(torch.utils.data.Dataset):
    """Unlabelled views to validate on."""

    def __init__(self, views, keys, maker):
        self.views, self.keys, self.maker = views, keys, maker

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index):
        return CaptionExample([self.maker.row(self.views, *self.keys[index])], self.maker.tokenizer.pad_id)


def _some(keys, n_keys):
    """At most `n_keys` of some keys, in their order, chosen by their names alone."""
    chosen = set(sorted(keys, key=lambda key: hashlib.sha256(str(key).encode()).digest())[:n_keys])
    return [key for key in keys if key in chosen]


def _require_captions(items):
    without = [name for name, item in items.items() if not item["captions"]]
    empty = [
        f"{name}: {caption!r}"
        for name, item in items.items()
        for caption in item["captions"] or ()
        if not caption_words(caption)
    ]
    problems = []
    if without:
        problems.append(f"{len(without)} clips have no caption, such as {', '.join(without[:_N_SHOWN])}")
    if empty:
        problems.append(f"{len(empty)} captions have no word, such as {', '.join(empty[:_N_SHOWN])}")
    if problems:
        raise ManifestError(f"{'; '.join(problems)}. Mend the corpus' table and prepare it again, or leave these out")


def _report(captions, maker, what):
    """Log how many words are unknown, and how many captions are cut or empty."""
    unknown, n_words, n_long, n_empty = Counter(), 0, 0, 0
    for caption in captions:
        words = caption_words(caption)
        n_words, n_long, n_empty = n_words + len(words), n_long + (len(words) > maker.max_words), n_empty + (not words)
        unknown.update(maker.tokenizer.unknown_words(caption))
    level = logging.WARNING if unknown or n_long or n_empty else logging.INFO
    shown = f" ({', '.join(word for word, _ in unknown.most_common(_N_SHOWN))} …)" if unknown else ""
    facts = f"{unknown.total()} of {n_words} words are not in the vocabulary and become <unk>{shown}"
    cut = f"{n_long} are cut at {maker.max_words} words, {n_empty} have no word"
    logger.log(level, "%s (%d): %s; %s", what, len(captions), facts, cut)
