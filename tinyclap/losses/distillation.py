"""Losses that distil one audio encoder into another, by name, and nested (Matryoshka) training of any of them.

The teacher's side is always detached.

Sources: Paissan & Farella, "tinyCLAP", Interspeech 2024, Eq. 7 (cosine); Park et al., "Relational Knowledge
Distillation", CVPR 2019; Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022; Romero et al., "FitNets",
ICLR 2015 (hints).
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.config.kept_dims import read_order
from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import CLAP_LOGIT_SCALE, clap_contrastive


def cosine_distill(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean negative cosine of paired embeddings (B, D), in [−1, 1]: tinyCLAP, Eq. 7.

    Why audio alone is enough: on the unit sphere, for *every* text t,

        |cos(s, t) − cos(a, t)| = |⟨ŝ − â, t̂⟩| ≤ ‖ŝ − â‖ = √(2 − 2 cos(s, a))        (Cauchy–Schwarz).

    So a large cos(s, a) bounds the change of every zero-shot score, and a class stays the same where the teacher's
    margin between its two best texts exceeds 2 √(2 − 2 cos(s, a)). The bound is tight: t along ŝ − â attains it.
    """
    return -F.cosine_similarity(student, teacher.detach(), dim=-1).mean()


def centred_cosine_distill(student: Tensor, teacher: Tensor, mean: Tensor) -> Tensor:
    """:func:`cosine_distill` of L2-normalised embeddings less `mean` (D,), that of the teacher's over training clips.

    Embeddings of all sounds share a large common part, by which a raw cosine is near one.
    """
    return cosine_distill(F.normalize(student, dim=-1) - mean, F.normalize(teacher, dim=-1) - mean)


def mse_distill(student: Tensor, teacher: Tensor, l2_norm: bool = False) -> Tensor:
    """Mean squared error of paired embeddings (B, D); with `l2_norm`, of their directions.

    `teacher` is not detached here: a learnable projection of it keeps its gradient.
    """
    if l2_norm:
        student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    return F.mse_loss(student, teacher)


def relational_distill(
    student: Tensor, teacher: Tensor, wanted: Tensor | None = None, logit_scale: float = CLAP_LOGIT_SCALE
) -> Tensor:
    """Mean over clips of KL(softmax(scale · w_i wᵀ) ‖ softmax(scale · s_i aᵀ)): similarities within the batch.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, D). s and a; L2-normalised here.
    wanted : torch.Tensor, shape (B, E), optional. w, whose similarities are the target; by default `teacher`.
    logit_scale : float. Inverse temperature of the softmax over the batch's clips.
    """
    rows = F.normalize(teacher.detach(), dim=-1)
    full = rows if wanted is None else F.normalize(wanted.detach(), dim=-1)
    log_given = (logit_scale * F.normalize(student, dim=-1) @ rows.T).log_softmax(dim=-1)
    log_wanted = (logit_scale * full @ full.T).log_softmax(dim=-1)
    return (log_wanted.exp() * (log_wanted - log_given)).sum(dim=-1).mean()


class CosineDistillLoss(nn.Module):
    """:func:`cosine_distill`, the loss of tinyCLAP."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return cosine_distill(student, teacher)


class CentredCosineDistillLoss(nn.Module):
    """:func:`centred_cosine_distill` with an exponential average of the teacher's embeddings (`embed_dim`).

    `momentum` is the weight of a new batch, after 1/momentum batches; before that, it is the plain average.
    """

    def __init__(self, embed_dim: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.long))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → (); in training mode the mean is updated first."""
        if self.training:
            with torch.no_grad():
                self.n_batches += 1
                weight = max(self.momentum, 1 / self.n_batches.item())
                self.mean.lerp_(F.normalize(teacher.float(), dim=-1).mean(dim=0), weight)
        return centred_cosine_distill(student, teacher, self.mean)


