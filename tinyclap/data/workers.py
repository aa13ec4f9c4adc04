"""Making shards in several processes, each with a maker of its own."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

_maker = None


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
    maker : object
        With ``make(*shard)`` → number of examples made; pickled, and sent to each process once.
    shards : list of tuple
    n_processes : int
    bar : tqdm.tqdm
        Moves on by what is made.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_processes, len(shards)), context, _set_maker, (maker,)) as pool:
        try:
            for done in as_completed([pool.submit(_make_shard, shard) for shard in shards]):
                bar.update(done.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
