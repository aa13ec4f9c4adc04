"""Upkeep of a search index: new and changed recordings are embedded; those that are gone are removed when told to."""

import functools
import os
import time
from collections import Counter
from typing import NamedTuple

from tinyclap.audio.batch import embed_many, with_bar
from tinyclap.errors import AudioError
from tinyclap.search.database import Recording
from tinyclap.text.scores import audio_side

_FLUSH_S, _FLUSH_ROWS = 5.0, 1024  # a transaction; what a killed run loses at most


class UpdateReport(NamedTuple):
    """What an update did."""

    n_added: int
    n_changed: int
    n_unchanged: int
    n_known_skipped: int  # known to be broken, and not tried again
    skipped: list  # of AudioError


def update(
    database,
    model,
    sources,
    folders=(),
    on_error="raise",
    n_workers=None,
    retry=False,
    longest_s=None,
    progress=None,
    tell=None,
):
    """Embed the recordings that an index lacks, or has of another size or time of change: UpdateReport.

    Arguments
    ---------
    database : tinyclap.search.database.Database. Of this model.
    model : tinyclap.inference.sound_model.SoundModel
    sources : iterable of str or os.PathLike
    folders : sequence of str or os.PathLike
        Folders that the sources were found in; :func:`prune` keeps recordings of a folder that is not there.
    on_error : {"raise", "skip"}. A skipped recording is stored with what is wrong, and tried again when it has changed.
    n_workers : int or None. As for :func:`tinyclap.audio.batch.embed_many`.
    retry : bool. Also try again those that are known to be broken.
    longest_s : float or None. Refuse longer recordings, in seconds.
    progress : bool or None. Show a bar.
    tell : callable, optional. ``tell(error)`` is called with the AudioError of each skipped recording.
    """
    folders = tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)
    retry = retry or on_error == "raise"  # nothing is left out silently
    wanted = list(dict.fromkeys(os.path.abspath(source) for source in sources))
    todo, old, n_known = {}, set(), 0
    for path, known in zip(wanted, database.known_of(wanted), strict=True):
        recording, is_broken = _look_at(path, folders), known is not None and known[2] is not None
        if known is None or known[:2] != recording[3:] or (is_broken and retry):
            todo[path] = recording
        else:
            n_known += is_broken
        if known is not None and not is_broken:
            old.add(path)
    n_unchanged = len(wanted) - len(todo) - n_known
    batch, since_s, skipped, n_added, n_changed = [], time.monotonic(), [], 0, 0
    results = embed_many(model, list(todo), n_workers, on_error, longest_s=longest_s)
    try:
        for path, result in with_bar(results, len(todo), progress):
            if not isinstance(result, AudioError):
                batch.append((todo[path], audio_side(result[None], model.score_kind)[0]))
                n_added, n_changed = n_added + (path not in old), n_changed + (path in old)
            else:
                skipped.append(result)
                if path not in old or os.access(path, os.R_OK):  # what cannot be read now keeps its embedding
                    batch.append((todo[path], result.problem))
                if tell is not None:
                    tell(result)
            if len(batch) >= _FLUSH_ROWS or time.monotonic() - since_s > _FLUSH_S:
                full, batch = batch, []
                database.write(full)
                since_s = time.monotonic()
    finally:
        results.close()
        if batch:
            database.write(batch)
    return UpdateReport(n_added, n_changed, n_unchanged, n_known, skipped)


def prune(database, folders=()):
    """Remove the recordings that are gone, but for those of folders that are not there or cannot be read.

    A missing file is gone if the folder that it was indexed by is there, and the nearest folder above it is on the same
    device as the file was: else a disk or share is not mounted. Below `folders`, which are known to be gone, what is
    missing is removed although the folder is missing, too. How many were removed, and {folder that could not be looked
    into: how many of its recordings were kept}.
    """
    folders = tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)
    gone, kept = [], Counter()
    look = functools.cache(_nearest)
    for recording in database.recordings():
        try:
            os.lstat(recording.path)
            continue
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # no permission, a share that does not answer
            kept[os.path.dirname(recording.path)] += 1
            continue
        nearest, device = look(os.path.dirname(recording.path))
        if not recording.path.startswith(folders) and (
            not os.path.isdir(recording.folder) or device != recording.device
        ):
            kept[nearest if os.path.isdir(recording.folder) else recording.folder] += 1
        else:
            gone.append(recording)
    if gone:
        database.remove(gone)
    return len(gone), dict(kept)


def _look_at(path, folders):
    """A path as a Recording; of a file that is not there, size -1."""
    folder = max((folder for folder in folders if path.startswith(folder)), key=len, default=os.path.dirname(path))
    try:
        facts = os.stat(path)
    except OSError:
        return Recording(path, folder, "", -1, 0)
    return Recording(path, folder, str(facts.st_dev), facts.st_size, facts.st_mtime_ns)


def _nearest(folder):
    """The nearest folder at or above `folder` that exists, and its device."""
    while True:
        try:
            return folder, str(os.stat(folder).st_dev)
        except OSError:
            if os.path.dirname(folder) == folder:
                return folder, ""
            folder = os.path.dirname(folder)