class EmbeddingMSELoss(nn.Module):
    """:func:`mse_distill`; with `l2_norm`, of directions."""

    def __init__(self, l2_norm: bool = False) -> None:
        super().__init__()
        self.l2_norm = l2_norm

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return mse_distill(student, teacher.detach(), self.l2_norm)


class ContrastiveDistillLoss(nn.Module):
    """CLAP's contrastive loss between a clip's student and teacher embeddings, against the rest of the batch."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return clap_contrastive(student, teacher.detach())


class RelationalDistillLoss(nn.Module):
    """:func:`relational_distill`."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return relational_distill(student, teacher)


class TagProfileLoss(nn.Module):
    """KL divergence between the normalised profiles √(p / (prior + floor)) of teacher and student.

    The tag space scores a clip of `n_tags` by this profile, with the same `floor` (:mod:`tinyclap.teachers.tag_text`).
    """

    def __init__(self, n_tags: int = 527, floor: float = 0.001) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("prior", torch.zeros(n_tags))

    def set_prior(self, prior: Any) -> None:
        """Set the mean probability (K,) of each tag over unlabelled training clips."""
        self.prior.copy_(torch.as_tensor(prior))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Probabilities (B, K) and (B, K) → ()."""
        wanted, given = self._profile(teacher.detach()), self._profile(student)
        return (wanted * (wanted.log() - given.log())).sum(dim=-1).mean()

    def _profile(self, probabilities):
        rows = (probabilities.float().clamp(min=1e-8) / (self.prior + self.floor)).sqrt()
        return rows / rows.sum(dim=-1, keepdim=True)


class FrameHintLoss(nn.Module):
    """MSE between linearly mapped frames of the student and standardised frames of the teacher: a FitNets hint.

    Frames are the last feature maps averaged over frequency, of `student_dim` and `teacher_dim` channels.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(student_dim, teacher_dim)
        self.standardise = nn.BatchNorm1d(teacher_dim, affine=False, momentum=0.01)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Frames (B, F, C) and (B, F', C') → (); the student's time axis is resampled."""
        wanted = self.standardise(teacher.detach().float().transpose(1, 2))
        given = self.map(student.float()).transpose(1, 2)
        if given.shape[-1] != wanted.shape[-1]:
            given = F.adaptive_avg_pool1d(given, wanted.shape[-1])
        return F.mse_loss(given, wanted)


