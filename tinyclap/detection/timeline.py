"""Events as text, one by one: CSV, labels for Audacity, JSON lines."""

import csv
import io
import json
from pathlib import Path

from tinyclap.errors import ConfigError

COLUMNS = ("onset_s", "offset_s", "label", "peak_score", "peak_s")
FORMATS = {".csv": "csv", ".txt": "audacity", ".jsonl": "jsonl"}


def event_line(event, kind):
    """One event as a line, with its end.

    Arguments
    ---------
    event : tinyclap.detection.events.Event
    kind : {"csv", "audacity", "jsonl"}

    Returns
    -------
    str

    Example
    -------
    >>> from tinyclap.detection.events import Event
    >>> event_line(Event("dog, barking", 1.25, 3.5, 0.8125, 2.0), "csv")
    '1.250,3.500,"dog, barking",0.812500,2.000\\n'
    >>> event_line(Event("dog", 1.25, 3.5, 0.8125, 2.0), "audacity")
    '1.250000\\t3.500000\\tdog\\n'
    """
    numbers = f"{event.onset_s:.3f}", f"{event.offset_s:.3f}", f"{event.peak_score:.6f}", f"{event.peak_s:.3f}"
    onset, offset, score, peak = numbers
    if kind == "csv":
        return _csv_line([onset, offset, event.label, score, peak])
    if kind == "audacity":
        label = " ".join(event.label.split())  # a tab or line end would begin a new field
        return f"{event.onset_s:.6f}\t{event.offset_s:.6f}\t{label}\n"
    values = [float(onset), float(offset), event.label, float(score), float(peak)]
    return json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False) + "\n"


def head_line(kind):
    """What stands above the first event: the names of the columns of a CSV file, else nothing."""
    return _csv_line(COLUMNS) if kind == "csv" else ""


def kind_of(path):
    """The format that a file's suffix means.

    Raises
    ------
    ConfigError
        It means none.

    Example
    -------
    >>> kind_of("timeline.txt")
    'audacity'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: ends in none of {', '.join(FORMATS)} (CSV, Audacity's labels, JSON lines)")
    return FORMATS[suffix]


class TimelineWriter:
    """Writes events to an open file as they come, each at once.

    Arguments
    ---------
    file : text file
    kind : {"csv", "audacity", "jsonl"}
    """

    def __init__(self, file, kind):
        self._file, self._kind = file, kind
        self._write(head_line(kind))

    def write(self, event):
        """Write one event."""
        self._write(event_line(event, self._kind))

    def _write(self, text):
        self._file.write(text)
        self._file.flush()


def _csv_line(values):
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
