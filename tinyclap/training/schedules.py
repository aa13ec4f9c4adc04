"""Learning rates as functions of how far training has come, applied at every step.

The official tinyCLAP code computes a plateau schedule and never applies it (defect D1), so its rate stays constant.
SpeechBrain's ``ReduceLROnPlateau`` counts an equal loss as an improvement, and its minimum and best start elsewhere.
"""

import json
import math
from pathlib import Path

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from tinyclap.errors import ConfigError


@register_checkpoint_hooks
class _Schedule:
    """Base: checkpoints hold the attributes that ``state`` names."""

    state = ()

    @mark_as_saver
    def _save(self, path):
        Path(path).write_text(json.dumps({name: getattr(self, name) for name in self.state}), encoding="utf-8")

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        vars(self).update(json.loads(Path(path).read_text(encoding="utf-8")))


class _WarmUp(_Schedule):
    """Linear warm-up from zero to a peak; what follows is a subclass' ``_after(fraction of the rest)``."""

    def __init__(self, lr, final_lr=0.0, warmup_fraction=0.05):
        if not 0 <= warmup_fraction < 1:
            raise ConfigError(f"warmup_fraction={warmup_fraction}; it is a fraction of training, in [0, 1)")
        if not 0 <= final_lr <= lr:
            raise ConfigError(f"final_lr={final_lr}; a schedule from lr={lr} ends in [0, {lr}]")
        self.peak, self.final, self.warmup = lr, final_lr, warmup_fraction

    def lr_at(self, progress):
        """The rate after the fraction `progress`, in [0, 1], of all steps."""
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        return self._after(min((progress - self.warmup) / (1 - self.warmup), 1.0))

    def on_epoch_end(self, valid_loss):
        """Nothing depends on the validation loss."""


class CosineSchedule(_WarmUp):
    """Linear warm-up in `warmup_fraction` of all steps to `lr`, then half a cosine down to `final_lr`.

    Example
    -------
    >>> schedule = CosineSchedule(lr=1.0, final_lr=0.0, warmup_fraction=0.1)
    >>> [round(schedule.lr_at(progress), 3) for progress in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """

    def _after(self, rest):
        return self.final + (self.peak - self.final) * 0.5 * (1 + math.cos(math.pi * rest))


class ExponentialSchedule(_WarmUp):
    """As :class:`CosineSchedule`, with a constant factor from step to step, as in the captioning paper's code.

    Arguments
    ---------
    lr, final_lr, warmup_fraction : float. Peak, last rate, above zero, and fraction of all steps, in [0, 1).

    Example
    -------
    >>> schedule = ExponentialSchedule(lr=1.0, final_lr=0.01, warmup_fraction=0.2)
    >>> [round(schedule.lr_at(progress), 3) for progress in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.1, 0.01]
    """

    def __init__(self, lr, final_lr, warmup_fraction=0.2):
        super().__init__(lr, final_lr, warmup_fraction)
        if final_lr == 0:
            raise ConfigError(f"final_lr={final_lr}; an exponential decay ends above 0")

    def _after(self, rest):
        return self.peak * (self.final / self.peak) ** rest


class PlateauSchedule(_Schedule):
    """Lower the rate after more than `patience` epochs without a better validation loss.

    Arguments
    ---------
    lr, factor, min_lr : float. The first rate, what it is multiplied by, in (0, 1), and the minimum.
    patience : int
    reference_dead_lr_schedule : bool. Never lower it, as the official tinyCLAP code by accident (defect D1).
    """

    state = ("lr", "best", "n_bad")

    def __init__(self, lr, factor=0.1, patience=10, min_lr=1e-6, reference_dead_lr_schedule=False):
        if not 0 < factor < 1:
            raise ConfigError(f"factor={factor}; a rate is lowered by a factor in (0, 1)")
        self.lr, self.factor, self.patience, self.min_lr = lr, factor, patience, min_lr
        self.dead = reference_dead_lr_schedule
        self.best, self.n_bad = math.inf, 0

    def lr_at(self, progress):
        """The present rate; it does not depend on `progress`."""
        return self.lr

    def on_epoch_end(self, valid_loss):
        """Count an epoch that is no better than the best; lower the rate after more than `patience` of them."""
        if valid_loss < self.best:
            self.best, self.n_bad = valid_loss, 0
            return
        self.n_bad += 1
        if self.n_bad > self.patience and not self.dead:
            self.lr, self.n_bad = min(max(self.lr * self.factor, self.min_lr), self.lr), 0
