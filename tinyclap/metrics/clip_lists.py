"""Lists of clips, each with the recording that it was cut from: what a leak report compares.

Most sound corpora are cut from the same archives. A clip's *recording* is where it was cut from: ``freesound:117790``
or ``youtube:7fmOlUlwoNg``. Two clips of one recording share speaker, place and device, often the very samples, whatever
their file names say. A clip whose recording is not known is counted as unknown, never as clean.

Sources of the layouts: the tables and file names that the corpora publish (see ``data_prep``).
"""

import csv
import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError

FREESOUND, YOUTUBE = "freesound", "youtube"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# What a table is called by the columns that no other table has: (corpus, clip, id, archive).
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

    def describe(self):
        """What the list is, JSON-able: corpus, clips, recordings, clips without one, and the file's facts."""
        known = [recording for recording in self.recordings.values() if recording]
        return {
            "name": self.name,
            "corpus": self.corpus,
            "n_clips": len(self.recordings),
            "n_recordings": len(set(known)),
            "n_unknown": len(self.recordings) - len(known),
            "archives": sorted({archive_of(recording) for recording in known}),
            **self.facts,
        }


def archive_of(recording):
    """The archive of a recording: ``"freesound:1"`` → ``"freesound"``."""
    return recording.partition(":")[0]


def recording_of(clip, any_digits=False):
    """The recording that a published file name tells, or None.

    Arguments
    ---------
    clip : str
        File name or id of a clip, with or without folder and suffix.
    any_digits : bool
        Take a name of digits alone for a Freesound id, as FSD50K's are.

    Returns
    -------
    str or None

    Example
    -------
    >>> recording_of("1-100032-A-0.wav"), recording_of("100032-3-0-0"), recording_of("64760", True)
    ('freesound:100032', 'freesound:100032', 'freesound:64760')
    >>> recording_of("64760") is None
    True
    """
    name = Path(clip)
    stem = name.stem if name.suffix.lower() in AUDIO_SUFFIXES else name.name
    patterns = [pattern for _, pattern in NAMES] + ([_BARE_ID] if any_digits else [])
    found = next((match for match in (pattern.fullmatch(stem) for pattern in patterns) if match), None)
    return f"{FREESOUND}:{found['id']}" if found else None


def read_clips(name, path, folds=None):
    """The clips of a manifest, of a published table or of a folder of audio, each with its recording.

    Arguments
    ---------
    name : str
        What the report calls it.
    path : str or os.PathLike
        A manifest (JSON); ``esc50.csv``, ``UrbanSound8K.csv``, ``clotho_metadata_*.csv``, ``clotho_captions_*.csv``
        (with the metadata beside it, if there), FSD50K's ``dev.csv`` and ``eval.csv``, AudioCaps' and AudioSet's lists;
        or a folder whose file names are those of ESC-50, UrbanSound8K or FSD50K.
    folds : collection of str, optional
        Take these folds alone.

    Returns
    -------
    Clips

    Raises
    ------
    ConfigError
        There is no such file, nothing in it names recordings, or it has no such folds.
    tinyclap.errors.ManifestError
        A manifest that is not whole.
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
        wanted = {str(fold) for fold in folds}
        missing = sorted(wanted - {fold for _, _, fold in rows})
        if missing:
            found = ", ".join(sorted({fold for _, _, fold in rows if fold})) or "none"
            raise ConfigError(f"{name}: {path} has no fold {', '.join(missing)}; its folds are: {found}")
        rows = [row for row in rows if row[2] in wanted]
        facts = {**facts, "folds": sorted(wanted)}
    recordings = {}
    for clip, recording, _ in rows:  # a list may name a clip twice, once a caption
        recordings[clip] = recordings.get(clip) or recording
    if not recordings:
        raise ConfigError(f"{name}: {path} lists no clip")
    return Clips(name, corpus, recordings, facts)


def fingerprint(path):
    """SHA-256 of a file, for a report that says which table it read."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _from_folder(name, path):
    """Clips of a folder of audio; folds as UrbanSound8K's folders and ESC-50's names have them."""
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ConfigError(f"{name}: no audio in {path} ({', '.join(AUDIO_SUFFIXES)})")
    corpora = {corpus for file in files for corpus, pattern in NAMES if pattern.fullmatch(file.stem)}
    rows = []
    for file in files:
        fold = re.fullmatch(r"fold(\d+)", file.parent.name)
        esc50 = NAMES[0][1].fullmatch(file.stem)
        rows.append((file.stem, recording_of(file.stem, True), fold[1] if fold else file.stem[0] if esc50 else None))
    return "+".join(sorted(corpora)) or "audio folder", rows, {"kind": "folder"}


def _from_manifest(path):
    """Clips of a manifest of ours."""
    manifest = read_manifest(path, ".")
    corpus = manifest.meta["dataset"]
    rows = [(item["id"], _item_recording(corpus, item), str(item.get("fold", "")) or None) for item in manifest.items]
    kept = ("split", "options", "options_hash")
    return corpus, rows, {"kind": "manifest", "sha256": fingerprint(path), **{key: manifest.meta[key] for key in kept}}


def _item_recording(corpus, item):
    """The recording of a manifest's item; AudioCaps' are cut from videos, whose ids are their groups."""
    if item.get("freesound_id"):
        return f"{FREESOUND}:{item['freesound_id']}"
    if corpus == "audiocaps" and item.get("group"):
        return f"{YOUTUBE}:{item['group']}"
    return recording_of(item["id"])


def _from_table(name, path):
    """Clips of a published table, told by its columns."""
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
    table = list(reader)
    if corpus == "clotho":
        return corpus, _clotho_rows(path, table), facts
    if corpus == "clotho captions":
        return _clotho_captions(name, path, table, facts)
    if corpus in ("fsd50k", "audiocaps"):  # a clip is called by the id of its recording
        id_column = clip_column
    rows = [
        (_clip_name(row[clip_column]), _recording(archive, row[id_column]), row.get("fold") or None) for row in table
    ]
    return corpus, rows, facts


def _clip_name(file_name):
    """A clip as manifests call it: its file name without the suffix of audio."""
    name = file_name.strip()
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in AUDIO_SUFFIXES else name


def _recording(archive, cell):
    """A recording from a cell of a table; Clotho says "Not found" where it knows none."""
    cell = (cell or "").strip()
    return f"{archive}:{cell}" if cell and (archive != FREESOUND or cell.isdigit()) else None


def _clotho_rows(path, table):
    """Clips of a split of Clotho as manifests call them, ``split/file_name``: names repeat across splits."""
    split = path.stem.rpartition("_")[2]
    return [(f"{split}/{row['file_name']}", _recording(FREESOUND, row.get("sound_id")), None) for row in table]


def _clotho_captions(name, path, table, facts):
    """All clips of a split of Clotho, with the ids that the metadata beside the captions know."""
    metadata = path.with_name(path.name.replace("captions", "metadata"))
    known = {}
    if metadata.is_file() and metadata != path:
        _, rows, _ = _from_table(name, metadata)
        known = {clip: recording for clip, recording, _ in rows}
        facts = {**facts, "metadata_sha256": fingerprint(metadata)}
    return "clotho", [(clip, known.get(clip), None) for clip, _, _ in _clotho_rows(path, table)], facts
