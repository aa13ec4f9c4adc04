"""Captioning losses: cross-entropy of words, token-level and encoder-level distillation.

Sources: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024, and its
public code (github.com/wsntxxn/AudioCaption); Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, gathered, in_float32, is_number
from tinyclap.losses.contrastive import CLAP_LOGIT_SCALE, clap_contrastive
from tinyclap.losses.distillation import mse_distill

ENCODER_KINDS = ("mse", "contrastive", "both")
PROJECTIONS = ("both", "student", "none")


class CaptionCrossEntropy(nn.Module):
    """L = −mean log p(word) over the words of all captions, in nats, in [0, ∞); 0 where there is no word.

    Positions with `pad_id` do not count; `label_smoothing` is ε in [0, 1): 1 − ε on the word, ε spread over all words.
    """

    def __init__(self, pad_id: int = 0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not is_number(label_smoothing) or not 0 <= label_smoothing < 1:
            raise ConfigError(f"CaptionCrossEntropy: label_smoothing={label_smoothing!r}; give a number in [0, 1)")
        self.pad_id, self.label_smoothing = pad_id, label_smoothing

    @in_float32
    def forward(self, logits: Tensor, target_ids: Tensor) -> Tensor:
        """Logits (B, L, V) and the word ids (B, L) that they shall predict, ``<end>`` included → ()."""
        flat, ids = logits.flatten(0, 1), target_ids.flatten()
        total = F.cross_entropy(
            flat, ids, ignore_index=self.pad_id, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / (target_ids != self.pad_id).sum().clamp(min=1)


class TokenKD(nn.Module):
    """L = −mean_l Σ_v q(v) log p(v): cross-entropy with the teacher's distribution q among its k most probable words.

    In [0, ∞); its minimum is the entropy of q. Of the teacher's probabilities only their ratios count. `temperature` is
    T of both sides: q ∝ probability^(1/T), p = softmax(logits / T).
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        check_positive(self, temperature=temperature)
        self.temperature = temperature

    @in_float32
    def forward(self, logits: Tensor, choices: tuple[Tensor, Tensor]) -> Tensor:
        """Logits (B, L, V); word ids (B, L, k) and probabilities (B, L, k), all 0 where nothing counts → ()."""
        ids, probabilities = choices
        logits, probabilities = logits / self.temperature, probabilities.detach().float()
        largest = probabilities.amax(dim=-1, keepdim=True)
        # the largest becomes 1, so that at a low temperature not all of them vanish
        powers = (probabilities / torch.where(largest > 0, largest, 1.0)).pow(1 / self.temperature)
        wanted = powers / powers.sum(dim=-1, keepdim=True).clamp(min=1.0)
        log_p = logits.gather(-1, ids) - logits.logsumexp(dim=-1, keepdim=True)
        return -(wanted * log_p).sum() / (largest > 0).sum().clamp(min=1)


class EncoderKDLoss(nn.Module):
    """Encoder-level distillation: the student's clip vector against the teacher's, in a shared space.

    MSE or CLAP's contrastive loss with a learnable temperature (:func:`.contrastive.clap_contrastive`), or both; ≥ 0.

    Arguments
    ---------
    student_dim, teacher_dim : int
    shared_dim : int. Width of the shared space, where `projection` is "both".
    kind : {"mse", "contrastive", "both"}
    projection : {"both", "student", "none"}. Sides with a learnt map; published: "both" (zero maps solve the MSE).
    l2_norm : bool. The MSE compares directions; the contrastive loss always does.
    exponentiate : bool. Cosines times exp(logit_scale) ≤ 100, as CLIP; else times logit_scale, as the published code.
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
        for name, value, known in (("kind", kind, ENCODER_KINDS), ("projection", projection, PROJECTIONS)):
            if value not in known:
                raise ConfigError(f"EncoderKDLoss: {name}={value!r}; choose one of {', '.join(known)}")
        if projection == "none" and student_dim != teacher_dim:
            sizes = f"{student_dim} and {teacher_dim}"
            raise ConfigError(f"EncoderKDLoss: without a projection both sides need one width, not {sizes}")
        self.kind, self.l2_norm, self.exponentiate = kind, l2_norm, exponentiate
        width = shared_dim if projection == "both" else teacher_dim
        self.stdnt_proj = nn.Identity() if projection == "none" else nn.Linear(student_dim, width)
        self.tchr_proj = nn.Linear(teacher_dim, width) if projection == "both" else nn.Identity()
        if kind != "mse":
            self.logit_scale = nn.Parameter(torch.tensor(math.log(CLAP_LOGIT_SCALE)))

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, student_dim) and (B, teacher_dim) → (); the teacher's side is detached before its projection."""
        student, teacher = self.stdnt_proj(student), self.tchr_proj(teacher.detach())
        mse = 0.0 if self.kind == "contrastive" else mse_distill(student, teacher, self.l2_norm)
        if self.kind == "mse":
            return mse
        scale = self.logit_scale.exp().clamp(max=self.max_scale) if self.exponentiate else self.logit_scale
        if self.training:
            student, teacher = gathered(student), gathered(teacher)
        return mse + clap_contrastive(student, teacher, scale, max_logit=math.inf)
