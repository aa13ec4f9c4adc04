"""Making the shards of a target cache: in this process, in CPU processes with a teacher each, or on a Ray cluster."""

import copy
import itertools
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tinyclap.data.shards import is_whole, remove_stale, to_batch, write_shard, writing
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError

logger = logging.getLogger(__name__)

N_READERS = 8  # processes that load audio for a GPU, at most
_RAY_CHUNK = 8  # shards of one task, so that loading goes on between them
_RAY_RETRIES = 3
LOG_MEL = "log_mel"


@dataclass
class ShardMaker:
    """All that is needed to make any shard of a cache; pickled to each worker once."""

    folder: Path
    teacher: Any  # loaded, on `device`
    features: Any  # the student's front end, where `columns` has log_mel
    columns: tuple
    parts: dict  # name → (Views, ViewsPart)
    batch_size: int
    n_readers: int = 0  # processes that load audio
    device: str = "cpu"

    def to(self, device):
        """Move the teacher, and a copy of the front end: the student's stays where it is; returns the maker."""
        features = None if self.features is None else copy.deepcopy(self.features).to(device)
        return replace(self, device=device, teacher=self.teacher.to(device), features=features)

    @torch.no_grad()
    def targets(self, wavs, sample_rate_hz):
        """Columns of audio (B, T), or of a list of (T_i,)."""
        move = partial(torch.Tensor.to, device=self.device, non_blocking=True)
        wavs = move(wavs) if isinstance(wavs, torch.Tensor) else list(map(move, wavs))
        names = tuple(name for name in self.columns if name != LOG_MEL)
        given = self.teacher.targets(wavs, sample_rate_hz, names)
        if missing := set(names) - set(given):
            raise CheckpointError(f"the teacher gave no {', '.join(sorted(missing))}, which it lists as columns")
        if LOG_MEL in self.columns:
            if isinstance(wavs, list):
                raise ConfigError("views of different lengths have no log-mel of one size; cache_log_mel is for crops")
            given[LOG_MEL] = self.features(wavs)
        return {name: given[name] for name in self.columns}


class _Batches(Dataset):
    """(shard, keys, audio or an error, notes) by (shard, first view of the batch)."""

    def __init__(self, parts, batch_size):
        self.parts, self.batch_size = parts, batch_size

    def __getitem__(self, place):
        shard, start = place
        views, part = self.parts[shard.part]
        keys = part.keys[shard.first + start : shard.first + min(start + self.batch_size, shard.n_views)]
        n_threads = 1 if get_worker_info() else torch.get_num_threads()
        try:
            with ThreadPoolExecutor(n_threads) as pool:
                wavs, notes = zip(*pool.map(lambda key: views.read_with_note(*key), keys), strict=True)
        except TinyclapError as error:  # a loader worker would wrap it in its traceback
            return shard, keys, error, None
        wavs = [torch.from_numpy(wav) for wav in wavs]
        return shard, keys, torch.stack(wavs) if len({len(wav) for wav in wavs}) == 1 else wavs, notes


def make_shards(maker, shards):
    """Make shards without a pause between them; yields (shard, whether it is whole), those made by others last."""
    locks, left = {}, []

    def scheduled():  # in this process, some batches ahead of those that come
        for shard in shards:
            lock = _lock(maker, shard)
            with writing(lock.lock_file):
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    left.append((shard, False))
                    continue
            if is_whole(shard.path(maker.folder)):
                left.append((shard, True))
                _release(lock)
                continue
            locks[shard] = lock
            yield from ((shard, start) for start in range(0, shard.n_views, maker.batch_size))

    loader = DataLoader(
        _Batches(maker.parts, maker.batch_size),
        batch_size=None,
        sampler=scheduled(),
        num_workers=maker.n_readers,
        collate_fn=tuple,  # as it is
        pin_memory=maker.device.startswith("cuda"),
    )
    try:
        for shard, batches in itertools.groupby(loader, key=lambda batch: batch[0]):
            rows, rate = [], maker.parts[shard.part][0].sample_rate_hz
            for _, keys, wavs, notes in batches:
                if isinstance(wavs, TinyclapError):
                    raise wavs
                rows.append(to_batch(keys, notes, maker.targets(wavs, rate)))
            with writing(shard.path(maker.folder)):
                write_shard(shard.path(maker.folder), rows)
            _release(locks.pop(shard))
            yield shard, True
    finally:
        for lock in locks.values():
            lock.release()
    yield from left


