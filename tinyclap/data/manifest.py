"""The manifest format: the recordings of a corpus' split.

A JSON file of two parts. ``_meta``: ``dataset``, ``version``, ``split``, ``classes`` (in evaluation order; empty if
there are none), ``options`` (of the preparation) with ``options_hash``, ``code_version``, ``n_items``, and facts of the
corpus (``n_expected``, ``n_present``, …). ``items`` maps a unique id to ``wav`` (``{data_root}/…``), ``duration_s``,
``sample_rate_hz``, ``n_channels``, and, where known, ``label``, ``fold``, ``captions``, ``freesound_id`` (a string of
digits), ``group`` (shared by recordings of one place or source).
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from tinyclap.errors import ManifestError
from tinyclap.files import read_json, write_json

DATA_ROOT = "{data_root}"
_META_KEYS = {"dataset": str, "version": str, "split": str, "classes": list, "options": dict, "code_version": str}
_N_SHOWN = 5


class Manifest(NamedTuple):
    """A manifest as read: ``meta`` (dict) and ``items`` (list of dict with ``id`` and an absolute ``wav`` Path)."""

    meta: dict
    items: list


def write_manifest(path, items, meta):
    """Validate a manifest and write it atomically to `path` (``<dataset>_<split>.json``).

    `items` and `meta` are as described above; ``n_items`` and ``options_hash`` are added to `meta`.

    A ManifestError names the first five items with something missing or wrong.

    Example
    -------
    >>> import tempfile
    >>> meta = {"dataset": "toy", "version": "1", "split": "test", "classes": ["dog"]}
    >>> meta |= {"options": {}, "code_version": "1"}
    >>> item = {"wav": "{data_root}/a.wav", "duration_s": 1.0, "sample_rate_hz": 8000, "n_channels": 1, "label": "dog"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_manifest(f"{folder}/toy_test.json", {"a": item}, meta)
    ...     read_manifest(f"{folder}/toy_test.json", "/corpora/toy").items[0]["wav"].as_posix()
    '/corpora/toy/a.wav'
    """
    path = Path(path)
    meta = {**meta, "n_items": len(items)}
    problems = _problems(meta, items)
    if problems:
        raise ManifestError(_message(f"{path.name} is not written", problems))
    meta["options_hash"] = options_hash(meta["dataset"], meta["options"], meta["code_version"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"_meta": meta, "items": items})


def read_manifest(path, data_root):
    """Read a whole manifest; paths are joined to `data_root`, the corpus' folder here. Recordings are not opened."""
    path = Path(path)
    meta, items = _load(path)
    problems = _problems(meta, items)
    if meta.get("n_items") != len(items):
        problems.append(f"_meta says {meta.get('n_items')} items, {len(items)} are there")
    if problems:
        raise ManifestError(_message(f"{path} is not a whole manifest; delete it and prepare again", problems))
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    return Manifest(meta, [{**item, "id": key, "wav": root / _relative(item["wav"])} for key, item in items.items()])


def is_current(path, dataset, options, code_version=None):
    """Whether a complete manifest of this dataset, made with these options, exists.

    Arguments
    ---------
    path, dataset, options : str or os.PathLike, str, and dict of JSON values
    code_version : str or None. None accepts the one in the file.
    """
    try:
        meta, items = _load(Path(path))
    except ManifestError:
        return False
    wanted = options_hash(dataset, options, meta.get("code_version") if code_version is None else code_version)
    return meta.get("options_hash") == wanted and meta.get("n_items") == len(items)


def options_hash(dataset, options, code_version):
    """Fingerprint of what decides the contents of a manifest: 16 hexadecimal digits."""
    text = json.dumps([dataset, options, code_version], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(path):
    content = read_json(path, "prepare the corpus (data_prep/<corpus>_prepare.py)", ManifestError, object)
    parts = [content.get(name) if isinstance(content, dict) else None for name in ("_meta", "items")]
    if not all(isinstance(part, dict) for part in parts):
        raise ManifestError(f"{path} is JSON, but no manifest: it lacks `_meta` and `items`")
    return parts


def _relative(wav):
    return wav[len(DATA_ROOT) + 1 :]


def _problems(meta, items):
    problems = [
        f"_meta.{key} is {meta.get(key)!r}, not a {kind.__name__}"
        for key, kind in _META_KEYS.items()
        if not isinstance(meta.get(key), kind)
    ]
    classes = meta.get("classes") or []
    if len(set(classes)) != len(classes):
        problems.append("_meta.classes names a class twice")
    if not items:
        problems.append("there are no items")
    known = set(classes)
    for key, item in items.items():
        problems += [f"item {key!r}: {problem}" for problem in _item_problems(item, known)]
    return problems


def _item_problems(item, classes):
    if not isinstance(item, dict):
        yield f"is {item!r}, not an object"
        return
    wav = item.get("wav")
    if not isinstance(wav, str) or not wav.startswith(DATA_ROOT + "/"):
        yield f"wav is {wav!r}, which does not begin with {DATA_ROOT}/"
    elif ".." in Path(_relative(wav)).parts or os.path.isabs(_relative(wav)):
        yield f"wav {wav!r} leaves the data root"
    for key, kind in (("duration_s", (int, float)), ("sample_rate_hz", int), ("n_channels", int)):
        value = item.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value < float("inf"):
            yield f"{key} is {value!r}, not a number above zero"
    if "label" in item and item["label"] not in classes:
        yield f"label {item['label']!r} is not in _meta.classes"
    if "captions" in item:
        captions = item["captions"]
        if not isinstance(captions, list) or not captions:
            yield "captions is not a list of at least one"
        elif not all(isinstance(caption, str) and caption.strip() for caption in captions):
            yield "a caption is empty"


def _message(head, problems):
    lines = [f"{head}; {len(problems)} problem(s):", *(f"  - {problem}" for problem in problems[:_N_SHOWN])]
    if len(problems) > _N_SHOWN:
        lines.append(f"  … and {len(problems) - _N_SHOWN} more")
    return "\n".join(lines)
