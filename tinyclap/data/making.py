"""Making the shards of a target cache: in this process, in CPU processes with a teacher each, or on a Ray cluster.

A lock a shard lets runs, ranks and machines share the work. A shard's bytes do not depend on who makes it.
"""

import copy
import itertools
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tinyclap.data.shards import is_whole, remove_stale, write_shard, writing
from tinyclap.decoding.beam_search import WordChoices
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError

logger = logging.getLogger(__name__)

N_READERS = 8  # processes that load audio for a GPU, at most
_RAY_CHUNK = 8  # shards of one task, so that loading goes on between them
_RAY_RETRIES = 3
_RAY_STORE_BYTES = 1 << 28
LOG_MEL = "log_mel"


@dataclass
class ShardMaker:
    """All that is needed to make any shard of a cache; pickled to each worker once."""

    folder: Path
    teacher: Any  # loaded, on `device`
    features: Any  # the student's front end, where `columns` has log_mel
    columns: tuple
    parts: dict  # part → (Views, list of (clip, view))
    batch_size: int
    n_readers: int = 0  # processes that load audio
    device: str | None = None

    def to(self, device):
        """Move the teacher, and a copy of the front end: the student's stays where it is; returns the maker."""
        self.device = device
        self.teacher.to(device)
        self.features = copy.deepcopy(self.features).to(device) if self.features is not None else None
        return self

    def keys(self, shard):
        """The (clip, view) of a shard."""
        return self.parts[shard.part][1][shard.first : shard.first + shard.n_views]

    def targets(self, wavs, sample_rate_hz, keys):
        """Columns of a batch, on the CPU, as :func:`tinyclap.data.shards.write_shard` takes them.

        Arguments
        ---------
        wavs : torch.Tensor (B, T), or list of (T_i,)
        sample_rate_hz : int
        keys : list of (clip, view)
        """
        if isinstance(wavs, torch.Tensor):
            wavs = wavs.to(self.device or "cpu", non_blocking=True)
        else:
            wavs = [wav.to(self.device or "cpu", non_blocking=True) for wav in wavs]
        names = tuple(name for name in self.columns if name != LOG_MEL)
        given = self.teacher.targets(wavs, sample_rate_hz, names)
        missing = set(names) - set(given)
        if missing:
            raise CheckpointError(
                f"the teacher gave no {', '.join(sorted(missing))}, although it lists them as columns"
            )
        if LOG_MEL in self.columns:
            if not isinstance(wavs, torch.Tensor):
                raise ConfigError("views of different lengths have no log-mel of one size; cache_log_mel is for crops")
            given[LOG_MEL] = self.features(wavs)
        return {name: _packed(name, given[name], keys) for name in self.columns}


def _packed(name, values, keys):
    """B targets of a column: float16 array, list of str, or WordChoices of arrays."""
    n_values = len(values.n_words) if isinstance(values, WordChoices) else len(values)
    if n_values != len(keys):
        raise CheckpointError(f"the teacher gave {n_values} rows of {name} for {len(keys)} views; it owes one for each")
    if isinstance(values, torch.Tensor):
        return _float16(name, values, keys).numpy()
    if not isinstance(values, WordChoices):
        return list(values)
    n_words, words, ids, log_probs = (
        part.cpu() for part in (values.n_words, values.words, values.ids, values.log_probs)
    )
    there = torch.arange(words.shape[1]) < n_words[:, None]
    log_probs = _float16(name, log_probs.masked_fill(~there[..., None], 0), keys)
    parts = words[there].to(torch.int32), ids[there].to(torch.int32), log_probs[there], n_words
    return WordChoices(*(part.numpy() for part in parts))


def _float16(name, values, keys):
    values = values.detach().to("cpu", torch.float16)
    broken = ~values.flatten(1).isfinite().all(dim=1)
    if broken.any():
        clip, view = keys[int(broken.nonzero()[0])]
        raise CheckpointError(
            f"the teacher's {name} for view {view} of {clip} is not finite in float16; are its weights whole?"
        )
    return values


