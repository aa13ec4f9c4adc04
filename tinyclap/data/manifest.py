"""The manifest format: the recordings of a corpus' split.

A JSON file of two parts. ``_meta``: ``dataset``, ``version``, ``split``, ``classes`` (in evaluation order; empty if
there are none), ``options`` (of the preparation) with ``options_hash``, ``code_version``, ``n_items``, and facts of the
corpus (``n_expected``, ``n_present``, …). ``items`` maps a unique id to ``wav`` (``{data_root}/…``), ``duration_s``,
``sample_rate_hz``, ``n_channels``, and, where known, ``label``, ``fold``, ``captions``, ``freesound_id`` (a string of
digits), ``group`` (shared by recordings of one place or source).
"""

import os
from pathlib import Path
from typing import NamedTuple

from tinyclap.errors import ManifestError
from tinyclap.files import read_json, sha256_of_json, write_json

DATA_ROOT = "{data_root}"
_META_KEYS = {"dataset": str, "version": str, "split": str, "classes": list, "options": dict, "code_version": str}


class Manifest(NamedTuple):
    """A manifest as read: ``meta`` (dict) and ``items`` (list of dict with ``id`` and an absolute ``wav`` Path)."""

    meta: dict
    items: list


def write_manifest(path, items, meta):
    """Validate a manifest of `items` and `meta`, complete it and write it atomically (``<dataset>_<split>.json``)."""
    path, meta = Path(path), {**meta, "n_items": len(items)}
    _check(meta, items, f"{path.name} is not written")
    meta["options_hash"] = options_hash(meta["dataset"], meta["options"], meta["code_version"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"_meta": meta, "items": items})


def read_manifest(path, data_root):
    """Read a whole manifest; paths are joined to `data_root`, the corpus' folder here. Recordings are not opened."""
    content = read_json(path, "prepare the corpus (data_prep/<corpus>_prepare.py)", ManifestError, object)
    meta, items = [content.get(name) if isinstance(content, dict) else None for name in ("_meta", "items")]
    if not isinstance(meta, dict) or not isinstance(items, dict):
        raise ManifestError(f"{path} is JSON, but no manifest: it lacks `_meta` and `items`")
    _check(meta, items, f"{path} is not a whole manifest; delete it and prepare again")
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    paths = {key: root / item["wav"].removeprefix(f"{DATA_ROOT}/") for key, item in items.items()}
    return Manifest(meta, [{**item, "id": key, "wav": paths[key]} for key, item in items.items()])


def options_hash(dataset, options, code_version):
    """Fingerprint of what decides the contents of a manifest: 16 hexadecimal digits."""
    return sha256_of_json([dataset, options, code_version])[:16]


def _check(meta, items, what):
    """Raise a ManifestError of the first five items and facts that are missing or wrong."""
    wrong = {key: kind.__name__ for key, kind in _META_KEYS.items() if not isinstance(meta.get(key), kind)}
    problems = [f"_meta.{key} is {meta.get(key)!r}, not a {kind}" for key, kind in wrong.items()]
    classes = set(meta.get("classes") or [])
    if len(classes) != len(meta.get("classes") or []):
        problems.append("_meta.classes names a class twice")
    if not items:
        problems.append("there are no items")
    for key, item in items.items():
        problems += [f"item {key!r}: {problem}" for problem in _item_problems(item, classes)]
    if meta.get("n_items") != len(items):
        problems.append(f"_meta says {meta.get('n_items')} items, {len(items)} are there")
    if problems:
        shown, more = "\n  - ".join(problems[:5]), f"\n  … and {len(problems) - 5} more" if problems[5:] else ""
        raise ManifestError(f"{what}; {len(problems)} problem(s):\n  - {shown}{more}")


def _item_problems(item, classes):
    if not isinstance(item, dict):
        yield f"is {item!r}, not an object"
        return
    wav = item.get("wav")
    if not isinstance(wav, str) or not wav.startswith(DATA_ROOT + "/"):
        yield f"wav is {wav!r}, which does not begin with {DATA_ROOT}/"
    elif ".." in Path(wav).parts or os.path.isabs(wav.removeprefix(f"{DATA_ROOT}/")):
        yield f"wav {wav!r} leaves the data root"
    for key, kind in (("duration_s", (int, float)), ("sample_rate_hz", int), ("n_channels", int)):
        value = item.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value < float("inf"):
            yield f"{key} is {value!r}, not a number above zero"
    if "label" in item and item["label"] not in classes:
        yield f"label {item['label']!r} is not in _meta.classes"
    captions = item.get("captions", ["none is known"])
    if not isinstance(captions, list) or not captions:
        yield "captions is not a list of at least one"
    elif not all(isinstance(caption, str) and caption.strip() for caption in captions):
        yield "a caption is empty"