def _lock(maker, shard):
    return FileLock(maker.folder / f".{shard.path(maker.folder).stem}.lock")


def _release(lock):
    """Release the lock of a whole shard, and delete it: who waits for it finds the shard."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def make_missing(maker, shards, n_processes=0, ray_address=None, progress=None):
    """Make shards, or wait for whoever makes them; all are whole in the end.

    Arguments
    ---------
    maker, shards : ShardMaker, list of Shard
    n_processes : int. CPU processes; with Ray, teachers at once, 0 for one a GPU (or one).
    ray_address : str, optional. Of a cluster (``auto``, ``ray://host:10001``), or ``"local"`` to start one here.
    progress : tqdm.tqdm, optional. Counts views.
    """
    make = make_shards
    if ray_address is not None:
        make = partial(_make_on_ray, address=ray_address, n_teachers=n_processes)
    elif n_processes > 1:
        make = partial(_make_in_processes, n_processes=n_processes)
    remove_stale(maker.folder)
    while True:
        left = []
        for shard, is_made in make(maker, shards):
            if not is_made:
                left.append(shard)
            elif progress is not None:
                progress.update(shard.n_views)
        if not left:
            return
        logger.info("waiting for another run that makes %d shards of %s", len(left), maker.folder)
        with _lock(maker, left[0]):  # one at a time: it waits for no other while it holds one
            shards = left


def _set_maker(maker):
    global _maker
    _maker = maker
    torch.set_num_threads(1)


def _make_one(shard):
    (made,) = make_shards(_maker, [shard])
    return made


def _make_in_processes(maker, shards, n_processes):
    """:func:`make_shards` in processes; the first error stops them all."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_processes, len(shards)), context, _set_maker, (maker,)) as pool:
        try:
            yield from pool.map(_make_one, shards)
        except BrokenProcessPool as error:
            raise CheckpointError(
                f"a process that made {maker.folder} was killed (memory?); whole shards are kept: give the same "
                "command again, with fewer n_target_processes"
            ) from error


class _RayMaker:
    """A teacher in a Ray actor."""

    def __init__(self, maker, device):
        # Ray's shared memory has another alignment, which changes the last bit of sums
        self.maker = copy.deepcopy(maker).to(device)

    def make(self, shards):
        """See :func:`make_shards`."""
        return list(make_shards(self.maker, shards))


def _make_on_ray(maker, shards, address, n_teachers):
    """:func:`make_shards` on a cluster (extra ``scale``), whose machines see corpora and cache under the same paths."""
    try:
        import ray.util
    except ImportError as error:
        raise ConfigError("Ray is not installed; pip install 'tinyclap[scale]', or use --n_processes") from error
    was_connected = ray.is_initialized()
    try:
        if not was_connected:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
        n_gpus = int(ray.cluster_resources().get("GPU", 0))
        n_teachers = min(n_teachers or max(n_gpus, 1), len(shards))
        n_cpus = max(int(ray.cluster_resources().get("CPU", 1)) // n_teachers, 1)  # for one, and those who load for it
        n_readers = maker.n_readers or (min(N_READERS, n_cpus - 1) if n_gpus else 0)
        resources = {"num_cpus": min(1 + n_readers, n_cpus), "num_gpus": min(n_gpus, 1)}
        actor = ray.remote(max_restarts=_RAY_RETRIES, max_task_retries=_RAY_RETRIES, **resources)(_RayMaker)
        given = ray.put(replace(maker, n_readers=n_readers))
        actors = [actor.remote(given, "cuda" if n_gpus else "cpu") for _ in range(n_teachers)]
        size = max(1, min(_RAY_CHUNK, len(shards) // n_teachers))
        chunks = [shards[first : first + size] for first in range(0, len(shards), size)]
        for made in ray.util.ActorPool(actors).map_unordered(lambda actor, chunk: actor.make.remote(chunk), chunks):
            yield from made
    except ray.exceptions.RayTaskError as error:  # before ValueError, which it may be too
        raise error.cause if isinstance(error.cause, TinyclapError) else error from None
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address!r} ({error}); give its address, or --ray local") from error
    except ray.exceptions.RayActorError as error:
        raise CheckpointError(
            f"a Ray worker that made {maker.folder} died {_RAY_RETRIES + 1} times ({str(error).splitlines()[0]}); "
            "whole shards are kept: give the same command again, with more memory for a teacher"
        ) from error
    finally:
        if not was_connected:
            ray.shutdown()