def _joined(batches):
    """One column of several batches' columns."""
    if isinstance(batches[0], WordChoices):
        return WordChoices(*map(np.concatenate, zip(*batches, strict=True)))
    if isinstance(batches[0], np.ndarray):
        return np.concatenate(batches)
    return [text for batch in batches for text in batch]


class _Batches(Dataset):
    """Audio by (shard, first view of the batch)."""

    def __init__(self, parts, batch_size):
        self.parts, self.batch_size = parts, batch_size

    def __getitem__(self, place):
        shard, start = place
        views, keys = self.parts[shard.part]
        keys = keys[shard.first + start : shard.first + min(start + self.batch_size, shard.n_views)]
        try:
            wavs, notes = zip(*self._read(views, keys), strict=True)
        except TinyclapError as error:  # a loader worker would wrap it in its traceback
            return shard, keys, error, None
        wavs = [torch.from_numpy(wav) for wav in wavs]
        return shard, keys, torch.stack(wavs) if len({len(wav) for wav in wavs}) == 1 else wavs, notes

    def _read(self, views, keys):
        n_threads = 1 if get_worker_info() else min(torch.get_num_threads(), len(keys))
        if n_threads == 1:
            return [views.read_with_note(*key) for key in keys]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(lambda key: views.read_with_note(*key), keys))


def _as_it_is(batch):
    return batch


@torch.no_grad()
def make_shards(maker, shards):
    """Make shards one after the other, without a pause between them; yields (shard, whether it is whole).

    Those that another process is making are left to it, and come last.
    """
    locks, left = {}, []

    def scheduled():  # in this process, some batches ahead of those that come
        for shard in shards:
            lock = FileLock(_lock_path(maker, shard))
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
        collate_fn=_as_it_is,
        pin_memory=str(maker.device).startswith("cuda"),
    )
    try:
        for shard, batches in itertools.groupby(loader, key=lambda batch: batch[0]):
            _make(maker, shard, batches)
            _release(locks.pop(shard))
            yield shard, True
    finally:
        for lock in locks.values():
            lock.release()
    yield from left


