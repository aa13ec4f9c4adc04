"""What the preparation of every corpus shares: finding the tree, reading tables and headers, one error, one manifest.

Each script takes the same six steps: 1 constants, 2 nothing if unchanged, 3 the tree, 4 items from metadata and
headers, 5 validation, 6 one atomic write. Steps 3 to 5 collect what is wrong and raise once.
"""

import csv
import hashlib
import io
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from tinyclap.audio.io import probe
from tinyclap.data.manifest import DATA_ROOT, options_hash, read_manifest, write_manifest
from tinyclap.errors import AudioError, ConfigError, DataLayoutError, ManifestError

LOGGER = logging.getLogger("data_prep")
SUBSETS = (None, "listed", "present")
_N_OF_A_KIND = 10
_N_THREADS = 8


class Corpus(NamedTuple):
    """Facts of a corpus that its errors and manifests need.

    Fields: ``dataset`` (name in file names), ``title`` (name in messages), ``version``, ``page`` (where to get it),
    ``licence``, ``tree`` (the published layout, drawn).
    """

    dataset: str
    title: str
    version: str
    page: str
    licence: str
    tree: str


def check_choice(name, value, choices):
    """Raise a ConfigError if an option is none of its choices."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; it can be {', '.join(repr(choice) for choice in choices)}")


def check_folds(folds, published):
    """Sorted list of the folds asked for; None means all published ones.

    Example
    -------
    >>> check_folds(["3", 1], range(1, 6))
    [1, 3]
    """
    if folds is None:
        return list(published)
    try:
        wanted = sorted({int(fold) for fold in ([folds] if isinstance(folds, (int, str)) else folds)})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"folds are {folds!r}; give a list of numbers of {list(published)}") from error
    unknown = [fold for fold in wanted if fold not in published]
    if unknown or not wanted:
        raise ConfigError(f"folds are {wanted}; the corpus has {list(published)}")
    return wanted


def count_problems(what, found, published):
    """A list of one problem if a count is not the published one, else an empty list."""
    if found == published:
        return []
    return [f"{what}: {found}, published are {published} (subset='listed' takes what is there, for who has a part)"]


class Preparation:
    """One corpus being prepared: where it lies, what was asked, and the six steps' common parts.

    Arguments
    ---------
    corpus : Corpus
    code : str or sequence of str
        ``__file__`` of the corpus' script, and of what else decides the manifest: an edit there makes it anew.
    data_folder : str or os.PathLike
        As the user gave it; ``{data_root}`` stands for it.
    folder_name : str
        Name under which the published archive unpacks: the corpus may lie in a folder of that name inside.
    marker : str
        A path that only the corpus' own folder has.
    """

    def __init__(self, corpus, code, data_folder, folder_name, marker):
        self.corpus = corpus
        self.data_folder = Path(os.path.abspath(Path(data_folder).expanduser()))
        inside = self.data_folder / folder_name
        here = (self.data_folder / marker).exists() or not (inside / marker).exists()
        self.root = self.data_folder if here else inside
        self.code_version = digest_of([*([code] if isinstance(code, str) else code), __file__])
        self.manifest = None
        self.split = None
        self.options = {}
        self.facts = {}

    def error(self, problems):
        """The one error that lists everything that is wrong."""
        corpus = self.corpus
        return DataLayoutError(corpus.title, self.root, list(problems), corpus.tree, corpus.page)

    def unchanged(self, manifest_folder, split, options, tables=(), audio_folders=()):
        """Step 2: whether the manifest of these options, this code and these files on disk is already there.

        Arguments
        ---------
        manifest_folder : str or os.PathLike
        split : str
            Ends the manifest's name.
        options : dict
            JSON values: what decides the contents.
        tables, audio_folders : sequence of str
            Files that are read, and folders of recordings, relative to the corpus' folder.
        """
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(split)):
            raise ConfigError(f"split is {split!r}; use letters, digits, `_`, `-` and `.` alone")
        self.split = str(split)
        self.manifest = Path(manifest_folder) / f"{self.corpus.dataset}_{split}.json"
        place = Path(os.path.relpath(self.root, self.data_folder)).as_posix()
        self.options = {**options, "place": place, "inputs": fingerprint(self.root, tables, audio_folders)}
        wanted = options_hash(self.corpus.dataset, self.options, self.code_version)
        try:
            is_current = read_manifest(self.manifest, self.root).meta.get("options_hash") == wanted
        except ManifestError:
            return False
        if is_current:
            LOGGER.info("%s: unchanged", self.manifest)
        return is_current

    def require_tree(self, paths):
        """Step 3: raise a DataLayoutError that lists every required path that is missing."""
        if not self.root.is_dir():
            raise self.error(["the folder does not exist"])
        missing = [f"missing: {path}" for path in paths if not (self.root / path).exists()]
        if missing:
            there = sorted(entry.name for entry in self.root.iterdir())[:8]
            raise self.error([*missing, f"found in the folder: {', '.join(there) if there else 'nothing'}"])

    def read_table(self, table, columns, delimiter=","):
        """Rows of a published table as dicts; a column that is missing or a ragged row raises.

        UTF-8, else Latin-1: published tables are either.
        """
        reader = csv.DictReader(io.StringIO(read_text(self.root / table), newline=""), delimiter=delimiter)
        names = reader.fieldnames or []
        missing = [column for column in columns if column not in names]
        if missing:
            found = ", ".join(names) or "none"
            raise self.error([f"{table} lacks the column(s) {', '.join(missing)}; it has {found}"])
        rows = list(reader)
        ragged = [number for number, row in enumerate(rows, 2) if None in row or None in row.values()]
        if ragged:
            raise self.error([f"{table}: row {number} has more or fewer cells than its header" for number in ragged])
        return rows

    def build_items(self, rows, subset=None, check_audio=True, problems=()):
        """Steps 4 and 5: an item for each row whose recording is there, its header read; or one error.

        Arguments
        ---------
        rows : dict of str to dict
            Id to the item's facts, with ``path`` (absolute) for the recording; facts that are None are left out.
        subset : None, "listed" or "present"
            "present" leaves out the rows whose recording is missing; otherwise each is a problem.
        check_audio : bool
            False leaves out the recordings that cannot be read, and counts them; True makes each a problem.
        problems : iterable of str
            What was found wrong so far.

        Returns
        -------
        dict of str to dict
            Items of a manifest; ``facts`` of this object then has n_expected, n_present and n_unreadable.

        Raises
        ------
        DataLayoutError
            Lists everything that is wrong.
        """
        problems = list(problems)
        folders = {row["path"].parent for row in rows.values()}
        listings = {folder: set(os.listdir(folder)) for folder in folders if folder.is_dir()}
        present = {key: row for key, row in rows.items() if row["path"].name in listings.get(row["path"].parent, ())}
        if subset != "present":
            absent = [row["path"] for key, row in rows.items() if key not in present]
            missing = [f"missing: {os.path.relpath(path, self.root)}" for path in absent]
            problems += abridged(missing, "recordings are missing")
        infos, unreadable = _probe_all(present)
        if check_audio:
            problems += abridged([f"unusable: {problem}" for problem in unreadable.values()], "recordings are unusable")
        elif unreadable:
            LOGGER.warning("%s: %d unreadable recordings are left out", self.corpus.title, len(unreadable))
        if not infos and not problems:
            problems.append(f"none of the {len(rows)} recordings that are asked for is there")
        if problems:
            raise self.error(problems)
        self.facts = {"n_expected": len(rows), "n_present": len(infos), "n_unreadable": len(unreadable)}
        return {key: self._item(rows[key], info) for key, info in infos.items()}

    def _item(self, row, info):
        place = Path(os.path.relpath(row["path"], self.data_folder)).as_posix()
        header = {
            "wav": f"{DATA_ROOT}/{place}",
            "duration_s": round(info.duration_s, 6),
            "sample_rate_hz": info.sample_rate_hz,
            "n_channels": info.n_channels,
        }
        return {**header, **{key: value for key, value in row.items() if key != "path" and value is not None}}

    def write(self, items, classes=(), **facts):
        """Step 6: write the manifest at once, and log what it holds."""
        corpus = self.corpus
        meta = {"dataset": corpus.dataset, "version": corpus.version, "split": self.split, "classes": list(classes)}
        meta |= {"options": self.options, "code_version": self.code_version}
        meta |= {"licence": corpus.licence, "page": corpus.page, **self.facts, **facts}
        write_manifest(self.manifest, items, meta)
        LOGGER.info("%s: %s", self.manifest, ", ".join(_counts(items, meta)))


def _counts(items, meta):
    """What a manifest holds, in words."""
    yield f"{len(items)} of {meta.get('n_expected', len(items))} clips"
    yield f"{sum(item['duration_s'] for item in items.values()) / 3600:.2f} h"
    if meta["classes"]:
        yield f"{len(meta['classes'])} classes"
    folds = sorted({item["fold"] for item in items.values() if "fold" in item})
    if folds:
        yield f"folds {' '.join(map(str, folds))}"
    n_captions = sum(len(item.get("captions", ())) for item in items.values())
    if n_captions:
        yield f"{n_captions} captions"


def fingerprint(root, tables, audio_folders):
    """Digest of what is on disk: the tables' contents, the recordings' names and sizes; 16 hexadecimal digits.

    It makes a manifest stale when the corpus changes under it (a clip is fetched, a table corrected), at the price of
    one listing of the folders.
    """
    digest = hashlib.sha256()
    for table in tables:
        path = Path(root) / table
        digest.update(f"{table} ".encode() + (path.read_bytes() if path.is_file() else b"absent"))
    for folder in audio_folders:
        path = Path(root) / folder
        entries = os.scandir(path) if path.is_dir() else ()
        listing = sorted(f"{entry.name} {entry.stat().st_size}" for entry in entries if entry.is_file())
        digest.update("\n".join([str(folder), *listing]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def digest_of(paths):
    """Digest of the contents of files, 12 hexadecimal digits."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()[:12]


