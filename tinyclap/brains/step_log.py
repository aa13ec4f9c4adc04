"""What training steps gave, kept on the device and fetched many steps at a time: the host never waits for one step."""

import torch


class StepLog:
    """Values of steps that the host has not asked for yet.

    Arguments
    ---------
    every : int. How many steps are kept at most.

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
        """Keep a step.

        Arguments
        ---------
        known : dict. What the host knows: name → number.
        values : dict. What the device knows: name → tensor of shape ().

        Returns
        -------
        bool. Whether it is time to :meth:`fetch`.
        """
        self._kept.append((known, list(values), [value.detach().double() for value in values.values()]))
        return len(self._kept) >= self.every

    def fetch(self):
        """All steps kept, in order, as dicts of numbers, in one transfer; none of them is kept any more."""
        kept, self._kept = self._kept, []
        if not kept:
            return []
        numbers = iter(torch.stack([value for _, _, values in kept for value in values]).tolist())
        return [{**known, **{name: next(numbers) for name in names}} for known, names, _ in kept]
