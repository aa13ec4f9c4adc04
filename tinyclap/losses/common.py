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
        inputs = [
            one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in (teacher, *more)
        ]
        with torch.autocast(student.device.type, enabled=False):
            return forward(self, student.float(), *inputs)

    return wrapped


def gathered(rows: Tensor) -> Tensor:
    """Rows (B, D) of all ranks, in their order: (ranks · B, D), where every rank gives the same B.

    The gradient reaches the own rows alone, multiplied by the number of ranks: each rank computes the loss of the joint
    batch, DistributedDataParallel averages the gradients, and their average is that of the joint batch.
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
    accepted, words = (int, "a whole number") if number is int else (int | float, "a number")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, accepted) or not 0 < value < math.inf:
            raise ConfigError(f"{type(owner).__name__}: {name}={value!r}; give {words} above 0")