def read_text(path):
    """Text of a published table: UTF-8, with or without its mark, else Latin-1."""
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def abridged(problems, what):
    """All problems of one kind if they are few, else the first five and the total."""
    if len(problems) <= _N_OF_A_KIND:
        return problems
    return [*problems[:5], f"… {len(problems)} {what} in all"]


def verify_archives(corpus, folder, checksums):
    """Compare the published archives in a folder with their md5.

    Arguments
    ---------
    corpus : Corpus
    folder : str or os.PathLike
        Where the archives were fetched to.
    checksums : dict of str to str
        File name to md5. Archives that are not there are named in the log: who unpacked and deleted them did no wrong.

    Raises
    ------
    DataLayoutError
        One or more differ, or none is there.
    """
    folder = Path(folder).expanduser()
    here = {name: md5 for name, md5 in checksums.items() if (folder / name).is_file()}
    problems = [] if here else [f"no archive to verify; known are: {', '.join(checksums)}"]
    for name, md5 in here.items():
        with open(folder / name, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            problems.append(f"{name} has md5 {found}, published is {md5}; fetch it again")
    if problems:
        raise DataLayoutError(corpus.title, folder, problems, corpus.tree, corpus.page)
    absent = [name for name in checksums if name not in here]
    LOGGER.info("%s: %d archives verified; not there: %s", corpus.title, len(here), ", ".join(absent) or "none")


def _probe_all(rows):
    """Headers of all recordings: id to AudioInfo, and id to what is wrong."""

    def look(key):
        try:
            return key, probe(rows[key]["path"]), None
        except AudioError as error:
            return key, None, f"{rows[key]['path'].name} {error.problem}"

    with ThreadPoolExecutor(_N_THREADS) as pool:
        results = list(tqdm(pool.map(look, rows), "headers", len(rows), delay=2, disable=None, leave=False))
    infos = {key: info for key, info, _ in results if info is not None}
    return infos, {key: problem for key, _, problem in results if problem is not None}
