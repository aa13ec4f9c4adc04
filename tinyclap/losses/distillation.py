"""Losses between paired outputs of student and teacher, and the choice of a loss by its name."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.config.kept_dims import read_order
from tinyclap.config.own_modules import imported_class
from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, gathered, in_float32
from tinyclap.losses.contrastive import AffinityLoss, ContrastiveLoss, InteractiveContrastiveLoss, SigLIPLoss
from tinyclap.losses.nested import NestedLoss


def mse_distill(student: Tensor, teacher: Tensor, l2_norm: bool = False) -> Tensor:
    """Mean squared error of paired embeddings (B, D), neither detached; with `l2_norm`, of their directions."""
    if l2_norm:
        student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    return F.mse_loss(student, teacher)


class CosineLoss(nn.Module):
    """L = −mean cos(s, a), in [−1, 1]: the loss of tinyCLAP (Paissan & Farella, Interspeech 2024, Eq. 7).

    Why audio alone is enough: on the unit sphere, for *every* text t,

        |cos(s, t) − cos(a, t)| = |⟨ŝ − â, t̂⟩| ≤ ‖ŝ − â‖ = √(2 − 2 cos(s, a))        (Cauchy–Schwarz).

    So a large cos(s, a) bounds the change of every zero-shot score, and a class stays the same where the teacher's
    margin between its two best texts exceeds 2 √(2 − 2 cos(s, a)). The bound is tight: t along ŝ − â attains it.
    """

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return -F.cosine_similarity(student, teacher.detach(), dim=-1).mean()


class CentredCosineLoss(nn.Module):
    """L = −mean cos(ŝ − m, t̂ − m), in [−1, 1]: m is the mean of the teacher's L2-normalised embeddings.

    Embeddings of all sounds share a large common part, by which a raw cosine is near one; here it does not count. The
    mean is an exponential average over training batches, kept in checkpoints with their number.

    `momentum` is the weight of a new batch, in (0, 1], after 1/momentum batches; before that, the average is plain.
    `embed_dim` is D.
    """

    def __init__(self, embed_dim: int, momentum: float = 0.01) -> None:
        super().__init__()
        check_positive(self, momentum=momentum)
        if momentum > 1:
            raise ConfigError(f"CentredCosineLoss: momentum={momentum}; it is a weight in (0, 1]")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.long))

    def warm_up(self, batches: Iterable[Tensor]) -> None:
        """Set the mean to the plain average over the teacher's embeddings (B, D) of these batches."""
        self.mean.zero_()
        self.n_batches.zero_()
        for teacher in batches:
            self._update(teacher.to(self.mean), 0.0)

    @torch.no_grad()
    def _update(self, teacher: Tensor, momentum: float) -> None:
        self.n_batches += 1
        weight = (1 / self.n_batches).clamp(min=momentum)
        self.mean.lerp_(F.normalize(gathered(teacher), dim=-1).mean(dim=0), weight)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → (); in training mode the mean is updated first."""
        teacher = teacher.detach()
        if self.training:
            self._update(teacher, self.momentum)
        centred = (F.normalize(rows, dim=-1) - self.mean for rows in (student, teacher))
        return -F.cosine_similarity(*centred, dim=-1).mean()


class MSELoss(nn.Module):
    """L = mean (ŝ − t̂)² over clips and dimensions, in [0, 4/D]; without `l2_norm`, of the embeddings as they are.

    Of directions it is 2 (1 − cos(s, t)) / D, small beside other terms: CLIP-KD (Yang et al., CVPR 2024) takes 2000.
    """

    def __init__(self, l2_norm: bool = True) -> None:
        super().__init__()
        self.l2_norm = l2_norm

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        return mse_distill(student, teacher.detach(), self.l2_norm)


class TagProfileLoss(nn.Module):
    """L = mean KL(w ‖ v) of the normalised profiles √(p / (prior + floor)) of teacher and student, in [0, ∞).

    The tag space scores a clip by this profile of K = `n_tags`, with the same `floor`.
    """

    def __init__(self, n_tags: int = 527, floor: float = 0.001) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("prior", torch.zeros(n_tags))

    def set_prior(self, prior: Any) -> None:
        """Set the mean probability (K,) of each tag over unlabelled training clips."""
        self.prior.copy_(torch.as_tensor(prior))

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Probabilities (B, K) and (B, K) → ()."""
        wanted, given = self._profile(teacher.detach()), self._profile(student)
        return (wanted * (wanted.log() - given.log())).sum(dim=-1).mean()

    def _profile(self, probabilities):
        rows = (probabilities.clamp(min=1e-8) / (self.prior + self.floor)).sqrt()
        return rows / rows.sum(dim=-1, keepdim=True)


LOSSES = {  # by a recipe's name
    "cosine": CosineLoss,
    "centred": CentredCosineLoss,
    "mse": MSELoss,
    "affinity": AffinityLoss,
    "interactive": InteractiveContrastiveLoss,
    "contrastive": ContrastiveLoss,
    "siglip": SigLIPLoss,
    "tag_profile": TagProfileLoss,
}


def make_loss(
    name: str, embed_dim: int, nested_dims: Sequence[int] | None = None, nested_order: Any = None, **options: Any
) -> nn.Module:
    """The loss of embeddings that a recipe names.

    Arguments
    ---------
    name : str. Of :data:`LOSSES` ("cosine" is the paper's), or ``module.Class`` of one's own, imported before.
    embed_dim : int. D, the teacher's.
    nested_dims : sequence of int, optional. See :class:`NestedLoss`; without it the loss stands alone.
    nested_order : str or os.PathLike, optional. Folder of a ranking, or of a student with a stored order.
    **options : of the loss, such as ``temperature=0.05``; None stands for the loss's own default.
    """
    if isinstance(name, str) and "." in name:
        made = imported_class(name, nn.Module)
    elif isinstance(name, str) and name in LOSSES:
        made = LOSSES[name]
    else:
        raise ConfigError(f"loss {name!r} is unknown; choose one of {', '.join(LOSSES)}, or module.Class of your own")
    parameters = inspect.signature(made).parameters
    size = next((key for key in ("embed_dim", "n_tags") if key in parameters), None)
    options = {key: value for key, value in options.items() if value is not None}
    accepted = [key for key in parameters if key not in (size, "args", "kwargs")]
    if unknown := [key for key in options if key not in accepted]:
        raise ConfigError(f"the loss {name!r} has no option {unknown[0]!r}; it has {', '.join(accepted) or 'none'}")
    loss = made(**({} if size is None else {size: embed_dim}), **options)
    if not nested_dims:
        return loss
    if size is not None or "texts" in options:
        raise ConfigError(f"this loss {name!r} belongs to all dimensions and cannot be nested; use cosine")
    order = None if nested_order is None else read_order(nested_order)
    if order is not None and len(order) != embed_dim:
        raise ConfigError(f"{nested_order} ranks {len(order)} dimensions, the embedding has {embed_dim}")
    nested = NestedLoss(loss, nested_dims, order)
    if nested.dims[-1] >= embed_dim:
        raise ConfigError(f"nested_dims {nested.dims}: each is to be shorter than the {embed_dim} of the embedding")
    return nested
