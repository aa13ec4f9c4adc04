"""Batches of recordings: decoded, resampled and embedded in threads, in order, in bounded memory. No torch.

Each clip is computed alone, so its result does not depend on the others.
"""

from __future__ import annotations

import collections
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.audio.cpu import n_cores
from tinyclap.audio.io import probe
from tinyclap.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD = 2  # recordings begun for each worker
_FEW = 20  # recordings without a bar


def embed_many(
    model: Any,
    sources: Iterable[Any],
    n_workers: int | None = None,
    on_error: str = "raise",
    sample_rate_hz: float | None = None,
    longest_s: float | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Embed recordings one by one, in threads.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel, or its backend
    sources : iterable. Paths, or clips of shape (T,) or (channels, T); may be endless.
    n_workers : int or None. Threads, each with one clip at a time; None takes as many as there are cores for.
    on_error : {"raise", "skip"}. Raise the AudioError of the first unusable recording, or give it in place of the row.
    sample_rate_hz : int or None. Of arrays.
    longest_s : float or None. Refuse longer recordings: a clip is held in memory whole.

    Yields
    ------
    object. The source, in order.
    numpy.ndarray, shape (D,), float32, or AudioError
    """
    rows_of = model.embed if hasattr(model, "backend") else model.embed_many

    def embed(source):
        require_sane(source, longest_s)
        return rows_of([source], sample_rate_hz, False)[0]

    n_workers = getattr(model, "backend", model).usual_workers if n_workers is None else n_workers
    return each_clip(embed, sources, n_workers, on_error)


def embed_together(
    model: Any, sources: Sequence[Any], sample_rate_hz: float | None = None, progress: bool | None = None
) -> NDArray[np.float32]:
    """The embeddings (B, D) of a sequence of recordings.

    Arguments
    ---------
    model, sources, sample_rate_hz, progress : As for :func:`embed_many` and :func:`with_bar`.
    """
    if not len(sources):
        raise AudioError("the batch", "holds no clip; give at least one")
    found = embed_many(model, sources, sample_rate_hz=sample_rate_hz)
    _, rows = zip(*with_bar(found, len(sources), progress), strict=True)
    return np.stack(rows)


def with_bar(results: Iterable[Any], total: int | None = None, progress: bool | None = None) -> Iterable[Any]:
    """The same results, with a progress bar on standard error; by default at a terminal, for more than a few."""
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty() and (total is None or total > _FEW)
    if not progress:
        return results
    from tqdm import tqdm

    return tqdm(results, total=total, unit="clip", file=sys.stderr, mininterval=0.5)


def each_clip(
    work: Callable[[Any], Any], sources: Iterable[Any], n_workers: int | None = None, on_error: str = "raise"
) -> Iterator[tuple[Any, Any]]:
    """Do some work on each recording, in threads; yields each source and its result or AudioError, in order.

    Arguments
    ---------
    work : callable. ``work(source)`` → result; an AudioError that it raises belongs to its source alone.
    sources, n_workers, on_error : As for :func:`embed_many`.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={on_error!r}; choose 'raise' or 'skip'")
    n_workers = n_cores() if n_workers is None else n_workers
    if int(n_workers) != n_workers or n_workers < 1:
        raise ConfigError(f"the number of workers is a whole one above zero, not {n_workers!r}")
    return _in_order(work, sources, int(n_workers), on_error)


def _in_order(work, sources, n_workers, on_error):
    sources, pending = enumerate(sources), collections.deque()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="clip")
    try:
        while True:
            for index, source in itertools.islice(sources, _AHEAD * n_workers - len(pending)):
                pending.append((source, index, pool.submit(work, source)))
            if not pending:
                return
            source, index, future = pending.popleft()
            result = _result_or_problem(future, source, index)
            if isinstance(result, AudioError) and on_error == "raise":
                raise result
            yield source, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result_or_problem(future, source, index):
    """The result of one source, or what is wrong with it; what is wrong with the program is raised."""
    name = source if isinstance(source, (str, os.PathLike)) else f"clip {index} of the batch"
    try:
        return future.result()
    except AudioError as error:
        return AudioError(name, error.problem)
    except MemoryError:
        return AudioError(name, "needs more memory than there is; its header may be damaged, else cut it in parts")
    except OSError as error:
        return AudioError(name, f"cannot be read ({error.strerror or error}); look at the file's permissions and disk")


def require_sane(source: Any, longest_s: float | None = None) -> None:
    """Raise AudioError for a file or bytes with more than `longest_s` of audio, before they are decoded into memory."""
    is_file = isinstance(source, (str, os.PathLike)) and os.path.isfile(source)
    if longest_s is None or not (is_file or isinstance(source, bytes)):
        return
    duration_s = probe(source).duration_s
    if duration_s > longest_s:
        long = f"is {duration_s / 60:.0f} minutes long, more than {longest_s / 60:g}"
        advice = "and a clip is held in memory whole; use tinyclap listen, or cut it in parts"
        raise AudioError(source, f"{long}, {advice}")
