"""Losses of training steps, kept on the device and fetched many steps at a time."""

import torch


class StepLog:
    """Values of steps not yet fetched; `every` is the maximum number kept.

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
        if not kept:
            return []
        numbers = iter(torch.stack([value for _, _, values in kept for value in values]).tolist())
        return [{**known, **{name: next(numbers) for name in names}} for known, names, _ in kept]


class Means:
    """Running means by name.

    Example
    -------
    >>> means = Means()
    >>> for loss in (1.0, 3.0):
    ...     means.add({"loss": loss})
    >>> means.values()
    {'loss': 2.0}
    """

    def __init__(self):
        self._sums = {}  # name → (sum, number)

    def add(self, row):
        """Count a row, dict of name → float."""
        for name, value in row.items():
            total, number = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, number + 1

    def values(self):
        """dict of name → mean; empty where nothing was counted."""
        return {name: total / number for name, (total, number) in self._sums.items()}
