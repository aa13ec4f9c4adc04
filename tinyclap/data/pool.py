"""A pool of training examples: the student's log-mel and the teacher targets of the same altered waveforms, cached.

Every student of one front end and every epoch read it by memory map. It is made in shards
(:mod:`tinyclap.data.shards`) by all cores, and resumes.
"""

import copy
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from tinyclap.data.pipeline import ClipReader, CropReader, hold_out, read_items
from tinyclap.data.ray_shards import make_on_ray
from tinyclap.data.shards import (
    checked_files,
    fingerprint,
    is_whole,
    list_shards,
    remove_stale,
    shard_path,
    write_shard,
)
from tinyclap.data.workers import make_shards
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.files import read_json, write_json

logger = logging.getLogger(__name__)

SHARD_SIZE = 1024
_BATCH = 32
_NOTE = "pool.json"


class PoolBatch(NamedTuple):
    """A batch of examples: the student's input and the teacher targets."""

    log_mel: torch.Tensor  # (B, F, M)
    target: torch.Tensor  # (B, D)
    frames: torch.Tensor  # (B, F', C)
    middle: torch.Tensor  # (B, C", F", M")

    def to(self, device):
        """The batch on a device, in float32."""
        return PoolBatch(*(tensor.to(device, torch.float32, non_blocking=True) for tensor in self))


_ENDINGS = tuple(f"{kind}.npy" for kind in PoolBatch._fields)


class TrainingPool:
    """A pool in a subfolder of `folder` named by the hash of all that it depends on.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    teacher : tinyclap.teachers.FrozenTeacher
        With ``teach(wavs (B, T), sample_rate_hz)`` → target (B, D), frames (B, F', C), middle (B, C", F", M").
    features : tinyclap.features.log_mel.LogMel. The student's front end.
    folder : str or os.PathLike
    clip_duration_s : float
    n_train, n_valid, seed : int. Examples; those of validation come from other recordings, a `valid_fraction`.
    augment : tinyclap.data.augment.FunctionMatchingAugment
    n_processes : int, optional. All cores by default.
    """

    def __init__(
        self,
        corpora,
        teacher,
        features,
        folder,
        clip_duration_s,
        n_train,
        n_valid,
        augment,
        seed,
        valid_fraction=0.1,
        n_processes=None,
    ):
        if not 0 < valid_fraction < 1:
            raise ConfigError(
                f"valid_fraction={valid_fraction}; a pool validates on other recordings, so it is in (0, 1)"
            )
        self.corpora, self.teacher, self.features = corpora, teacher, features
        self.root, self.clip_duration_s, self.augment = Path(folder), clip_duration_s, augment
        self.counts = {"train": n_train, "valid": n_valid}
        self.seed, self.valid_fraction = seed, valid_fraction
        self.scale(n_processes or 0)

    def scale(self, n_processes=0, ray_address=None):
        """Set who makes the shards; see :meth:`tinyclap.data.shard_store.ShardStore.scale`. 0: all cores."""
        self.n_processes, self.ray_address = n_processes, ray_address

    def describe(self):
        """All that the pool depends on, JSON-able."""
        digests = {}
        for path, _ in self.corpora.manifests("train"):
            digests[Path(path).name] = fingerprint(read_json(path, "prepare it again", ManifestError)["items"])
        return {
            "format": 3,
            "manifests": digests,
            "teacher": self.teacher.identity(),
            "features": self.features.config,
            "clip_duration_s": self.clip_duration_s,
            "counts": self.counts,
            "augment": self.augment.options,
            "seed": self.seed,
            "valid_fraction": self.valid_fraction,
        }

    @property
    def folder(self):
        """The subfolder of this pool."""
        return self.root / fingerprint(self.describe())

    def load(self):
        """Make missing shards."""
        folder = self.folder
        if not (folder / _NOTE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / _NOTE, self.describe())
        shards = list_shards(self.counts, SHARD_SIZE)
        missing = [shard for shard in shards if not is_whole(shard_path(folder, *shard[:2]))]
        if not missing:
            return
        remove_stale(folder)
        total = sum(n_examples for _, _, n_examples in missing)
        logger.info("making %d training examples with the teacher's answers in %s", total, folder)
        train, valid = hold_out(read_items(self.corpora.manifests("train")), self.valid_fraction)
        if not train or not valid:
            raise ManifestError(f"{len(train)} training and {len(valid)} validation clips; both are needed")
        maker = _ShardMaker({"train": train, "valid": valid}, self.teacher, self.features, self, folder)
        with tqdm(total=total, unit="clip", desc="training pool") as bar:
            if self.ray_address is not None:
                make_on_ray(maker, missing, self.ray_address, self.n_processes, bar)
            else:
                make_shards(maker, missing, self.n_processes or os.cpu_count(), bar)


