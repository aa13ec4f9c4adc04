"""Captioning losses: cross-entropy of words, token-level and encoder-level distillation.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024, and its
public code (github.com/wsntxxn/AudioCaption); Kim & Rush, "Sequence-Level Knowledge Distillation", EMNLP 2016; Hinton
et al., "Distilling the Knowledge in a Neural Network", 2015 (token level).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.contrastive import CLAP_LOGIT_SCALE, clap_contrastive
from tinyclap.losses.distillation import mse_distill

ENCODER_KINDS = ("mse", "contrastive", "both")
PROJECTIONS = ("both", "student", "none")


def caption_cross_entropy(logits: Tensor, targets: Tensor, pad_id: int, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over the words of all captions, in nats; 0 where there is no word.

    Arguments
    ---------
    logits : torch.Tensor, shape (B, L, V)
    targets : torch.Tensor, shape (B, L), int64. The word that each position should predict, ``<end>`` included.
    pad_id : int. Positions with it do not count.
    label_smoothing : float. In [0, 1).
    """
    rows, words = logits.float().flatten(0, 1), targets.flatten()
    losses = F.cross_entropy(rows, words, ignore_index=pad_id, reduction="sum", label_smoothing=label_smoothing)
    return losses / (targets != pad_id).sum().clamp(min=1)


def sparse_token_kd(student: Tensor, ids: Tensor, probabilities: Tensor, temperature: float = 1.0) -> Tensor:
    """Token-level distillation: cross-entropy with the teacher's distribution among its k most probable words.

    Arguments
    ---------
    student : torch.Tensor, shape (B, L, V). Logits, teacher-forced on the teacher's caption.
    ids : torch.Tensor, shape (B, L, k), int64
    probabilities : torch.Tensor, shape (B, L, k). Of these words; a position where all are 0 does not count.
    temperature : float. Of both sides: the teacher's probabilities become p^(1/temperature), renormalised.
    """
    student = student.float() / temperature
    given = probabilities.detach().float()
    most = given.amax(dim=-1, keepdim=True)
    counts = most[..., 0] > 0
    # the maximum becomes 1, so that at a low temperature not all of them vanish
    powers = (given / torch.where(most > 0, most, 1.0)).pow(1 / temperature)
    wanted = powers / powers.sum(dim=-1, keepdim=True).clamp(min=1.0)
    log_q = student.gather(-1, ids) - student.logsumexp(dim=-1, keepdim=True)
    return -(wanted * log_q).sum() / counts.sum().clamp(min=1)


class EncoderKDLoss(nn.Module):
    """Encoder-level distillation: the student's clip vector against the teacher's, in a shared space.

    Arguments
    ---------
    student_dim, teacher_dim : int
    shared_dim : int. Width of the shared space, where `projection` is "both".
    kind : {"mse", "contrastive", "both"}
    projection : {"both", "student", "none"}
        Sides with a learnt linear map: "both" as published (two zero maps solve the MSE alone), the student's, or none.
    l2_norm : bool. The MSE compares directions; the contrastive loss always does.
    exponentiate : bool
        Multiply the cosines by exp(logit_scale) ≤ 100, as CLIP; else by logit_scale itself, as the published code.
    """

    max_scale = 100.0

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        shared_dim: int = 1024,
        kind: str = "contrastive",
        projection: str = "both",
        l2_norm: bool = False,
        exponentiate: bool = False,
    ) -> None:
        super().__init__()
        if kind not in ENCODER_KINDS:
            raise ConfigError(f"EncoderKDLoss: kind={kind!r}; choose one of {', '.join(ENCODER_KINDS)}")
        if projection not in PROJECTIONS:
            raise ConfigError(f"EncoderKDLoss: projection={projection!r}; choose one of {', '.join(PROJECTIONS)}")
        if projection == "none" and student_dim != teacher_dim:
            sizes = f"{student_dim} and {teacher_dim}"
            raise ConfigError(f"EncoderKDLoss: without a projection both sides need one width, not {sizes}")
        self.kind, self.l2_norm, self.exponentiate = kind, l2_norm, exponentiate
        width = shared_dim if projection == "both" else teacher_dim
        self.stdnt_proj = nn.Identity() if projection == "none" else nn.Linear(student_dim, width)
        self.tchr_proj = nn.Linear(teacher_dim, width) if projection == "both" else nn.Identity()
        if kind != "mse":
            self.logit_scale = nn.Parameter(torch.tensor(math.log(CLAP_LOGIT_SCALE)))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, student_dim) and (B, teacher_dim) → (); the teacher's side is detached before its projection."""
        student, teacher = self.stdnt_proj(student), self.tchr_proj(teacher.detach())
        loss = 0.0
        if self.kind in ("mse", "both"):
            loss = loss + mse_distill(student, teacher, self.l2_norm)
        if self.kind in ("contrastive", "both"):
            scale = self.logit_scale.exp().clamp(max=self.max_scale) if self.exponentiate else self.logit_scale
            loss = loss + clap_contrastive(student, teacher, scale, max_logit=math.inf)
        return loss
