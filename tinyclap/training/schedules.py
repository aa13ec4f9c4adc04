"""Learning rates as functions of how far training has come, applied at every step.

The official tinyCLAP code asks for a plateau schedule whose result it never applies (defect D1), so its rate stays
constant. Here whatever schedule the YAML names reaches the optimiser, and its state is part of every checkpoint.
"""

import json
import math

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from tinyclap.errors import ConfigError


@register_checkpoint_hooks
class _WarmUp:
    """A linear rise from zero to a peak; what comes after it is a subclass' ``_after(share of the rest)``."""

    def __init__(self, lr, warmup_fraction):
        if not 0 <= warmup_fraction < 1:
            raise ConfigError(f"warmup_fraction={warmup_fraction}; it is a share of training, in [0, 1)")
        self.peak, self.warmup = lr, warmup_fraction

    def lr_at(self, progress):
        """The rate when `progress` (in [0, 1]) of all steps are done."""
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        return self._after(min((progress - self.warmup) / (1 - self.warmup), 1.0))

    def on_epoch_end(self, valid_loss):
        """Nothing depends on the validation loss."""

    @mark_as_saver
    def _save(self, path):
        """The rate is a function of progress; the file says so to a checkpoint that wants one of every part."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({}, file)

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        """Nothing was kept."""


class CosineSchedule(_WarmUp):
    """Linear warm-up, then half a cosine down to a final rate.

    Arguments
    ---------
    lr : float
        Peak.
    final_lr : float
        At the end of the last epoch.
    warmup_fraction : float
        Share of all steps in which the rate rises from zero, in [0, 1).

    Example
    -------
    >>> schedule = CosineSchedule(lr=1.0, final_lr=0.0, warmup_fraction=0.1)
    >>> [round(schedule.lr_at(progress), 3) for progress in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, lr, final_lr=0.0, warmup_fraction=0.05):
        super().__init__(lr, warmup_fraction)
        self.final = final_lr

    def _after(self, rest):
        return self.final + (self.peak - self.final) * 0.5 * (1 + math.cos(math.pi * rest))


class ExponentialSchedule(_WarmUp):
    """Linear warm-up, then a constant factor from step to step down to a final rate, as in the captioning paper's code.

    Arguments
    ---------
    lr : float
        Peak.
    final_lr : float
        At the end of the last epoch, above zero.
    warmup_fraction : float
        Share of all steps in which the rate rises from zero, in [0, 1).

    Example
    -------
    >>> schedule = ExponentialSchedule(lr=1.0, final_lr=0.01, warmup_fraction=0.2)
    >>> [round(schedule.lr_at(progress), 3) for progress in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.1, 0.01]
    """

    def __init__(self, lr, final_lr, warmup_fraction=0.2):
        super().__init__(lr, warmup_fraction)
        if not 0 < final_lr <= lr:
            raise ConfigError(f"final_lr={final_lr}; an exponential decay from lr={lr} ends in (0, {lr}]")
        self.final = final_lr

    def _after(self, rest):
        return self.peak * (self.final / self.peak) ** rest


@register_checkpoint_hooks
class PlateauSchedule:
    """Constant, and lowered when the validation loss has not improved for some epochs.

    Arguments
    ---------
    lr : float
        At the start.
    factor : float
        What the rate is multiplied by, in (0, 1).
    patience : int
        Epochs without improvement that are borne.
    min_lr : float
    reference_dead_lr_schedule : bool
        Never lower it, as the official tinyCLAP code does by accident (defect D1).
    """

    def __init__(self, lr, factor=0.1, patience=10, min_lr=1e-6, reference_dead_lr_schedule=False):
        self.lr, self.factor, self.patience, self.min_lr = lr, factor, patience, min_lr
        self.dead = reference_dead_lr_schedule
        self.best, self.n_bad = math.inf, 0

    def lr_at(self, progress):
        """The present rate; it does not depend on `progress`."""
        return self.lr

    def on_epoch_end(self, valid_loss):
        """Count an epoch that did not improve on the best; lower the rate after `patience` of them."""
        if valid_loss < self.best:
            self.best, self.n_bad = valid_loss, 0
            return
        self.n_bad += 1
        if self.n_bad > self.patience and not self.dead:
            self.lr, self.n_bad = max(self.lr * self.factor, self.min_lr), 0

    @mark_as_saver
    def _save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"lr": self.lr, "best": self.best, "n_bad": self.n_bad}, file)

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        self.lr, self.best, self.n_bad = state["lr"], state["best"], state["n_bad"]


def make_schedule(kind, lr, patience, warmup_fraction=0.0, reference_dead_lr_schedule=False):
    """The learning rates of a recipe, by its keys.

    Arguments
    ---------
    kind : {"plateau", "cosine"}
        "plateau" is the paper's, :class:`PlateauSchedule`; "cosine" ends at zero, :class:`CosineSchedule`.
    lr : float
        At the start, or after the warm-up.
    patience : int
        Of the plateau.
    warmup_fraction : float
        Of the cosine.
    reference_dead_lr_schedule : bool
        Of the plateau.

    Raises
    ------
    ConfigError
        The kind is unknown.
    """
    if kind == "plateau":
        return PlateauSchedule(lr, patience=patience, reference_dead_lr_schedule=reference_dead_lr_schedule)
    if kind == "cosine":
        return CosineSchedule(lr, warmup_fraction=warmup_fraction)
    raise ConfigError(f"lr_decay {kind!r} is unknown; choose 'plateau' or 'cosine'")
