"""Which recordings training and test lists share, and what a score is without the clips that were heard before.

Two lists are compared where both name recordings of one archive (Freesound ids, YouTube ids). What cannot be compared
is said: a clip without a recording, and lists of different archives, are unknown, never clean. Equal ids are found,
equal sounds under different ids are not: the numbers are lower bounds.
"""

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.metrics.classification import accuracy_by, bootstrap_interval
from tinyclap.metrics.clip_lists import archive_of

SHARED, UNKNOWN, NONE_FOUND = "shared", "unknown", "none_found"
JOINT = " + "  # between the names of lists
COLUMNS = ("test", "clip", "recording", "status", "train")


def overlap(train, test):
    """What a training list and a test list share.

    Arguments
    ---------
    train, test : tinyclap.metrics.clip_lists.Clips

    Returns
    -------
    dict
        ``comparable`` (whether both name recordings of one archive), ``n_shared_recordings``, ``shared_recordings``
        (sorted), ``n_train_clips`` and ``n_test_clips`` (cut from these), ``train_share`` and ``test_share`` (of all
        clips of the list, in [0, 1]), ``n_train_unknown`` and ``n_test_unknown``.

    Example
    -------
    >>> from tinyclap.metrics.clip_lists import Clips
    >>> train = Clips("a", "toy", {"a1": "freesound:1", "a2": "freesound:2", "a3": None}, {})
    >>> test = Clips("b", "toy", {"b1": "freesound:2", "b2": "freesound:2", "b3": "freesound:9", "b4": None}, {})
    >>> found = overlap(train, test)
    >>> found["n_shared_recordings"], found["n_train_clips"], found["n_test_clips"], found["test_share"]
    (1, 1, 2, 0.5)
    """
    ours, theirs = _known(train), _known(test)
    shared = sorted(ours & theirs, key=lambda recording: (len(recording), recording))
    n_train, n_test = (len(clips_of(side, shared)) for side in (train, test))
    return {
        "train": train.name,
        "test": test.name,
        "comparable": bool({archive_of(one) for one in ours} & {archive_of(one) for one in theirs}),
        "n_shared_recordings": len(shared),
        "n_train_clips": n_train,
        "n_test_clips": n_test,
        "train_share": n_train / len(train.recordings),
        "test_share": n_test / len(test.recordings),
        "n_train_unknown": _n_unknown(train),
        "n_test_unknown": _n_unknown(test),
        "shared_recordings": shared,
    }


def clips_of(clips, recordings):
    """Names of the clips cut from some recordings, in the list's order."""
    recordings = set(recordings)
    return [clip for clip, recording in clips.recordings.items() if recording in recordings]


def leak_rows(train_lists, test_lists):
    """Rows of ``leaks.csv``: every test clip, and what was found of its recording.

    Arguments
    ---------
    train_lists, test_lists : list of tinyclap.metrics.clip_lists.Clips

    Returns
    -------
    list of dict
        ``test``, ``clip``, ``recording`` (empty if not known), ``status`` and ``train`` (the lists that share it,
        joined by ``JOINT``). The status is ``shared``; ``unknown``: the recording is not known, or no training list
        names recordings of its archive; or ``none_found``. A list on both sides is not compared with itself.
    """
    rows = []
    for test in test_lists:
        known = {train.name: _known(train) for train in train_lists if not is_same(train, test)}
        archives = {archive_of(recording) for recordings in known.values() for recording in recordings}
        for clip, recording in test.recordings.items():
            sharing = [name for name, recordings in known.items() if recording in recordings]
            compared = recording is not None and archive_of(recording) in archives
            status = SHARED if sharing else NONE_FOUND if compared else UNKNOWN
            rows.append([test.name, clip, recording or "", status, JOINT.join(sharing)])
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def is_same(train, test):
    """Whether one list was given on both sides: it would share all clips with itself."""
    return train.name == test.name and train.recordings == test.recordings


def union(name, lists):
    """All clips of several lists as one, so that a training set of many corpora is one side; clips keep their list.

    Arguments
    ---------
    name : str
    lists : list of tinyclap.metrics.clip_lists.Clips

    Returns
    -------
    tinyclap.metrics.clip_lists.Clips
    """
    merged = {(part.name, clip): recording for part in lists for clip, recording in part.recordings.items()}
    return type(lists[0])(name, "+".join(dict.fromkeys(part.corpus for part in lists)), merged, {})


def accuracy_without(correct, recordings, statuses, labels, seed=0):
    """A score with and without the clips that training has heard.

    Arguments
    ---------
    correct : array of bool, shape (B,)
    recordings : sequence of str, length B
        Which clips belong together: whole recordings are drawn for the second interval.
    statuses : sequence of str, length B
        As :func:`leak_rows` has them.
    labels : sequence of str, length B
        Class names; accuracies are also told class by class.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``all``, ``without_shared``, ``without_shared_or_unknown``, ``shared`` and ``unknown``: each a dict of
        ``accuracy`` in [0, 1], ``n_clips``, ``n_recordings``, ``interval_95``, ``interval_95_by_recording``, or None
        where no clip is left; ``moves_by`` (accuracy without the shared clips minus accuracy with them; None if
        nothing is left); ``per_class``: class → accuracies and counts with and without.

    Raises
    ------
    ConfigError
        The four are of different lengths, or there is no clip.

    Example
    -------
    >>> found = accuracy_without([1, 1, 0, 1], list("abcd"), ["shared", *["none_found"] * 3], ["x"] * 4)
    >>> found["all"]["accuracy"], round(found["moves_by"], 4), found["shared"]["n_clips"]
    (0.75, -0.0833, 1)
    """
    correct, statuses = np.asarray(correct, dtype=bool), np.asarray(statuses)
    recordings, labels = np.asarray(recordings), np.asarray(labels)
    if not len(correct) == len(recordings) == len(statuses) == len(labels) or not len(correct):
        lengths = [len(part) for part in (correct, recordings, statuses, labels)]
        raise ConfigError(
            f"scores, recordings, statuses and labels have the lengths {lengths}; they must be equal, > 0"
        )
    parts = {
        "all": np.ones(len(correct), dtype=bool),
        "without_shared": statuses != SHARED,
        "without_shared_or_unknown": statuses == NONE_FOUND,
        "shared": statuses == SHARED,
        "unknown": statuses == UNKNOWN,
    }
    found = {name: scored(correct[kept], recordings[kept], seed) for name, kept in parts.items()}
    clean = found["without_shared"]
    kept = parts["without_shared"]
    return {
        **found,
        "moves_by": None if clean is None else clean["accuracy"] - found["all"]["accuracy"],
        "per_class": {
            "all": accuracy_by(labels, correct),
            "without_shared": accuracy_by(labels[kept], correct[kept]) if kept.any() else {},
        },
    }


def scored(correct, recordings, seed=0):
    """An accuracy with both of its intervals, or None without clips.

    Arguments
    ---------
    correct : array of bool, shape (B,)
    recordings : sequence of str, length B
    seed : int

    Returns
    -------
    dict or None
        See :func:`accuracy_without`.
    """
    if not len(correct):
        return None
    return {
        "accuracy": float(np.mean(correct)),
        "n_clips": len(correct),
        "n_recordings": len(set(recordings)),
        "interval_95": list(bootstrap_interval(correct, seed=seed)),
        "interval_95_by_recording": list(bootstrap_interval(correct, recordings, seed=seed)),
    }


def _known(clips):
    return {recording for recording in clips.recordings.values() if recording is not None}


def _n_unknown(clips):
    return sum(recording is None for recording in clips.recordings.values())
