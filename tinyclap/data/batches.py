"""Batches of every recipe, and datasets whose examples are functions of (seed, epoch, index), in resumed runs too."""

import numpy as np
import torch

from tinyclap.errors import AudioError, ConfigError, TinyclapError

FIELDS = (
    *("id", "wavs", "n_samples"),  # list of str: the clips; (B, T), zeros after a clip's end; (B,), int64
    "log_mel",  # (B, F, M), in place of wavs
    *("clip", "frames", "middle", "tags"),  # teacher targets: (B, D), (B, F', C), (B, C", F", M"), (B, K)
    *("caption", "texts"),  # lists of str: the teacher's; one of each clip's own captions, where all clips have some
    *("ids", "n_labelled"),  # (n_labelled, L), int64: the first rows' own captions, <start> … <end>, then pads
    "teacher_ids",  # (B, L'), int64: the teacher's caption
    *("token_ids", "token_probs"),  # (B, L' - 1, k): its k most probable words; a place's sum is 1, or 0: no target
    "references",  # list of lists of str: all captions of each clip
    *("style", "facts"),  # of a caption without audio: (B,), int64, its corpus; tuple of (B, …), its evidence
)
_PADDED_WITH_WORDS = ("ids", "teacher_ids", "token_ids")


class Batch(dict):
    """Columns by name or attribute, None for absent ones of `FIELDS`; reading raises a loader worker's ``error``."""

    def __getattr__(self, name):
        if name in self or name in FIELDS:
            return self[name] if name in self else self._absent()
        raise AttributeError(f"a batch has no {name!r}; it has {', '.join(self)}")

    def __missing__(self, name):
        self._absent()
        raise KeyError(name)

    def _absent(self):
        if "error" in self:
            raise self["error"]

    def to(self, device):
        """The batch with its tensors on a device, those of half precision as float32; no copy waits for another."""
        self._absent()
        moved = _mapped(self, lambda tensor: tensor.to(device, non_blocking=True))
        return _mapped(moved, lambda tensor: tensor.float() if tensor.dtype == torch.float16 else tensor)

    def pin_memory(self):
        """The batch with its tensors in pinned memory."""
        return _mapped(self, torch.Tensor.pin_memory)


def _mapped(value, change):
    """A value with each tensor changed, in batches, lists and tuples too."""
    if isinstance(value, Batch):
        return Batch({name: _mapped(column, change) for name, column in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(part, change) for part in value)
    return change(value) if isinstance(value, torch.Tensor) else value


def collate(examples):
    """Examples → Batch. Arrays are stacked and padded; ``wav`` becomes ``wavs`` and ``n_samples``; the rest are lists.

    An example is a dict; or a list of them (a captioner's: rows with ``ids`` come first in the batch, and each row's
    ``pad_id`` pads captions); or one whole Batch, which passes.
    """
    if errors := [example for example in examples if isinstance(example, TinyclapError)]:
        return Batch(error=errors[0])
    if isinstance(examples[0], Batch):
        return examples[0]
    rows = [row for example in examples for row in (example if isinstance(example, list) else [example])]
    rows.sort(key=lambda row: "ids" not in row)
    for row in rows:  # one such clip would spoil the statistics of BatchNorm for good
        if not all(np.isfinite(row[name]).all() for name in ("wav", "log_mel") if name in row):
            return Batch(error=AudioError(row.get("id", "a clip"), "NaN or infinite samples; leave this clip out"))
    labelled = [row for row in rows if "ids" in row]
    pad_id, batch = rows[0].get("pad_id"), Batch()
    if pad_id is not None:
        batch["ids"], batch["n_labelled"] = torch.zeros(0, 0, dtype=torch.int64), len(labelled)
    for name in dict.fromkeys(name for row in rows for name in row if name != "pad_id"):
        column = [row[name] for row in (labelled if name == "ids" else rows) if name in row]
        if name != "ids" and len(column) != len(rows):
            raise ConfigError(f"some clips of a batch have `{name}` and others not; give the teacher targets all views")
        if name == "wav":
            batch["n_samples"] = torch.tensor([len(wav) for wav in column])
            name = "wavs"
        batch[name] = _stacked(column, pad_id if name in _PADDED_WITH_WORDS else 0)
    return batch


def _stacked(column, pad):
    """One tensor of arrays or tensors, padded at each axis' end; anything else as a list."""
    if not isinstance(column[0], (np.ndarray, torch.Tensor)):
        return column
    arrays = list(map(np.asarray, column))
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return torch.from_numpy(np.stack(arrays))
    padded = np.full((len(arrays), *map(max, zip(*shapes, strict=True))), pad, dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return torch.from_numpy(padded)


class EpochSampler(torch.utils.data.Sampler):
    """(epoch, index) of an epoch's examples, in an order of (`seed`, epoch), dealt out to ranks.

    The `n_examples` keep their order without `shuffle`. Each `rank` of `world_size` gets as many: where they do not
    divide, the order's first ones come again. Workers that persist know the epoch by their indices.
    """

    def __init__(self, n_examples, seed, shuffle=True, rank=0, world_size=1):
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank {rank} of {world_size}; ranks count from 0")
        self.n_examples, self.seed, self.shuffle = n_examples, seed, shuffle
        self.rank, self.world_size, self.epoch = rank, world_size, 0

    def set_epoch(self, epoch):
        """Set the epoch, from 1 on; SpeechBrain calls it before each."""
        self.epoch = epoch

    def __len__(self):
        return -(-self.n_examples // self.world_size)

    def __iter__(self):
        order = np.arange(self.n_examples)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        order = np.resize(order, len(self) * self.world_size)
        return ((self.epoch, int(index)) for index in order[self.rank :: self.world_size])


class EpochDataset(torch.utils.data.Dataset):
    """Base of datasets of which an example is a function of (epoch, index).

    A subclass has ``__len__`` and ``example(epoch, index)``; ``dataset[index]`` is of epoch 0. An error of ours in a
    loader worker travels as an example, so that the batch raises it without the worker's traceback.
    """

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        try:
            return self.example(epoch, index)
        except TinyclapError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            return error


class FixedDataset(EpochDataset):
    """``read(*key)`` of each of some `keys`, which are tuples; in every epoch the same."""

    def __init__(self, keys, read):
        self.keys, self.read = list(keys), read

    def __len__(self):
        return len(self.keys)

    def example(self, epoch, index):
        """What is read of the key at `index`."""
        return self.read(*self.keys[index])
