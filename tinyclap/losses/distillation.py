"""Distillation losses by name, the relational one among them, and nested (Matryoshka) training of any of them.

Sources: Park et al., "Relational Knowledge Distillation", CVPR 2019 (what is kept are relations between clips);
Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022 (every prefix of the embedding is trained).
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.kept_dims import read_order
from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import (
    CLAP_LOGIT_SCALE,
    CentredCosineDistillLoss,
    CosineDistillLoss,
    EmbeddingMSELoss,
    TagProfileLoss,
    clap_contrastive,
)

LOSSES = ("cosine", "mse", "centred", "contrastive", "relational", "tag_profile")
OF_ALL_DIMENSIONS = ("centred", "tag_profile")


def relational_distill(student, teacher, wanted=None, logit_scale=CLAP_LOGIT_SCALE):
    """How much the student's similarities to the batch's clips differ from the teacher's.

    The other clips' teacher embeddings stand in for texts, of which distillation has none.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, D)
        Paired; any length, normalised here. `teacher` is detached.
    wanted : torch.Tensor, shape (B, E), optional
        The teacher's embeddings in the space whose similarities are wanted; by default `teacher` itself. A prefix of
        the dimensions is asked for the similarities of all of them.
    logit_scale : float
        Inverse temperature of the softmax over the batch's clips.

    Returns
    -------
    torch.Tensor, shape ()
        Mean over clips of KL(softmax(scale · a_i aᵀ) ‖ softmax(scale · s_i aᵀ)): ≥ 0, and 0 where they agree.

    Example
    -------
    >>> relational_distill(torch.eye(3), torch.eye(3)).item()
    0.0
    """
    rows = F.normalize(teacher.detach(), dim=-1)
    full = rows if wanted is None else F.normalize(wanted.detach(), dim=-1)
    log_given = (logit_scale * F.normalize(student, dim=-1) @ rows.T).log_softmax(dim=-1)
    log_wanted = (logit_scale * full @ full.T).log_softmax(dim=-1)
    return (log_wanted.exp() * (log_wanted - log_given)).sum(dim=-1).mean()


class ContrastiveDistillLoss(nn.Module):
    """CLAP's contrastive loss between both sides: a clip's own teacher embedding against those of the batch."""

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → (), ≥ 0."""
        return clap_contrastive(student, teacher.detach())


