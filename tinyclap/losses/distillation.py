"""Losses that distil one audio encoder into another, by name, and nested (Matryoshka) training of any of them.

Every loss is a pure function with a module beside it for the YAML. The teacher's side is always detached.

Sources: Paissan & Farella, "tinyCLAP", Interspeech 2024, Eq. 7 (cosine); Park et al., "Relational Knowledge
Distillation", CVPR 2019; Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022; Romero et al., "FitNets",
ICLR 2015 (hints).
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.kept_dims import read_order
from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import CLAP_LOGIT_SCALE, clap_contrastive

LOSSES = ("cosine", "mse", "centred", "contrastive", "relational", "tag_profile")
OF_ALL_DIMENSIONS = ("centred", "tag_profile")


def cosine_distill(student, teacher):
    """Mean negative cosine between paired embeddings (tinyCLAP, Eq. 7).

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, D)
        Need not be of unit length; `teacher` is detached.

    Returns
    -------
    torch.Tensor, shape ()
        In [−1, 1]; −1 when every pair points the same way.

    Notes
    -----
    Derivation. CLAP trains both towers by ``clap_contrastive(a, t)``, in which audio meets text only through the
    cosines cos(a_i, t_j). To replace the audio tower, the student's cosines cos(s_i, t_j) have to equal the teacher's
    for every text, those of the test included, and none of them is known in training. But on the unit sphere

        |cos(s, t) − cos(a, t)| = |⟨ŝ − â, t̂⟩| ≤ ‖ŝ − â‖ = √(2 − 2 cos(s, a))        (Cauchy–Schwarz)

    for *every* text t. So making cos(s, a) large bounds the change of every similarity, hence of every zero-shot
    score, from audio alone: no text, no label and no temperature enters, and the text tower never runs. In
    particular the predicted class is unchanged where the teacher's margin between its two best texts exceeds
    2 √(2 − 2 cos(s, a)). The bound is tight: t along ŝ − â attains it. (The paper argues by closeness alone; the
    cosine distance breaks the triangle inequality, the chord ‖ŝ − â‖ and the angle keep it.)
    """
    return -F.cosine_similarity(student, teacher.detach(), dim=-1).mean()


def centred_cosine_distill(student, teacher, mean):
    """Mean negative cosine after the teacher's mean embedding is taken from both sides.

    Embeddings of all sounds share a large common part. A raw cosine is near one as soon as the student knows that
    part; what tells sounds apart is the rest, and this loss looks at nothing else.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, D)
        Compared after L2 normalisation and subtraction of `mean`.
    mean : torch.Tensor, shape (D,)
        Mean of the teacher's L2-normalised embeddings over unlabelled training clips.

    Returns
    -------
    torch.Tensor, shape ()
        In [−1, 1].
    """
    return cosine_distill(F.normalize(student, dim=-1) - mean, F.normalize(teacher, dim=-1) - mean)


def tag_distill(student, teacher):
    """Binary cross-entropy between the student's and the teacher's tag probabilities, minus its least value.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, K)
        Probabilities in [0, 1]; `teacher` is detached.

    Returns
    -------
    torch.Tensor, shape ()
        The Kullback–Leibler divergence KL(teacher ‖ student) of independent tags, summed over tags, averaged over
        clips: ≥ 0, and 0 where they agree.
    """
    teacher = teacher.detach().float().clamp(1e-6, 1 - 1e-6)
    student = student.float().clamp(1e-6, 1 - 1e-6)
    divergence = teacher * (teacher / student).log() + (1 - teacher) * ((1 - teacher) / (1 - student)).log()
    return divergence.sum(dim=-1).mean()


def mse_distill(student, teacher, l2_norm=False):
    """Mean squared error between paired embeddings, over rows and dimensions.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, D)
        `teacher` is detached where it comes straight from the teacher; a learnable projection of it keeps its
        gradient, so it is not detached here.
    l2_norm : bool
        Compare directions: both sides are L2-normalised first.

    Returns
    -------
    torch.Tensor, shape ()
        ≥ 0.
    """
    if l2_norm:
        student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    return F.mse_loss(student, teacher)


class CosineDistillLoss(nn.Module):
    """:func:`cosine_distill`, the loss of tinyCLAP.

    Example
    -------
    >>> CosineDistillLoss()(torch.eye(3), 2 * torch.eye(3)).item()
    -1.0
    """

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → ()."""
        return cosine_distill(student, teacher)