class PoolDatasets:
    """The ``make_datasets`` of a recipe: opens the examples of a `pool` when called."""

    def __init__(self, pool):
        self.pool = pool

    def __call__(self):
        """``train`` and ``valid``: datasets for :func:`collate_pool`."""
        return {part: _PoolDataset(self.pool.folder, part, n_examples) for part, n_examples in self.pool.counts.items()}


class _ShardMaker:
    """Makes any shard; pickled to each worker once."""

    def __init__(self, items, teacher, features, pool, folder):
        self.items, self.teacher, self.features, self.folder = items, teacher, features, folder
        self.seed, self.clip_duration_s, self.augment = pool.seed, pool.clip_duration_s, pool.augment
        self.readers, self.device = {}, "cpu"

    def reader(self, part):
        """Crops of one part's clips, decoded once a worker."""
        if part not in self.readers:
            reader = ClipReader(self.features.sample_rate_hz, in_memory=True)
            items = self.items[part]
            self.readers[part] = CropReader(items, reader, self.clip_duration_s, "tile", self.seed, None, self.augment)
        return self.readers[part]

    def hear(self, part, first, n_examples):
        """The altered clips of a shard: list of (numpy.ndarray of shape (T,), note)."""
        crops, heard = self.reader(part), []
        for index in range(first, first + n_examples):
            random, note = np.random.default_rng([self.seed, part == "valid", index]), {}
            heard.append((crops.at(crops.any_name(random), random, note), note))
        return heard

    def to(self, device):
        """Move teacher and front end to a device; returns the maker."""
        self.teacher.to(device)
        self.features = copy.deepcopy(self.features).to(device)
        self.device = device
        return self

    @torch.no_grad()
    def make(self, part, first, n_examples, heard=None):
        """Make and write one shard, of clips that may have been read elsewhere; returns its number of examples."""
        rows = []
        for start in range(first, first + n_examples, _BATCH):
            n_batch = min(_BATCH, first + n_examples - start)
            batch = self.hear(part, start, n_batch) if heard is None else heard[start - first : start - first + n_batch]
            wavs = torch.from_numpy(np.stack([wav for wav, _ in batch])).to(self.device)
            names = ("tags", "frames", "middle")
            taught = self.teacher.targets(wavs, self.features.sample_rate_hz, names).values()
            rows.append([array.half().cpu().numpy() for array in (self.features(wavs), *taught)])
        arrays = (np.concatenate(column) for column in zip(*rows, strict=True))
        write_shard(shard_path(self.folder, part, first), dict(zip(_ENDINGS, arrays, strict=True)))
        return n_examples


class _PoolDataset(torch.utils.data.Dataset):
    """The examples of one part, memory-mapped; damaged shards are named."""

    def __init__(self, folder, part, n_examples):
        self.n_examples = n_examples
        shards = [shard_path(folder, *shard[:2]) for shard in list_shards({part: n_examples}, SHARD_SIZE)]
        self.shards = [
            [np.load(path, mmap_mode="r") for path in checked_files(shard, _ENDINGS).values()] for shard in shards
        ]

    def __len__(self):
        return self.n_examples

    def __getitem__(self, index):
        shard, row = divmod(index, SHARD_SIZE)
        return tuple(torch.from_numpy(np.array(rows[row])) for rows in self.shards[shard])


def collate_pool(examples):
    """Stack examples: list of (log_mel, target, frames, middle) → PoolBatch."""
    return PoolBatch(*(torch.stack(tensors) for tensors in zip(*examples, strict=True)))