def _release(lock):
    """Release the lock of a whole shard, and delete it: who waits for it finds the shard."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _lock_path(maker, shard):
    return maker.folder / f".{shard.path(maker.folder).stem}.lock"


def _make(maker, shard, batches):
    """Make and write one shard of its batches of audio."""
    columns, notes, rate = {name: [] for name in maker.columns}, [], maker.parts[shard.part][0].sample_rate_hz
    for _, keys, wavs, batch_notes in batches:
        if isinstance(wavs, TinyclapError):
            raise wavs
        for name, values in maker.targets(wavs, rate, keys).items():
            columns[name].append(values)
        notes += batch_notes
    path = shard.path(maker.folder)
    for name, parts in columns.items():
        shapes = {part.shape[1:] for part in parts if isinstance(part, np.ndarray)}
        if len(shapes) > 1:
            raise ConfigError(
                f"the teacher's {name} has several shapes, {sorted(shapes)}, for views of different lengths; leave "
                f"{name} out, or give views of one length"
            )
    with writing(path):
        write_shard(path, maker.keys(shard), notes, {name: _joined(parts) for name, parts in columns.items()})


def make_missing(maker, shards, n_processes=0, ray_address=None, progress=None):
    """Make shards, or wait for whoever makes them; all are whole in the end.

    Arguments
    ---------
    maker : ShardMaker
    shards : list of Shard
    n_processes : int. CPU processes; with Ray, teachers at once, 0 for one a GPU (or one).
    ray_address : str, optional. Of a cluster (``auto``, ``ray://host:10001``), or ``"local"`` to start one here.
    progress : tqdm.tqdm, optional. Counts views.
    """
    remove_stale(maker.folder)
    n_rounds = 0
    while shards:
        if n_rounds:  # one at a time: it waits for no other while it holds one
            logger.info("waiting for another run that makes %d shards of %s", len(shards), maker.folder)
            with FileLock(_lock_path(maker, shards[0])):
                pass
        n_rounds += 1
        if ray_address is not None:
            made = _make_on_ray(maker, shards, ray_address, n_processes)
        elif n_processes > 1:
            made = _make_in_processes(maker, shards, n_processes)
        else:
            made = make_shards(maker, shards)
        shards = []
        for shard, done in made:
            if not done:
                shards.append(shard)
            elif progress is not None:
                progress.update(shard.n_views)


def _set_maker(maker):
    global _maker
    _maker = maker
    torch.set_num_threads(1)


def _make_one(shard):
    return list(make_shards(_maker, [shard]))[0]


def _make_in_processes(maker, shards, n_processes):
    """:func:`make_shards` in processes; the first error stops them all."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_processes, len(shards)), context, _set_maker, (maker,)) as pool:
        try:
            for done in as_completed([pool.submit(_make_one, shard) for shard in shards]):
                yield done.result()
        except BrokenProcessPool as error:
            raise CheckpointError(
                f"a process that made {maker.folder} was killed (memory?); whole shards are kept: give the same "
                "command again, with fewer n_target_processes"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _RayMaker:
    """A teacher in a Ray actor."""

    def __init__(self, maker, device):
        # Ray's shared memory has another alignment, which changes the last bit of sums
        self.maker = copy.deepcopy(maker)
        if device is not None:
            self.maker.to(device)

    def make(self, shards):
        """See :func:`make_shards`."""
        return list(make_shards(self.maker, shards))


def _make_on_ray(maker, shards, address, n_teachers):
    """:func:`make_shards` on a cluster (extra ``scale``), whose machines see corpora and cache under the same paths.

    What a machine that dies was making is begun again.
    """
    ray, is_own = _connected(address)
    try:
        n_gpus = int(ray.cluster_resources().get("GPU", 0))
        n_teachers = min(n_teachers or max(n_gpus, 1), len(shards))
        n_cpus = int(ray.cluster_resources().get("CPU", 1)) // n_teachers  # for one of them, and those who load for it
        n_readers = maker.n_readers or (max(0, min(N_READERS, n_cpus - 1)) if n_gpus else 0)
        actor = ray.remote(_RayMaker).options(
            num_cpus=min(1 + n_readers, max(n_cpus, 1)),
            num_gpus=1 if n_gpus else 0,
            max_restarts=_RAY_RETRIES,
            max_task_retries=_RAY_RETRIES,
        )
        given = ray.put(replace(maker, n_readers=n_readers))
        actors = [actor.remote(given, "cuda" if n_gpus else None) for _ in range(n_teachers)]
        size = max(1, min(_RAY_CHUNK, len(shards) // n_teachers))
        chunks = [shards[first : first + size] for first in range(0, len(shards), size)]
        for made in ray.util.ActorPool(actors).map_unordered(lambda actor, chunk: actor.make.remote(chunk), chunks):
            yield from made
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, TinyclapError) else error from None
    except ray.exceptions.RayActorError as error:
        raise CheckpointError(
            f"a Ray worker that made {maker.folder} died {_RAY_RETRIES + 1} times ({str(error).splitlines()[0]}); "
            "whole shards are kept: give the same command again, with more memory for a teacher"
        ) from error
    finally:
        if is_own:
            ray.shutdown()


def _connected(address):
    """(ray, whether a cluster was started here)."""
    try:
        import ray
        import ray.util
    except ImportError as error:
        raise ConfigError("Ray is not installed; pip install 'tinyclap[scale]', or use --n_processes") from error
    if ray.is_initialized():
        return ray, False
    options = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address == "local":
            ray.init(object_store_memory=_RAY_STORE_BYTES, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {address!r} ({error}); give its address, or --ray local") from error
    return ray, address == "local"
