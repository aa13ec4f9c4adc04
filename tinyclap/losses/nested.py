"""Nested training (Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, gathered, in_float32
from tinyclap.losses.contrastive import TEMPERATURE, affinity_divergence, cosines


class NestedLoss(nn.Module):
    """A loss on the whole embedding and on prefixes of it, so that each prefix serves alone (Matryoshka).

    L = (loss(all) + Σ_d [loss(prefix d) + weight · affinity(prefix d)]) / (1 + number of prefixes), with affinity(d) =
    mean_i KL(softmax_j(cos(t_i, t_j) / τ) ‖ softmax_j(cos(s_i[:d], t_j[:d]) / τ)) over the batch.

    Arguments
    ---------
    loss : torch.nn.Module. Of (B, d) and (B, d) for any d.
    dims : sequence of int. Lengths of the prefixes, each from 1 to D − 1.
    order : sequence of int, optional. All D dimensions, most important first; by default 0, 1, ….
    affinity_weight : float
    temperature : float. τ
    """

    def __init__(
        self,
        loss: nn.Module,
        dims: Sequence[int],
        order: Sequence[int] | None = None,
        affinity_weight: float = 1.0,
        temperature: float = TEMPERATURE,
    ) -> None:
        super().__init__()
        check_positive(self, temperature=temperature)
        if isinstance(dims, str) or not isinstance(dims, Sequence) or not all(type(n) is int for n in dims):
            raise ConfigError(f"nested_dims {dims!r}: give a list of whole numbers, such as [32, 64]")
        dims = sorted(dims)
        if not dims or dims[0] < 1 or (order is not None and dims[-1] >= len(order)):
            of = "" if order is None else f", each shorter than the {len(order)} dimensions of the order"
            raise ConfigError(f"nested_dims {list(dims)}: give one or more lengths from 1 up{of}")
        if order is not None and sorted(order) != list(range(len(order))):
            raise ConfigError("the order of nested dimensions does not name each dimension once")
        self.loss, self.dims, self.affinity_weight, self.temperature = loss, dims, affinity_weight, temperature
        self.register_buffer("order", None if order is None else torch.tensor(list(order), dtype=torch.long))

    def stored_order(self, n_dims: int) -> dict[str, Any]:
        """What a student trained by this loss stores in its config, so that it can be loaded with fewer dimensions."""
        order = list(range(n_dims)) if self.order is None else self.order.tolist()
        return {"order": order, "ranking": "nested", "dims": self.dims}

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        n_dims, teacher = student.shape[-1], teacher.detach()
        if (self.order is not None and len(self.order) != n_dims) or self.dims[-1] >= n_dims:
            order = f"in an order of {'any' if self.order is None else len(self.order)} dimensions"
            raise ConfigError(f"nested_dims {self.dims}, {order}, do not fit embeddings of {n_dims}")
        total = self.loss(student, teacher)
        if self.order is not None:
            student, teacher = student[:, self.order], teacher[:, self.order]
        students, teachers = (gathered(student), gathered(teacher)) if self.training else (student, teacher)
        wanted = cosines(teachers, teachers) / self.temperature
        for n_kept in self.dims:
            total = total + self.loss(student[:, :n_kept], teacher[:, :n_kept])
            if self.affinity_weight:
                given = cosines(students[:, :n_kept], teachers[:, :n_kept]) / self.temperature
                total = total + self.affinity_weight * affinity_divergence(given, wanted)
        return total / (1 + len(self.dims))
