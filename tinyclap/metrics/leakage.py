"""Data leakage: which recordings training and test sets share, and accuracy without the clips cut from them.

Most sound corpora are cut from the same archives. A clip's *recording* is its source there: ``freesound:117790`` or
``youtube:7fmOlUlwoNg``. Clips of one recording share speaker, place and device, often the very samples. Two lists are
compared where both name recordings of one archive; a clip without a recording, and lists of different archives, count
as unknown, never as clean. Equal sounds under different ids are not found: the numbers are lower bounds.

Sources of the layouts: the tables and file names that the corpora publish (see ``data_prep``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyclap.audio.find import SUFFIXES, recordings_in
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError
from tinyclap.files import sha256_of
from tinyclap.metrics.classification import accuracy_by, bootstrap_interval

SHARED, UNKNOWN, NONE_FOUND = "shared", "unknown", "none_found"
JOINT = " + "  # between the names of lists
COLUMNS = ("test", "clip", "recording", "status", "train")

FREESOUND, YOUTUBE = "freesound", "youtube"
# Tables are recognised by columns that no other table has: (corpus, clip, id, archive).
TABLES = (
    ("esc50", "filename", "src_file", FREESOUND),
    ("urbansound8k", "slice_file_name", "fsID", FREESOUND),
    ("clotho", "file_name", "sound_id", FREESOUND),
    ("clotho captions", "file_name", "caption_1", FREESOUND),
    ("fsd50k", "fname", "mids", FREESOUND),
    ("audiocaps", "youtube_id", "audiocap_id", YOUTUBE),
)
# Published file names that hold a Freesound id; without the suffix.
NAMES = (
    ("esc50", re.compile(r"[1-5]-(?P<id>\d+)-[A-Z]-\d{1,2}")),
    ("urbansound8k", re.compile(r"(?P<id>\d+)-\d-\d+-\d+")),
)
_BARE_ID = re.compile(r"(?P<id>\d+)")
_AUDIOSET_HEAD = "# YTID"


class Clips(NamedTuple):
    """Clips of one list: ``name``, ``corpus``, ``recordings`` (clip → recording or None) and ``facts`` (dict)."""

    name: str
    corpus: str
    recordings: dict
    facts: dict

    def known(self) -> set[str]:
        """The set of its recordings."""
        return {recording for recording in self.recordings.values() if recording}

    def n_unknown(self) -> int:
        """How many clips have no known recording."""
        return sum(not recording for recording in self.recordings.values())

    def describe(self) -> dict[str, Any]:
        """JSON-able counts of clips, recordings and clips without one, and the file's facts."""
        return {
            "name": self.name,
            "corpus": self.corpus,
            "n_clips": len(self.recordings),
            "n_recordings": len(self.known()),
            "n_unknown": self.n_unknown(),
            "archives": sorted(_archives(self.known())),
            **self.facts,
        }


def _archives(recordings):
    return {recording.partition(":")[0] for recording in recordings}


def recording_of(clip: str, any_digits: bool = False) -> str | None:
    """The recording that a published file name holds, or None; `any_digits` takes digits alone for a Freesound id.

    Example
    -------
    >>> recording_of("1-100032-A-0.wav"), recording_of("100032-3-0-0"), recording_of("64760", True)
    ('freesound:100032', 'freesound:100032', 'freesound:64760')
    >>> recording_of("64760") is None
    True
    """
    stem = _without_suffix(Path(clip).name)
    for pattern in [*(pattern for _, pattern in NAMES), *([_BARE_ID] if any_digits else [])]:
        if found := pattern.fullmatch(stem):
            return f"{FREESOUND}:{found['id']}"
    return None