class MapHintLoss(nn.Module):
    """As :class:`FrameHintLoss`, of feature maps with `student_dim` and `teacher_dim` channels, on the coarser grid."""

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(student_dim, teacher_dim, 1)
        self.standardise = nn.BatchNorm2d(teacher_dim, affine=False, momentum=0.01)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Maps (B, C, F, M) and (B, C', F', M') → ()."""
        wanted, given = self.standardise(teacher.detach().float()), self.map(student.float())
        grid = [min(sizes) for sizes in zip(given.shape[2:], wanted.shape[2:], strict=True)]
        return F.mse_loss(F.adaptive_avg_pool2d(given, grid), F.adaptive_avg_pool2d(wanted, grid))


class NestedLoss(nn.Module):
    """A loss on the whole embedding and on prefixes of it, so that each prefix serves alone (Matryoshka).

    L = (loss(all) + Σ_d [loss(prefix d) + weight · relational(prefix d)]) / (1 + number of prefixes), where the
    relational targets are similarities in *all* of the teacher's dimensions (:func:`relational_distill`).

    Arguments
    ---------
    loss : torch.nn.Module. Of (B, d) and (B, d) for any d.
    dims : sequence of int. Lengths of the prefixes, each from 1 to D − 1.
    order : sequence of int, optional. All D dimensions, most important first; by default 0, 1, ….
    relational_weight : float

    Example
    -------
    >>> nested = NestedLoss(CosineDistillLoss(), dims=[2], order=[3, 1, 0, 2])
    >>> nested(torch.ones(1, 4), torch.ones(1, 4)).item()
    -1.0
    """

    def __init__(
        self, loss: nn.Module, dims: Sequence[int], order: Sequence[int] | None = None, relational_weight: float = 1.0
    ) -> None:
        super().__init__()
        dims = sorted(dims)
        if not dims or dims[0] < 1 or (order is not None and dims[-1] >= len(order)):
            of = "" if order is None else f", each shorter than the {len(order)} dimensions of the order"
            raise ConfigError(f"nested_dims {list(dims)}: give one or more lengths from 1 up{of}")
        if order is not None and sorted(order) != list(range(len(order))):
            raise ConfigError("the order of nested dimensions does not name each dimension once")
        self.loss, self.dims, self.relational_weight = loss, dims, relational_weight
        self.register_buffer("order", None if order is None else torch.tensor(list(order), dtype=torch.long))

    def stored_order(self, n_dims: int) -> dict[str, Any]:
        """What a student trained by this loss stores in its config, so that it can be loaded with fewer dimensions."""
        order = list(range(n_dims)) if self.order is None else self.order.tolist()
        return {"order": order, "ranking": "nested", "dims": self.dims}

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        n_dims = student.shape[-1]
        if (self.order is not None and len(self.order) != n_dims) or self.dims[-1] >= n_dims:
            order = f"in an order of {'any' if self.order is None else len(self.order)} dimensions"
            raise ConfigError(f"nested_dims {self.dims}, {order}, do not fit embeddings of {n_dims}")
        total = self.loss(student, teacher)
        if self.order is not None:
            student, teacher = student[:, self.order], teacher[:, self.order]
        for n_kept in self.dims:
            prefix, target = student[:, :n_kept], teacher[:, :n_kept]
            total = total + self.loss(prefix, target)
            if self.relational_weight:
                total = total + self.relational_weight * relational_distill(prefix, target, teacher)
        return total / (1 + len(self.dims))


LOSSES = {  # a recipe's name → the loss of embeddings of D dimensions
    "cosine": lambda embed_dim: CosineDistillLoss(),
    "mse": lambda embed_dim: EmbeddingMSELoss(l2_norm=True),
    "centred": CentredCosineDistillLoss,
    "contrastive": lambda embed_dim: ContrastiveDistillLoss(),
    "relational": lambda embed_dim: RelationalDistillLoss(),
    "tag_profile": TagProfileLoss,
}
_OF_ALL_DIMENSIONS = ("centred", "tag_profile")  # they hold a statistic of each dimension, so they cannot be nested


def make_distill_loss(
    kind: str,
    embed_dim: int,
    nested_dims: Sequence[int] | None = None,
    nested_order: str | os.PathLike[str] | None = None,
) -> nn.Module:
    """The loss of a recipe, by name.

    Arguments
    ---------
    kind : {"cosine", "mse", "centred", "contrastive", "relational", "tag_profile"}
        "cosine" is the paper's; "mse" compares directions; "tag_profile" is for probabilities of tags.
    embed_dim : int. D, the teacher's.
    nested_dims : sequence of int, optional. See :class:`NestedLoss`; without it the loss stands alone.
    nested_order : str or os.PathLike, optional. Folder of a ranking, or of a student with a stored order.
    """
    if kind not in LOSSES:
        raise ConfigError(f"loss {kind!r} is unknown; choose one of {', '.join(LOSSES)}")
    loss = LOSSES[kind](embed_dim)
    if not nested_dims:
        return loss
    if kind in _OF_ALL_DIMENSIONS:
        raise ConfigError(f"the loss {kind!r} keeps a mean of every dimension, so it cannot be nested; use cosine")
    order = None if nested_order is None else read_order(nested_order)
    if order is not None and len(order) != embed_dim:
        raise ConfigError(f"{nested_order} ranks {len(order)} dimensions, the embedding has {embed_dim}")
    return NestedLoss(loss, nested_dims, order)
