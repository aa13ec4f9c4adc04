"""The losses of captioning and of its distillation: words, the teacher's words, and the teacher's clip embedding.

Every loss is a pure function; those with weights of their own have a module beside them for the YAML.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024, with the
choices of its public code (github.com/wsntxxn/AudioCaption); Kim & Rush, "Sequence-Level Knowledge Distillation",
EMNLP 2016; Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (token level).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import CLAP_LOGIT_SCALE, clap_contrastive
from tinyclap.losses.distillation import mse_distill

ENCODER_KINDS = ("mse", "contrastive", "both")
PROJECTIONS = ("both", "student", "none")
TOKEN_KINDS = ("kl", "l1", "l2")


def caption_cross_entropy(logits, targets, pad_id, label_smoothing=0.0):
    """Cross-entropy of the words of captions: supervised on people's, sequence-level distillation on the teacher's.

    Arguments
    ---------
    logits : torch.Tensor, shape (B, L, V)
    targets : torch.Tensor, shape (B, L), int64
        The word that each position should predict, ``<end>`` included; `pad_id` after it.
    pad_id : int
        Positions with it do not count.
    label_smoothing : float
        In [0, 1): so much of the target's probability is spread evenly over all V words.

    Returns
    -------
    torch.Tensor, shape ()
        Mean over the words of all captions, ≥ 0, in nats; 0 where there is no word.

    Example
    -------
    >>> logits = torch.zeros(1, 3, 8)
    >>> round(caption_cross_entropy(logits, torch.tensor([[5, 2, 0]]), pad_id=0).exp().item(), 3)
    8.0
    """
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=pad_id, label_smoothing=label_smoothing,
        reduction="sum",
    )  # fmt: skip
    return losses / (targets != pad_id).sum().clamp(min=1)


def token_kd(student, teacher, mask, temperature=1.0, kind="kl"):
    """Token-level distillation: the student's distribution of each word is drawn to the teacher's.

    Arguments
    ---------
    student, teacher : torch.Tensor, shape (B, L, V)
        Logits over one vocabulary, both teacher-forced on the same caption; `teacher` is detached.
    mask : torch.Tensor, shape (B, L), bool
        True where there is a word.
    temperature : float
        Both sides' logits are divided by it.
    kind : {"kl", "l1", "l2"}
        Cross-entropy with the teacher's soft targets (the Kullback–Leibler divergence plus the teacher's entropy), or
        the mean absolute or squared difference between the student's logits and the teacher's *probabilities*, both as
        in the public code.

    Returns
    -------
    torch.Tensor, shape ()
        Mean over words.

    Raises
    ------
    ConfigError
        The kind is unknown.
    """
    if kind not in TOKEN_KINDS:
        raise ConfigError(f"token-level distillation {kind!r} is none of {', '.join(TOKEN_KINDS)}")
    student = student.float() / temperature
    wanted = (teacher.detach().float() / temperature).softmax(dim=-1)
    if kind == "kl":
        losses = -(wanted * student.log_softmax(dim=-1)).sum(dim=-1)
    else:
        difference = student - wanted
        losses = (difference.abs() if kind == "l1" else difference.square()).mean(dim=-1)
    return (losses * mask).sum() / mask.sum().clamp(min=1)


def sparse_token_kd(student, ids, probabilities, temperature=1.0):
    """Token-level distillation from the few words that a teacher holds most probable: :func:`token_kd`, kind "kl".

    Arguments
    ---------
    student : torch.Tensor, shape (B, L, V)
        Logits, teacher-forced on the caption on which the teacher was.
    ids : torch.Tensor, shape (B, L, k), int64
        Words, in the student's vocabulary.
    probabilities : torch.Tensor, shape (B, L, k)
        Theirs at temperature 1, ≥ 0, detached; need not add up to 1. Where all are 0 the place does not count, and its
        ids mean nothing.
    temperature : float
        The student's logits are divided by it; the teacher's probabilities become p^(1/temperature), which is what
        dividing its logits by it does.

    Returns
    -------
    torch.Tensor, shape ()
        Mean over the places that count of −Σ_j w_j·log q(id_j), w being the powers over their sum: what the teacher's
        distribution is among these k words. 0 where no place counts.

    Example
    -------
    >>> ids, probabilities = torch.tensor([[[5, 3]]]), torch.tensor([[[0.9, 0.1]]])
    >>> round(sparse_token_kd(torch.zeros(1, 1, 8), ids, probabilities).exp().item(), 3)
    8.0
    """
    student = student.float() / temperature
    given = probabilities.detach().float()
    most = given.amax(dim=-1, keepdim=True)
    counts = most[..., 0] > 0
    # the greatest becomes 1, so that at a low temperature not all of them vanish
    shares = (given / torch.where(most > 0, most, 1.0)).pow(1 / temperature)
    wanted = shares / shares.sum(dim=-1, keepdim=True).clamp(min=1.0)
    log_q = student.gather(-1, ids) - student.logsumexp(dim=-1, keepdim=True)
    return -(wanted * log_q).sum() / counts.sum().clamp(min=1)


class EncoderKDLoss(nn.Module):
    """Encoder-level distillation: the student's clip vector against the teacher's, in a shared space.

    Arguments
    ---------
    student_dim, teacher_dim : int
        Widths of the two clip vectors.
    shared_dim : int
        Width of the shared space, where `projection` is "both".
    kind : {"mse", "contrastive", "both"}
        Mean squared error, the symmetric contrastive loss within the batch, or their sum.
    projection : {"both", "student", "none"}
        "both": a learnt linear map on either side, as published (for the MSE, both maps going to zero solves it
        trivially: only the captions' loss stands against it). "student": the student is mapped to the teacher's own
        space, which has no such solution. "none": the vectors as they are, of one width.
    l2_norm : bool
        The MSE compares directions. (The contrastive loss always does.)
    exponentiate : bool
        Multiply the cosines by exp(logit_scale), temperature 0.07 at the start, at most 100 as CLIP has it. ``False``
        multiplies by logit_scale = ln(1/0.07) itself, without bound, as the published code does.

    Raises
    ------
    ConfigError
        `kind` or `projection` is none of these, or widths differ that have to be equal.

    Example
    -------
    >>> loss = EncoderKDLoss(8, 6, 4, kind="both")
    >>> loss(torch.zeros(3, 8), torch.ones(3, 6)).shape
    torch.Size([])
    """

    max_scale = 100.0

    def __init__(
        self,
        student_dim,
        teacher_dim,
        shared_dim=1024,
        kind="contrastive",
        projection="both",
        l2_norm=False,
        exponentiate=False,
    ):
        super().__init__()
        if kind not in ENCODER_KINDS:
            raise ConfigError(f"EncoderKDLoss: kind={kind!r}; choose one of {', '.join(ENCODER_KINDS)}")
        if projection not in PROJECTIONS:
            raise ConfigError(f"EncoderKDLoss: projection={projection!r}; choose one of {', '.join(PROJECTIONS)}")
        if projection == "none" and student_dim != teacher_dim:
            raise ConfigError(
                f"EncoderKDLoss: without a projection both sides need one width, not {student_dim} and {teacher_dim}"
            )
        self.kind, self.l2_norm, self.exponentiate = kind, l2_norm, exponentiate
        width = shared_dim if projection == "both" else teacher_dim
        self.stdnt_proj = nn.Identity() if projection == "none" else nn.Linear(student_dim, width)
        self.tchr_proj = nn.Linear(teacher_dim, width) if projection == "both" else nn.Identity()
        if kind != "mse":
            self.logit_scale = nn.Parameter(torch.tensor(math.log(CLAP_LOGIT_SCALE)))

    def forward(self, student, teacher):
        """The loss of a batch: (B, student_dim) and (B, teacher_dim) → (); the teacher's side is detached."""
        student, teacher = self.stdnt_proj(student), self.tchr_proj(teacher.detach())
        loss = 0.0
        if self.kind in ("mse", "both"):
            loss = loss + mse_distill(student, teacher, self.l2_norm)
        if self.kind in ("contrastive", "both"):
            scale = self.logit_scale.exp().clamp(max=self.max_scale) if self.exponentiate else self.logit_scale
            loss = loss + clap_contrastive(student, teacher, scale, max_logit=math.inf)
        return loss