def read_clips(name: str, path: str | os.PathLike[str], folds: Iterable[Any] | None = None) -> Clips:
    """Read a list of clips, named `name`, each with its recording: :class:`Clips`; of some `folds` alone if given.

    `path` is a manifest (JSON); ``esc50.csv``, ``UrbanSound8K.csv``, ``clotho_metadata_*.csv``,
    ``clotho_captions_*.csv`` (with the metadata beside it, if there), FSD50K's ``dev.csv`` and ``eval.csv``, AudioCaps'
    and AudioSet's lists; or a folder whose file names are those of ESC-50, UrbanSound8K or FSD50K.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{name}: no {path}; give a manifest, a published table or a folder of audio")
    if path.is_dir():
        corpus, rows, facts = _from_folder(name, path)
    elif path.suffix == ".json":
        corpus, rows, facts = _from_manifest(path)
    else:
        corpus, rows, facts = _from_table(name, path)
    if folds is not None:
        wanted, found = {str(fold) for fold in folds}, {fold for _, _, fold in rows if fold}
        if wanted - found:
            missing, folded = (", ".join(sorted(some)) or "none" for some in (wanted - found, found))
            raise ConfigError(f"{name}: {path} has no fold {missing}; its folds are: {folded}")
        rows = [row for row in rows if row[2] in wanted]
        facts = {**facts, "folds": sorted(wanted)}
    recordings: dict[str, str | None] = {}
    for clip, recording, _ in rows:  # a list may name a clip twice, once a caption
        recordings[clip] = recordings.get(clip) or recording
    if not recordings:
        raise ConfigError(f"{name}: {path} lists no clip")
    return Clips(name, corpus, recordings, facts)


def _from_folder(name, path):
    """Clips of a folder of audio; folds as UrbanSound8K's folders and ESC-50's names have them."""
    files = sorted(map(Path, recordings_in(path)))
    corpora = {corpus for file in files for corpus, pattern in NAMES if pattern.fullmatch(file.stem)}
    rows = []
    for file in files:
        fold = re.fullmatch(r"fold(\d+)", file.parent.name)
        esc50 = NAMES[0][1].fullmatch(file.stem)
        rows.append((file.stem, recording_of(file.stem, True), fold[1] if fold else file.stem[0] if esc50 else None))
    return "+".join(sorted(corpora)) or "audio folder", rows, {"kind": "folder"}


def _from_manifest(path):
    """Clips of a manifest; the groups of AudioCaps' are the ids of the videos they are cut from."""
    manifest = read_manifest(path, ".")
    corpus = manifest.meta["dataset"]

    def recording(item):
        if item.get("freesound_id"):
            return f"{FREESOUND}:{item['freesound_id']}"
        if corpus == "audiocaps" and item.get("group"):
            return f"{YOUTUBE}:{item['group']}"
        return recording_of(item["id"])

    rows = [(item["id"], recording(item), str(item.get("fold", "")) or None) for item in manifest.items]
    kept = {key: manifest.meta[key] for key in ("split", "options", "options_hash")}
    return corpus, rows, {"kind": "manifest", "sha256": sha256_of(path), **kept}


def _from_table(name, path):
    """Clips of a published table, recognised by its columns."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # Clotho's metadata are Latin-1
        text = content.decode("latin-1")
    facts = {"kind": "table", "sha256": hashlib.sha256(content).hexdigest()}
    if _AUDIOSET_HEAD in text[:1000]:
        lines = [line.split(",", 1)[0].strip() for line in text.splitlines() if line and not line.startswith("#")]
        return "audioset", [(clip, f"{YOUTUBE}:{clip}", None) for clip in lines], facts
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    layout = next((layout for layout in TABLES if {layout[1], layout[2]} <= set(columns)), None)
    if layout is None:
        known = "; ".join(f"{corpus}: {clip}, {column}" for corpus, clip, column, _ in TABLES)
        raise ConfigError(f"{name}: {path} has the columns {', '.join(columns)}; known tables have {known}")
    corpus, clip_column, id_column, archive = layout
    if corpus in ("fsd50k", "audiocaps"):  # a clip's name is the id of its recording
        id_column = clip_column
    split = f"{path.stem.rpartition('_')[2]}/"  # Clotho's names repeat across splits; manifests have split/file_name
    rows = []
    for row in reader:
        clip = row[clip_column]
        clip = split + clip if corpus.startswith("clotho") else _without_suffix(clip.strip())
        cell = (row[id_column] or "").strip()
        is_id = cell and (archive != FREESOUND or cell.isdigit())  # Clotho has "Not found" where it knows none
        rows.append((clip, f"{archive}:{cell}" if is_id else None, row.get("fold") or None))
    if corpus == "clotho captions":
        corpus = "clotho"
        metadata = path.with_name(path.name.replace("captions", "metadata"))
        if metadata.is_file() and metadata != path:
            known = {clip: recording for clip, recording, _ in _from_table(name, metadata)[1]}
            rows = [(clip, known.get(clip), None) for clip, _, _ in rows]
            facts = {**facts, "metadata_sha256": sha256_of(metadata)}
        else:
            rows = [(clip, None, None) for clip, _, _ in rows]
    return corpus, rows, facts


def _without_suffix(name):
    """A clip's name without the suffix of an audio file; other dots stay."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name


