"""A pool of training examples made once: the student's log-mel and what the teacher said of the same waveform.

Altering a waveform, both front ends and the teacher cost several times what a step of a tiny student costs. The pool
pays for them once; every student of one front end and every epoch then read it by memory map. It is made in shards,
by as many processes as there are cores, and goes on where it was stopped: a shard is there whole or not at all.
"""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from tinyclap.data.pipeline import ClipReader, CropReader, hold_out, read_items
from tinyclap.data.workers import make_shards
from tinyclap.errors import ConfigError, ManifestError

logger = logging.getLogger(__name__)

SHARD_SIZE = 1024
_BATCH = 32


class PoolBatch(NamedTuple):
    """A batch of examples: the student's input and the teacher's outputs.

    Attributes
    ----------
    log_mel : torch.Tensor, shape (B, F, M)
    target : torch.Tensor, shape (B, D)
    frames : torch.Tensor, shape (B, F', C)
    middle : torch.Tensor, shape (B, C", F", M")
    """

    log_mel: torch.Tensor
    target: torch.Tensor
    frames: torch.Tensor
    middle: torch.Tensor

    def to(self, device):
        """The batch on a device, in float32."""
        return PoolBatch(*(tensor.to(device, torch.float32, non_blocking=True) for tensor in self))


class TrainingPool:
    """The pool of a run.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora
    teacher : tinyclap.teachers.FrozenTeacher
        With ``teach(wavs (B, T), sample_rate_hz)`` → target (B, D), frames (B, F', C), middle (B, C", F", M").
    features : tinyclap.features.LogMel
        The student's front end.
    folder : str or os.PathLike
        Where pools are kept; each has a subfolder named by the hash of all that it depends on.
    clip_duration_s : float
    n_train, n_valid : int
        Examples. Validation examples come from other recordings.
    augment : tinyclap.data.augment.FunctionMatchingAugment
    seed : int
    valid_fraction : float
        Share of the recordings that validation examples are made of.
    n_processes : int, optional
        All cores by default.
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
        self.n_processes = n_processes or os.cpu_count()

    def describe(self):
        """All that the pool depends on, JSON-able."""
        digests = {}
        for path, _ in self.corpora.manifests("train"):
            items = json.loads(Path(path).read_text(encoding="utf-8"))["items"]
            digests[Path(path).name] = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()
        return {
            "format": 2,
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
        text = json.dumps(self.describe(), sort_keys=True)
        return self.root / hashlib.sha256(text.encode()).hexdigest()[:16]

    def load(self):
        """Make the shards that are missing."""
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "pool.json"
        if not note.exists():
            part = note.with_suffix(".part")
            part.write_text(json.dumps(self.describe(), indent=1), encoding="utf-8")
            os.replace(part, note)
        wanted = [
            (part, first, min(SHARD_SIZE, n_examples - first))
            for part, n_examples in self.counts.items()
            for first in range(0, n_examples, SHARD_SIZE)
        ]
        missing = [shard for shard in wanted if not _shard_path(folder, *shard[:2]).exists()]
        if not missing:
            return
        for stale in folder.glob("*.part*"):
            stale.unlink()
        total = sum(n_examples for _, _, n_examples in missing)
        logger.info("making %d training examples with the teacher's answers in %s", total, folder)
        train, valid = hold_out(read_items(self.corpora.manifests("train")), self.valid_fraction)
        if not train or not valid:
            raise ManifestError(f"{len(train)} training and {len(valid)} validation clips; both are needed")
        maker = _ShardMaker({"train": train, "valid": valid}, self.teacher, self.features, self, folder)
        with tqdm(total=total, unit="clip", desc="training pool") as bar:
            make_shards(maker, missing, self.n_processes, bar)


class PoolDatasets:
    """The examples of a pool, opened when they are asked for: a YAML's ``make_datasets``.

    Arguments
    ---------
    pool : TrainingPool
    """

    def __init__(self, pool):
        self.pool = pool

    def __call__(self):
        """``train`` and ``valid``: Datasets of rows for :func:`collate_pool`."""
        return {part: _PoolDataset(self.pool.folder, part, n_examples) for part, n_examples in self.pool.counts.items()}


class _ShardMaker:
    """What a worker needs to make any shard; sent to it once."""

    def __init__(self, items, teacher, features, pool, folder):
        self.items, self.teacher, self.features, self.folder = items, teacher, features, folder
        self.seed, self.clip_duration_s, self.augment = pool.seed, pool.clip_duration_s, pool.augment
        self.readers = {}

    def reader(self, part):
        """Crops of one part's clips, decoded once a worker."""
        if part not in self.readers:
            reader = ClipReader(self.features.sample_rate_hz, in_memory=True)
            items = self.items[part]
            self.readers[part] = CropReader(items, reader, self.clip_duration_s, "tile", self.seed, None, self.augment)
        return self.readers[part]

    @torch.no_grad()
    def make(self, part, first, n_examples):
        """Make and write one shard; returns its number of examples."""
        crops, rows = self.reader(part), []
        for batch_first in range(first, first + n_examples, _BATCH):
            indices = range(batch_first, min(batch_first + _BATCH, first + n_examples))
            wavs = []
            for index in indices:
                random = np.random.default_rng([self.seed, part == "valid", index])
                wavs.append(torch.from_numpy(crops.at(crops.any_name(random), random)))
            wavs = torch.stack(wavs)
            taught = self.teacher.teach(wavs, self.features.sample_rate_hz)
            rows.append([array.half().numpy() for array in (self.features(wavs), *taught)])
        for kind, arrays in zip(PoolBatch._fields, zip(*rows, strict=True), strict=True):
            # The first kind is renamed last: where it is, the shard is whole.
            _write(_shard_path(self.folder, part, first, kind), np.concatenate(arrays), hold=kind == "log_mel")
        os.replace(f"{_shard_path(self.folder, part, first)}.part", _shard_path(self.folder, part, first))
        return n_examples


def _write(path, array, hold):
    with open(f"{path}.part", "wb") as file:
        np.save(file, array)
    if not hold:
        os.replace(f"{path}.part", path)


def _shard_path(folder, part, first, kind="log_mel"):
    return folder / f"{part}_{first:07d}_{kind}.npy"


class _PoolDataset(torch.utils.data.Dataset):
    """The examples of one part, read by memory map."""

    def __init__(self, folder, part, n_examples):
        self.n_examples = n_examples
        self.shards = {
            kind: [
                np.load(_shard_path(folder, part, first, kind), mmap_mode="r")
                for first in range(0, n_examples, SHARD_SIZE)
            ]
            for kind in PoolBatch._fields
        }

    def __len__(self):
        return self.n_examples

    def __getitem__(self, index):
        shard, row = divmod(index, SHARD_SIZE)
        return tuple(torch.from_numpy(np.array(self.shards[kind][shard][row])) for kind in PoolBatch._fields)


def collate_pool(examples):
    """Stack examples: list of (log_mel, target, frames, middle) → PoolBatch."""
    return PoolBatch(*(torch.stack(tensors) for tensors in zip(*examples, strict=True)))
