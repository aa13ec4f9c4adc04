"""What losses share: single precision, rows of all ranks, and checks of options."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed

from tinyclap.errors import ConfigError


def in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute a module's ``forward`` in single precision, also under autocast."""

    @functools.wraps(forward)
    def wrapped(self: Any, student: Tensor, teacher: Any, *more: Any) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            return forward(self, *(_in_float32(one) for one in (student, teacher, *more)))

    return wrapped


def _in_float32(value):
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def gathered(rows: Tensor) -> Tensor:
    """Rows (B, D) of all ranks, in their order: (ranks · B, D), where every rank gives the same B.

    The gradient reaches the own rows alone, times the number of ranks: each rank computes the loss of the joint batch,
    and the average of gradients that DistributedDataParallel takes is that of the joint batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    n_ranks = distributed.get_world_size()
    fixed = rows.detach().contiguous()
    parts = [torch.empty_like(fixed) for _ in range(n_ranks)]
    distributed.all_gather(parts, fixed)
    if rows.requires_grad:
        parts[distributed.get_rank()] = fixed + n_ranks * (rows - fixed)
    return torch.cat(parts)


def check_positive(owner: object, number: type = float, **values: Any) -> None:
    """Raise a ConfigError for an option of `owner` that is no number (int, or float) above 0."""
    for name, value in values.items():
        if not is_number(value, number) or value <= 0:
            words = "a whole number" if number is int else "a number"
            raise ConfigError(f"{type(owner).__name__}: {name}={value!r}; give {words} above 0")


def is_number(value: Any, number: type = float) -> bool:
    """Whether an option is a finite number: int, or float."""
    accepted = int if number is int else int | float
    return isinstance(value, accepted) and not isinstance(value, bool) and math.isfinite(value)