class CentredCosineDistillLoss(nn.Module):
    """:func:`centred_cosine_distill`; the mean follows the teacher as an exponential average and is saved with the run.

    Arguments
    ---------
    embed_dim : int
    momentum : float
        Share of a new batch in the mean, once the mean has seen 1/momentum batches; before that, the plain average.
    """

    def __init__(self, embed_dim, momentum=0.01):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("n_batches", torch.zeros((), dtype=torch.long))

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → (); in training mode the mean is updated first."""
        if self.training:
            with torch.no_grad():
                self.n_batches += 1
                share = max(self.momentum, 1 / self.n_batches.item())
                self.mean.lerp_(F.normalize(teacher.float(), dim=-1).mean(dim=0), share)
        return centred_cosine_distill(student, teacher, self.mean)


class EmbeddingMSELoss(nn.Module):
    """:func:`mse_distill` with a detached teacher.

    Arguments
    ---------
    l2_norm : bool
        Compare directions: both sides are L2-normalised first.
    """

    def __init__(self, l2_norm=False):
        super().__init__()
        self.l2_norm = l2_norm

    def forward(self, student, teacher):
        """The loss of a batch: (B, D) and (B, D) → ()."""
        return mse_distill(student, teacher.detach(), self.l2_norm)


class TagDistillLoss(nn.Module):
    """:func:`tag_distill`, every tag counted alike."""

    def forward(self, student, teacher):
        """The loss of a batch of probabilities: (B, K) and (B, K) → ()."""
        return tag_distill(student, teacher)


class TagProfileLoss(nn.Module):
    """Kullback–Leibler divergence between the normalised profiles √(p / (prior + floor)) of teacher and student.

    The profile is what the tag space scores a clip by (:mod:`tinyclap.teachers.tag_text`), so the student is asked
    for what its score will use: which tags stand out against their prior, and in what proportion.

    Arguments
    ---------
    n_tags : int
    floor : float
        Added to the prior; as in the text side.
    """

    def __init__(self, n_tags=527, floor=1e-3):
        super().__init__()
        self.floor = floor
        self.register_buffer("prior", torch.zeros(n_tags))

    def set_prior(self, prior):
        """Set the mean probability of each tag over unlabelled training clips, shape (K,), each in [0, 1]."""
        self.prior.copy_(torch.as_tensor(prior))

    def forward(self, student, teacher):
        """The loss of a batch of probabilities: (B, K) and (B, K) → (), ≥ 0, and 0 where the profiles agree."""
        wanted, given = self._profile(teacher.detach()), self._profile(student)
        return (wanted * (wanted.log() - given.log())).sum(dim=-1).mean()

    def _profile(self, probabilities):
        rows = (probabilities.float().clamp(min=1e-8) / (self.prior + self.floor)).sqrt()
        return rows / rows.sum(dim=-1, keepdim=True)


class FrameHintLoss(nn.Module):
    """Mean squared error between the student's frames, through a linear map, and the teacher's, standardised.

    Source: Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015; here on the last feature maps averaged over
    frequency, so that what sounds when is matched as well.

    Arguments
    ---------
    student_dim, teacher_dim : int
        Channels of both sides' frames.
    """

    def __init__(self, student_dim, teacher_dim):
        super().__init__()
        self.map = nn.Linear(student_dim, teacher_dim)
        self.standardise = nn.BatchNorm1d(teacher_dim, affine=False, momentum=0.01)

    def forward(self, student, teacher):
        """The loss of a batch of frames: (B, F, C) and (B, F', C') → (); the student's time axis is resampled."""
        wanted = self.standardise(teacher.detach().float().transpose(1, 2))
        given = self.map(student.float()).transpose(1, 2)
        if given.shape[-1] != wanted.shape[-1]:
            given = F.adaptive_avg_pool1d(given, wanted.shape[-1])
        return F.mse_loss(given, wanted)


class MapHintLoss(nn.Module):
    """Mean squared error between an inner feature map of the student, through a 1×1 map, and one of the teacher's.

    Source: as :class:`FrameHintLoss`. Both maps are averaged down to the coarser of the two grids; the teacher's is
    standardised per channel.

    Arguments
    ---------
    student_dim, teacher_dim : int
        Channels of both sides' maps.
    """

    def __init__(self, student_dim, teacher_dim):
        super().__init__()
        self.map = nn.Conv2d(student_dim, teacher_dim, 1)
        self.standardise = nn.BatchNorm2d(teacher_dim, affine=False, momentum=0.01)

    def forward(self, student, teacher):
        """The loss of a batch of maps: (B, C, F, M) and (B, C', F', M') → ()."""
        wanted, given = self.standardise(teacher.detach().float()), self.map(student.float())
        grid = [min(sizes) for sizes in zip(given.shape[2:], wanted.shape[2:], strict=True)]
        return F.mse_loss(F.adaptive_avg_pool2d(given, grid), F.adaptive_avg_pool2d(wanted, grid))


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
