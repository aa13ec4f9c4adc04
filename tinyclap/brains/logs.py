"""What a training run logs and shows: exact logs in its folder, means, a progress bar with the loss."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

from tinyclap.files import write_text

STEP_FIELDS = ("epoch", "step", "lr")  # what follows in train_steps.csv are the loss and its terms


class RunLogs:
    """``train_steps.csv`` and ``history.jsonl`` in a `folder`, which append, and lose what a resumed run repeats."""

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
        unfinished = [row for row in rows if int(row["epoch"]) == epoch]
        return [{name: float(row[name]) for name in row if name not in STEP_FIELDS} for row in unfinished]


def _place(line):
    return tuple(int(word) for word in line.split(",")[:2])


class StepLog:
    """Losses of steps, kept on the device and fetched many at a time; `every` is the maximum number kept.

    Example
    -------
    >>> log = StepLog(every=2)
    >>> log.add({"step": 1}, {"loss": torch.tensor(0.5)}), log.add({"step": 2}, {"loss": torch.tensor(0.25)})
    (False, True)
    >>> log.fetch()
    [{'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 0.25}]
    """

    def __init__(self, every=50):
        self.every, self._kept = every, []

    def add(self, known, values):
        """Keep a step: numbers `known` to the host, tensors () on the device. Returns whether to :meth:`fetch` now."""
        self._kept.append((known, list(values), [value.detach().double() for value in values.values()]))
        return len(self._kept) >= self.every

    def fetch(self):
        """All kept steps as dicts of numbers, in order and in one transfer; none is kept any more."""
        kept, self._kept = self._kept, []
        values = [value for _, _, values in kept for value in values]
        numbers = iter(torch.stack(values).tolist() if values else [])
        return [{**known, **{name: next(numbers) for name in names}} for known, names, _ in kept]


class Means:
    """Running means of rows, dicts of name → float."""

    def __init__(self):
        self._sums, self._counts = Counter(), Counter()

    def add(self, row):
        """Count a row."""
        self._sums.update(row)
        self._counts.update(row.keys())

    def values(self):
        """dict of name → mean; empty where nothing was counted."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}


class LossBar(tqdm):
    """A progress bar with the mean loss of the epoch's steps, by `mean_loss` () → float or None, whenever it is drawn.

    The other arguments, `loader` and `options`, are tqdm's.
    """

    def __init__(self, loader, mean_loss, **options):
        self._mean_loss = mean_loss
        super().__init__(loader, **options)

    @property
    def format_dict(self):
        """tqdm's values of the bar, with the loss."""
        loss = self._mean_loss()
        return {**super().format_dict, "postfix": None if loss is None else f"train_loss={loss:.4g}"}


def log_epoch(train_logger, record, **more):
    """Give a `record` of ``history.jsonl``, and `more` numbers, to a TrainLogger of SpeechBrain."""
    stats = {part: record[part] for part in ("train", "valid")}
    steps = getattr(train_logger, "global_step", None)
    if steps is not None:  # TensorBoard's count starts at 0 in every process: a resumed run would draw over its curves
        before = record["epoch"] - 1
        steps.update(meta=before, **{part: dict.fromkeys(names, before) for part, names in stats.items()})
    meta = {"epoch": record["epoch"], "lr": record["lr"], **more}
    train_logger.log_stats(meta, train_stats=stats["train"], valid_stats=stats["valid"], verbose=False)