class RelationalDistillLoss(nn.Module):
    """:func:`relational_distill`."""

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → (), ≥ 0."""
        return relational_distill(student, teacher)


class NestedLoss(nn.Module):
    """A loss on the whole embedding and on its first dimensions in a fixed order, so that each prefix serves alone.

    The text tower does not move, so a prefix of the student meets the same prefix of a text. It is drawn to the
    teacher's prefix by `loss`, and to give the similarities that the teacher has with *all* its dimensions by
    :func:`relational_distill`: what the dropped dimensions said has to be said by the kept ones.

    Arguments
    ---------
    loss : torch.nn.Module
        Of (B, d) and (B, d) for any d.
    dims : sequence of int
        Lengths of the prefixes, each from 1 to D − 1.
    order : sequence of int, optional
        The dimensions, D of them, most important first (``tinyclap.config.kept_dims.read_order``); by default 0, 1, ….
    relational_weight : float
        Factor of the second part, ≥ 0.

    Raises
    ------
    ConfigError
        No prefix is given, one is not shorter than the order, or the order is no permutation.

    Notes
    -----
    L = (loss(all) + Σ_d [loss(prefix d) + weight · relational(prefix d)]) / (1 + number of prefixes).

    Example
    -------
    >>> nested = NestedLoss(CosineDistillLoss(), dims=[2], order=[3, 1, 0, 2])
    >>> nested(torch.ones(1, 4), torch.ones(1, 4)).item()
    -1.0
    """

    def __init__(self, loss, dims, order=None, relational_weight=1.0):
        super().__init__()
        dims = sorted(dims)
        if not dims or dims[0] < 1 or (order is not None and dims[-1] >= len(order)):
            of = "" if order is None else f", each shorter than the {len(order)} dimensions of the order"
            raise ConfigError(f"nested_dims {list(dims)}: give one or more lengths from 1 up{of}")
        if order is not None and sorted(order) != list(range(len(order))):
            raise ConfigError("the order of nested dimensions does not name each dimension once")
        self.loss, self.dims, self.relational_weight = loss, dims, relational_weight
        self.register_buffer("order", None if order is None else torch.tensor(list(order), dtype=torch.long))

    def stored_order(self, n_dims):
        """What a student trained by this loss keeps in its config, so that fewer dimensions can be loaded.

        Arguments
        ---------
        n_dims : int
            D.

        Returns
        -------
        dict
            ``order`` (D entries), ``ranking`` ("nested") and the lengths ``dims`` that were trained.
        """
        order = list(range(n_dims)) if self.order is None else self.order.tolist()
        return {"order": order, "ranking": "nested", "dims": self.dims}

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → ().

        Raises
        ------
        ConfigError
            The embeddings are not as wide as the order, or not wider than a prefix.
        """
        n_dims = student.shape[-1]
        if (self.order is not None and len(self.order) != n_dims) or self.dims[-1] >= n_dims:
            raise ConfigError(
                f"nested_dims {self.dims}, in an order of {'any' if self.order is None else len(self.order)} "
                f"dimensions, do not fit embeddings of {n_dims}"
            )
        total = self.loss(student, teacher)
        if self.order is not None:
            student, teacher = student[:, self.order], teacher[:, self.order]
        for n_kept in self.dims:
            given, aim = student[:, :n_kept], teacher[:, :n_kept]
            total = total + self.loss(given, aim)
            if self.relational_weight:
                total = total + self.relational_weight * relational_distill(given, aim, teacher)
        return total / (1 + len(self.dims))


def make_distill_loss(kind, embed_dim, nested_dims=None, nested_order=None):
    """The loss of a recipe, by its keys.

    Arguments
    ---------
    kind : {"cosine", "mse", "centred", "contrastive", "relational", "tag_profile"}
        "cosine" is the paper's; "mse" is between unit vectors, as the embeddings are used; "centred" leaves the
        teacher's running mean out; "contrastive" and "relational" look at the batch's other clips; "tag_profile" is
        for probabilities of tags.
    embed_dim : int
        D, the teacher's.
    nested_dims : sequence of int, optional
        See :class:`NestedLoss`; without it the loss stands alone.
    nested_order : str or os.PathLike, optional
        A ranking's folder, or a student's with a stored order; by default the dimensions as they come.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ConfigError
        The kind is unknown, or the nested dimensions do not fit.

    Example
    -------
    >>> type(make_distill_loss("cosine", 8, nested_dims=[2, 4])).__name__
    'NestedLoss'
    """
    if kind in LOSSES:
        made = {
            "cosine": CosineDistillLoss,
            "centred": lambda: CentredCosineDistillLoss(embed_dim),
            "tag_profile": lambda: TagProfileLoss(embed_dim),
            "mse": lambda: EmbeddingMSELoss(l2_norm=True),
            "contrastive": ContrastiveDistillLoss,
            "relational": RelationalDistillLoss,
        }
        loss = made[kind]()
    else:
        raise ConfigError(f"loss {kind!r} is unknown; choose one of {', '.join(LOSSES)}")
    if not nested_dims:
        return loss
    if kind in OF_ALL_DIMENSIONS:
        raise ConfigError(f"the loss {kind!r} keeps a mean of every dimension, so it cannot be nested; use cosine")
    order = None if nested_order is None else read_order(nested_order)
    if order is not None and len(order) != embed_dim:
        raise ConfigError(f"{nested_order} ranks {len(order)} dimensions, the embedding has {embed_dim}")
    return NestedLoss(loss, nested_dims, order)
