"""``predictions.csv`` of a classification, read back: label, prediction and recording of each clip."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path
from tinyclap.metrics.leakage import recording_of

NEEDED = ("id", "label", "prediction")
SCORE = "score:"


class Predictions(NamedTuple):
    """One row a clip: ``ids``, ``folds``, ``labels``, ``answers``, ``recordings`` (arrays of str) and ``classes``.

    ``classes`` is the tuple of classes in the order of the scores, empty where the file has none; ``grouped_by`` names
    the source of the recordings.
    """

    ids: np.ndarray
    folds: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    recordings: np.ndarray
    classes: tuple
    grouped_by: str

    @property
    def correct(self) -> np.ndarray:
        """Which answers are right: array of bool, (B,)."""
        return self.labels == self.answers

    def at(self, places: Any) -> Predictions:
        """The clips at some places, in that order."""
        kept: Any = {name: rows[places] for name, rows in self._asdict().items() if isinstance(rows, np.ndarray)}
        return self._replace(**kept)


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read the ``predictions.csv`` of a classification, or of the folder that has it: :class:`Predictions`.

    Recordings are the groups of the test manifest beside the file; else those that published file names hold; else each
    clip is its own.
    """
    path = Path(path)
    path = path / "predictions.csv" if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"no {path}; score a model first (evaluate.py), and give its output folder")
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = [name for name in NEEDED if name not in columns]
        if missing:
            raise ConfigError(f"{path} lacks {', '.join(missing)}: it holds no classification of clips")
        rows = list(reader)
    ids = [row["id"] for row in rows]
    if not rows or len(set(ids)) != len(ids):
        raise ConfigError(f"{path} names {'a clip twice' if rows else 'no clip'}; score the model again")
    groups, grouped_by = _recordings(path.parent, ids)
    texts = [[row.get(name) or "" for row in rows] for name in ("id", "fold", "label", "prediction")]
    classes = tuple(name.removeprefix(SCORE) for name in columns if name.startswith(SCORE))
    clips, folds, labels, answers = map(np.array, texts)
    return Predictions(clips, folds, labels, answers, np.array(groups), classes, grouped_by)


def _recordings(folder, ids):
    """The recording of each clip, and the source of that knowledge."""
    for path in sorted(folder.glob("*_test.json")):
        items = {item["id"]: item for item in read_manifest(path, ".").items}
        if set(ids) <= set(items):
            return [str(items[clip].get("group") or items[clip].get("freesound_id") or clip) for clip in ids], path.name
    named = [recording_of(clip) for clip in ids]
    return (named, "file names") if all(named) else (ids, "clips: no recordings are known")


def write_table(path: str | os.PathLike[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV atomically from rows, the head first; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def percent_interval(ends: Sequence[float]) -> str:
    """The ends of an interval in [0, 1] as percent, e.g. ``50.00 to 62.51``."""
    return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f}"
