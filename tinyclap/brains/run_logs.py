"""The exact logs of a training run: ``train_steps.csv`` and ``history.jsonl`` in its folder."""

import csv
import io
import json
from pathlib import Path

from tinyclap.files import write_text

STEP_FIELDS = ("epoch", "step", "lr")  # what follows in train_steps.csv are the loss and its terms


class RunLogs:
    """Full-precision logs in a run's `folder`, which append, and lose what a resumed run repeats."""

    def __init__(self, folder):
        self.steps, self.history = Path(folder) / "train_steps.csv", Path(folder) / "history.jsonl"

    def add_steps(self, rows):
        """Append steps, dicts of column → number, to ``train_steps.csv``."""
        is_new = not self.steps.exists() or self.steps.stat().st_size == 0
        with open(self.steps, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            if is_new:
                writer.writeheader()
            writer.writerows(rows)

    def add_epoch(self, record):
        """Append an epoch, a dict, to ``history.jsonl``."""
        with open(self.history, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def truncate(self, epoch, step):
        """Drop what was logged after a checkpoint; returns the losses of its unfinished epoch, a list of dict.

        The checkpoint is that after `step` of `epoch`, or, with `step` 0, after the end of `epoch`.
        """
        rows = []
        if self.steps.exists():
            head, *lines = self.steps.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
            lines = [line for line in lines if line.endswith("\n") and _place(line) <= (epoch, step or float("inf"))]
            write_text(self.steps, "".join([head, *lines]))
            rows = [row for row in csv.DictReader(io.StringIO(head + "".join(lines))) if step]
        if self.history.exists():
            n_done = epoch - 1 if step else epoch
            lines = [line for line in self.history.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            write_text(self.history, "".join(f"{line}\n" for line in lines if json.loads(line)["epoch"] <= n_done))
        return [
            {name: float(value) for name, value in row.items() if name not in STEP_FIELDS}
            for row in rows
            if int(row["epoch"]) == epoch
        ]


def _place(line):
    return tuple(int(word) for word in line.split(",")[:2])