def overlap(train: Clips, test: Clips) -> dict[str, Any]:
    """Count what two :class:`Clips`, a training and a test list, share.

    Returns ``comparable`` (whether both name recordings of one archive), ``n_shared_recordings``, ``shared_recordings``
    (sorted), ``n_train_clips`` and ``n_test_clips`` (cut from these), ``train_share`` and ``test_share`` (fractions of
    the list's clips), ``n_train_unknown`` and ``n_test_unknown``.
    """
    shared = train.known() & test.known()
    n_train, n_test = (sum(one in shared for one in side.recordings.values()) for side in (train, test))
    return {
        "train": train.name,
        "test": test.name,
        "comparable": bool(_archives(train.known()) & _archives(test.known())),
        "n_shared_recordings": len(shared),
        "n_train_clips": n_train,
        "n_test_clips": n_test,
        "train_share": n_train / len(train.recordings),
        "test_share": n_test / len(test.recordings),
        "n_train_unknown": train.n_unknown(),
        "n_test_unknown": test.n_unknown(),
        "shared_recordings": sorted(shared, key=lambda recording: (len(recording), recording)),
    }


def leak_rows(train_lists: Sequence[Clips], test_lists: Sequence[Clips]) -> list[dict[str, str]]:
    """Rows of ``leaks.csv``: every test clip, and whether training has its recording.

    A row has ``test``, ``clip``, ``recording`` (empty if not known), ``status`` and ``train`` (the lists that share it,
    joined by ``JOINT``). The status is ``shared``; ``unknown``: the recording is not known, or no training list names
    recordings of its archive; or ``none_found``. A list on both sides is not compared with itself.
    """
    rows = []
    for test in test_lists:
        known = {train.name: train.known() for train in train_lists if not is_same(train, test)}
        archives = _archives(set().union(*known.values()))
        for clip, recording in test.recordings.items():
            sharing = [name for name, recordings in known.items() if recording in recordings]
            compared = recording is not None and _archives([recording]) <= archives
            status = SHARED if sharing else NONE_FOUND if compared else UNKNOWN
            rows.append([test.name, clip, recording or "", status, JOINT.join(sharing)])
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def is_same(train: Clips, test: Clips) -> bool:
    """Whether one list was given on both sides: it would share all clips with itself."""
    return train.name == test.name and train.recordings == test.recordings


def union(name: str, lists: Sequence[Clips]) -> Clips:
    """All clips of several lists of :class:`Clips` as one, so that many training corpora are one side."""
    merged = {(part.name, clip): recording for part in lists for clip, recording in part.recordings.items()}
    return Clips(name, "+".join(dict.fromkeys(part.corpus for part in lists)), merged, {})


def accuracy_without(correct: Any, recordings: Any, statuses: Any, labels: Any, seed: int = 0) -> dict[str, Any]:
    """Accuracy with and without the clips whose recording is in training.

    Arguments
    ---------
    correct : array of bool, shape (B,)
    recordings, statuses, labels : sequence of str, length B. Statuses as in :func:`leak_rows`; labels are class names.
    seed : int. Of the bootstrap.

    Returns
    -------
    dict. ``all``, ``without_shared``, ``without_shared_or_unknown``, ``shared`` and ``unknown`` (see :func:`scored`);
        ``moves_by`` (accuracy without the shared clips minus accuracy with them, or None); ``per_class``.
    """
    correct, statuses = np.asarray(correct, dtype=bool), np.asarray(statuses)
    recordings, labels = np.asarray(recordings), np.asarray(labels)
    lengths = [len(part) for part in (correct, recordings, statuses, labels)]
    if len(set(lengths)) > 1 or not lengths[0]:
        what = "scores, recordings, statuses and labels"
        raise ConfigError(f"{what} have the lengths {lengths}; they must be equal, > 0")
    parts = {
        "all": np.ones(len(correct), dtype=bool),
        "without_shared": statuses != SHARED,
        "without_shared_or_unknown": statuses == NONE_FOUND,
        "shared": statuses == SHARED,
        "unknown": statuses == UNKNOWN,
    }
    found: dict[str, Any] = {name: scored(correct[kept], recordings[kept], seed) for name, kept in parts.items()}
    clean, kept = found["without_shared"], parts["without_shared"]
    return {
        **found,
        "moves_by": None if clean is None else clean["accuracy"] - found["all"]["accuracy"],
        "per_class": {"all": accuracy_by(labels, correct), "without_shared": accuracy_by(labels[kept], correct[kept])},
    }


def scored(correct: Any, recordings: Any, seed: int = 0) -> dict[str, Any] | None:
    """Accuracy of clips, its 95 % intervals over clips and over recordings, and the counts; None without clips."""
    if not len(correct):
        return None
    return {
        "accuracy": float(np.mean(correct)),
        "n_clips": len(correct),
        "n_recordings": len(set(recordings)),
        "interval_95": list(bootstrap_interval(correct, seed=seed)),
        "interval_95_by_recording": list(bootstrap_interval(correct, recordings, seed=seed)),
    }
