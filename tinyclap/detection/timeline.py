"""Write events as they come: CSV, labels for Audacity, JSON Lines."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tinyclap.errors import ConfigError

if TYPE_CHECKING:
    from tinyclap.detection.events import Event

COLUMNS = ("onset_s", "offset_s", "label", "peak_score", "peak_s")
FORMATS = {".csv": "csv", ".txt": "audacity", ".jsonl": "jsonl"}


def kind_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's suffix means; ConfigError where it means none."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: ends in none of {', '.join(FORMATS)} (CSV, Audacity's labels, JSON Lines)")
    return FORMATS[suffix]


class TimelineWriter:
    """Writes events to an open text `file`, each at once: times to the millisecond, scores to six places.

    `kind` is "csv", "audacity" or "jsonl".

    Example
    -------
    >>> import io
    >>> from tinyclap.detection.events import Event
    >>> for kind in ("csv", "audacity", "jsonl"):
    ...     file = io.StringIO()
    ...     TimelineWriter(file, kind).write(Event("dog, barking", 1.25, 3.5, 0.8125, 2.0))
    ...     print(file.getvalue().expandtabs(1), end="")
    onset_s,offset_s,label,peak_score,peak_s
    1.25,3.5,"dog, barking",0.8125,2.0
    1.25 3.5 dog, barking
    {"onset_s": 1.25, "offset_s": 3.5, "label": "dog, barking", "peak_score": 0.8125, "peak_s": 2.0}
    """

    def __init__(self, file: TextIO, kind: str) -> None:
        self._file, self._kind = file, kind
        self._rows = csv.writer(file, lineterminator="\n")
        if kind == "csv":
            self._rows.writerow(COLUMNS)
            file.flush()

    def write(self, event: Event) -> None:
        """Write one event."""
        onset_s, offset_s, peak_s = (round(value, 3) for value in (event.onset_s, event.offset_s, event.peak_s))
        values = [onset_s, offset_s, event.label, round(event.peak_score, 6), peak_s]
        if self._kind == "csv":
            self._rows.writerow(values)
        elif self._kind == "audacity":
            # a tab or line end in a label would begin a new field
            self._file.write(f"{onset_s}\t{offset_s}\t{' '.join(event.label.split())}\n")
        else:
            self._file.write(json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False) + "\n")
        self._file.flush()

    def announce(self, label: str, at_s: float) -> None:
        """Say, among JSON lines, that a label becomes active; its event follows when it is certain."""
        if self._kind == "jsonl":
            self._file.write(json.dumps({"begins": label, "at_s": round(at_s, 3)}, ensure_ascii=False) + "\n")
            self._file.flush()
