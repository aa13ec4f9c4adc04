"""Making shards: reading ahead of a device, in threads between batches, or in processes with a maker each."""

import itertools
import multiprocessing
import queue
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed

import torch

from tinyclap.data.shards import is_whole, shard_path, write_shard
from tinyclap.errors import CheckpointError

_AHEAD = 3  # batches read while the teacher works
_END = object()
_maker = None


def read_ahead(iterable, n_ahead=_AHEAD):
    """The items of an iterable in order, computed in a thread, `n_ahead` at most. Exceptions come in their place."""
    waiting, stopped = queue.Queue(n_ahead), threading.Event()

    def put(item):
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work():
        try:
            for item in iterable:
                if stopped.is_set():
                    return
                put((item, None))
            put((_END, None))
        except BaseException as error:  # noqa: BLE001 - told in the thread that asked
            put((_END, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()


def as_stored(rows, keys):
    """Teacher targets (B, …) of B `keys` as float16 numpy.ndarray; a CheckpointError unless they are B finite rows."""
    stored = rows.detach().to("cpu", torch.float16)
    if stored.ndim < 2 or len(stored) != len(keys):
        raise CheckpointError(
            f"the teacher answered {len(keys)} views by {tuple(stored.shape)}; it owes a row for each"
        )
    broken = [key for key, row in zip(keys, stored, strict=True) if not torch.isfinite(row).all()]
    if broken:
        raise CheckpointError(f"what the teacher said of {broken[0]} is not finite in float16; are its weights whole?")
    return stored.numpy()


class ShardMaker:
    """Makes any shard of a cache; pickled to each worker once. A subclass has ``contents``.

    Arguments
    ---------
    folder : pathlib.Path
    teacher : teacher. Loaded, and on `device`.
    parts : dict of str to (tinyclap.data.views.Views, tinyclap.data.views.ViewsPart)
    batch_size : int. Views in a batch of the teacher.
    device : str, optional
    """

    def __init__(self, folder, teacher, parts, batch_size, device=None):
        self.folder, self.teacher, self.parts = folder, teacher, parts
        self.batch_size, self.device = batch_size, device

    def contents(self, part, keys, batches):
        """The files of a shard, for :func:`tinyclap.data.shards.write_shard`.

        `keys` are its (clip, view); `batches` yields the same in parts, with audio: (keys, list of (array, note)).
        """
        raise NotImplementedError

    def read(self, part, keys):
        """The audio of some views: list of (numpy.ndarray of shape (T,), note)."""
        views, _ = self.parts[part]
        n_readers = min(torch.get_num_threads(), len(keys))
        if self._reads_ahead() or n_readers < 2:
            return [views.hear(*key) for key in keys]
        with ThreadPoolExecutor(n_readers) as pool:
            return list(pool.map(lambda key: views.hear(*key), keys))

    def _reads_ahead(self):
        """Whether a thread reads ahead: on the CPU it would take a core from the teacher."""
        return self.device is not None

    def hear(self, part, first, n_views):
        """The audio of a shard's views; see :meth:`read`."""
        return self.read(part, self.keys(part, first, n_views))

    def to(self, device):
        """Move the teacher to a device; returns the maker."""
        self.device = device
        self.teacher.to(device)
        return self

    def keys(self, part, first, n_views):
        """The views of a shard."""
        return self.parts[part][1].keys[first : first + n_views]

    def make(self, part, first, n_views, heard=None):
        """Make and write one shard, unless it exists; returns its number of views.

        Arguments
        ---------
        part : str
        first, n_views : int
        heard : list, optional. Of :meth:`hear` for the shard, where its audio was loaded elsewhere.
        """
        shards = [(part, first, n_views)]
        stream = self._stream(shards) if heard is None else self._batches(shards[0], heard)
        return sum(self._made(stream))

    def make_all(self, shards):
        """Make shards one after the other without a pause; yields the number of views of each."""
        return self._made(self._stream(shards))

    def _stream(self, shards):
        """(shard, keys, audio) of each batch; of a shard that exists, once and without keys."""
        for shard in shards:
            if is_whole(shard_path(self.folder, *shard[:2])):
                yield shard, None, None
            else:
                yield from self._batches(shard)

    def _batches(self, shard, heard=None):
        keys = self.keys(*shard)
        for start in range(0, len(keys), self.batch_size):
            batch = keys[start : start + self.batch_size]
            yield shard, batch, self.read(shard[0], batch) if heard is None else heard[start : start + len(batch)]

    @torch.no_grad()
    def _made(self, stream):
        stream = read_ahead(stream) if self._reads_ahead() else stream
        for shard, batches in itertools.groupby(stream, key=lambda row: row[0]):
            part, first, n_views = shard
            path = shard_path(self.folder, part, first)
            rows = ((keys, heard) for _, keys, heard in batches if keys is not None)
            begun = next(rows, None)  # None: somebody else has made the shard
            if begun is not None:
                contents = self.contents(part, self.keys(*shard), itertools.chain([begun], rows))
                if not is_whole(path):
                    write_shard(path, contents)
            yield n_views


def _set_maker(maker):
    global _maker
    _maker = maker
    torch.set_num_threads(1)


def _make_shard(shard):
    return _maker.make(*shard)


def make_shards(maker, shards, n_processes, bar):
    """Make shards in other processes; the first error stops them all.

    Arguments
    ---------
    maker : object. With ``make(*shard)`` → number of examples made; pickled to each process once.
    shards : list of tuple
    n_processes, bar : int, tqdm.tqdm
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_processes, len(shards)), context, _set_maker, (maker,)) as pool:
        try:
            for done in as_completed([pool.submit(_make_shard, shard) for shard in shards]):
                bar.update(done.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
