"""Distillation examples with cached teacher targets, or with audio for a teacher in the loop: one interface."""

import zlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch

from tinyclap.data.pipeline import make_training_sets
from tinyclap.data.teacher_store import StoredTeacher


class ExampleBatch(NamedTuple):
    """A batch of crops; parts that are absent are None."""

    wav: torch.Tensor | None  # (B, T)
    log_mel: torch.Tensor | None  # (B, F, M), in place of wav
    target: torch.Tensor | None  # (B, D), teacher embeddings; None for a teacher in the loop
    caption: list | None = None  # one of each clip's captions, where all clips have some; never from a cache

    def to(self, device):
        """The batch on a device, in float32."""
        return self._mapped(lambda part: part.to(device, torch.float32, non_blocking=True))

    def pin_memory(self):
        """The batch in pinned memory."""
        return self._mapped(torch.Tensor.pin_memory)

    def _mapped(self, change):
        return ExampleBatch(*(change(part) if isinstance(part, torch.Tensor) else part for part in self))


def collate_examples(examples):
    """Stack examples: list of dict with some of the parts of a batch → ExampleBatch.

    Example
    -------
    >>> batch = collate_examples([{"wav": torch.zeros(8)}, {"wav": torch.ones(8)}])
    >>> batch.wav.shape, batch.target
    (torch.Size([2, 8]), None)
    """
    columns = {part: [example[part] for example in examples] for part in ExampleBatch._fields if part in examples[0]}
    stacked = {part: column if part == "caption" else torch.stack(column) for part, column in columns.items()}
    return ExampleBatch(**{**dict.fromkeys(ExampleBatch._fields), **stacked})


class StoredExamples(torch.utils.data.Dataset):
    """One crop of each clip an epoch, with its teacher targets.

    K visits in a row of a clip take each of its K views once, in an order that is a function of (seed, clip, which K
    visits).

    Arguments
    ---------
    names : list of str. A clip is visited once an epoch for each time that it stands there.
    taught : tinyclap.data.teacher_store.TaughtEmbeddings
    seed : int
    epoch_counter : speechbrain.utils.epoch_loop.EpochCounter, optional. Without it (validation), always the first view.
    views : tinyclap.data.crop_views.CropViews, optional. Reads the audio, where the cache has no log-mels.
    """

    def __init__(self, names, taught, seed, epoch_counter=None, views=None):
        self.taught, self.seed, self.epoch_counter, self.views = taught, seed, epoch_counter, views
        # Arrays, which forked workers share, whereas reference counts copy lists.
        places = [taught.place(name) for name in names]
        self.first_rows, self.n_views = (np.array(column, dtype=np.int64) for column in zip(*places, strict=True))
        self.visits, self.n_visits = _visits(names)
        self.hashes = np.array([zlib.crc32(name.encode()) for name in names], dtype=np.uint32)
        kind = np.bytes_ if all(map(str.isascii, names)) else None
        self.names = None if views is None else np.array(names, dtype=kind)

    def __len__(self):
        return len(self.first_rows)

    def view(self, index, epoch):
        """The index of the view of the `index`-th clip in an epoch (1, 2, …)."""
        n_views = int(self.n_views[index])
        if self.epoch_counter is None or n_views == 1:
            return 0
        visit = (epoch - 1) * int(self.n_visits[index]) + int(self.visits[index])
        turn, place = divmod(visit, n_views)
        order = np.random.default_rng([self.seed, int(self.hashes[index]), turn]).permutation(n_views)
        return int(order[place])

    def __getitem__(self, index):
        view = self.view(index, 1 if self.epoch_counter is None else max(self.epoch_counter.current, 1))
        row = int(self.first_rows[index]) + view
        example = {"target": torch.from_numpy(self.taught.get(row))}
        if self.views is None:
            return {**example, "log_mel": torch.from_numpy(self.taught.get(row, "log_mel.npy"))}
        name = self.names[index]
        name = name.decode() if isinstance(name, bytes) else str(name)
        return {**example, "wav": torch.from_numpy(self.views.read(name, self.views.views_of(name)[view]))}


def make_distillation_sets(teacher, **options):
    """``train`` and ``valid``: datasets of a distillation, for :func:`collate_examples`.

    `teacher` is a StoredTeacher, which has targets, or a FrozenTeacher. Options are those of
    :func:`tinyclap.data.pipeline.make_training_sets`; a cache decides all but ``seed``, ``epoch_counter`` and
    ``repeat_by_captions``. Leave ``persistent_workers`` off: workers learn the epoch when they start.
    """
    if not isinstance(teacher, StoredTeacher):
        return make_training_sets(**options)
    store, seed = teacher.store, options["seed"]
    (views,) = store.views
    audio = None if store.features is not None else views
    train, valid = views.sides
    names = list(train)
    if options.get("repeat_by_captions"):
        names = [name for name in train for _ in train[name]["captions"] or [None]]
    return {
        "train": StoredExamples(names, store.taught, seed, options["epoch_counter"], audio),
        "valid": StoredExamples(list(valid), store.taught, seed, None, audio),
    }


def _visits(names):
    """For each of `names`: the running number of the visit to its clip, and the clip's number of visits."""
    counts, visits = Counter(), []
    for name in names:
        visits.append(counts[name])
        counts[name] += 1
    return np.array(visits, dtype=np.int64), np.array([counts[name] for name in names], dtype=np.int64)
