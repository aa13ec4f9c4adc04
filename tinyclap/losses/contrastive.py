"""The losses: CLAP's contrastive objective, and what distils one audio encoder into another.

Every loss is a pure function with a module beside it for the YAML. The teacher's side is always detached.

Source: Elizalde et al., "CLAP", ICASSP 2023 (contrastive objective); Paissan & Farella, "tinyCLAP", Interspeech 2024,
Eq. 7 (cosine distillation).
"""

import torch
import torch.nn.functional as F
from torch import nn

# exp(ln(1 / 0.07)): the temperature 0.07 with which CLIP and CLAP begin.
CLAP_LOGIT_SCALE = 1 / 0.07


def clap_contrastive(audio, text, logit_scale=CLAP_LOGIT_SCALE, max_logit=100.0):
    """CLAP's symmetric contrastive loss over a batch of pairs.

    Arguments
    ---------
    audio, text : torch.Tensor, shape (B, D)
        Row i of one belongs to row i of the other; any length, normalised here.
    logit_scale : float or torch.Tensor, shape ()
        The inverse temperature itself, not its logarithm.
    max_logit : float
        Logits above it are clipped, as in the published code.

    Returns
    -------
    torch.Tensor, shape ()
        ≥ 0.

    Notes
    -----
    C = clip(scale · a tᵀ); L = ½ [CE(C, diagonal) + CE(Cᵀ, diagonal)].
    """
    logits = (logit_scale * F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T).clamp(max=max_logit)
    diagonal = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2


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


class ClapContrastiveLoss(nn.Module):
    """:func:`clap_contrastive` with the model's learnable temperature given at each call."""

    def forward(self, audio, text, scale):
        """The loss of a batch: (B, D), (B, D) and the inverse temperature itself, shape () → ()."""
        return clap_contrastive(audio, text, scale)


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
