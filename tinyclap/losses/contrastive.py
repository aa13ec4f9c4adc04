"""Losses against the other clips of a batch, in training that of all ranks together, or against a bank of texts."""

import math
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, gathered, in_float32, is_number
from tinyclap.text.bank import LabelBank

TEMPERATURE = 0.07  # of CLIP's and CLAP's softmax when training begins
CLAP_LOGIT_SCALE = 1 / TEMPERATURE
_MAX_SCALE = 100  # CLIP's bound


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosine of every pair of rows (N, D) and (M, D): (N, M)."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T


def clap_contrastive(
    audio: Tensor, text: Tensor, logit_scale: float | Tensor = CLAP_LOGIT_SCALE, max_logit: float = 100.0
) -> Tensor:
    """L = ½ [CE(C, diagonal) + CE(Cᵀ, diagonal)] with C = min(scale · cos(audio, text), max_logit).

    Arguments
    ---------
    audio, text : torch.Tensor, shape (B, D). Pairs.
    logit_scale : float or torch.Tensor, shape (). The inverse temperature, not its logarithm.
    max_logit : float. As in the published code.
    """
    return _symmetric_cross_entropy((logit_scale * cosines(audio, text)).clamp(max=max_logit))


def _pair_cross_entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _symmetric_cross_entropy(logits: Tensor) -> Tensor:
    return (_pair_cross_entropy(logits) + _pair_cross_entropy(logits.T)) / 2


def affinity_divergence(given: Tensor, wanted: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(wanted) ‖ softmax(given)) of logits (N, M), in nats."""
    log_given, log_wanted = given.log_softmax(dim=-1), wanted.log_softmax(dim=-1)
    return (log_wanted.exp() * (log_wanted - log_given)).sum(dim=-1).mean()


class ClapContrastiveLoss(nn.Module):
    """:func:`clap_contrastive` with the model's temperature; both sides learn. Source: Elizalde et al., ICASSP 2023."""

    @in_float32
    def forward(self, audio: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """(B, D), (B, D) and the inverse temperature () → (), in [0, ∞)."""
        if self.training:
            audio, text = gathered(audio), gathered(text)
        return clap_contrastive(audio, text, scale)


class InBatchLoss(nn.Module):
    """Base: a loss, ``_loss``, of the cosines (B, B) of the student's and the teacher's rows, with a temperature.

    Arguments
    ---------
    temperature : float. Where it begins, if it is learnable.
    learnable : bool. The inverse temperature stays ≤ 100, as in CLIP.
    """

    def __init__(self, temperature: float = TEMPERATURE, learnable: bool = True) -> None:
        super().__init__()
        check_positive(self, temperature=temperature)
        if learnable and temperature * _MAX_SCALE < 1:
            raise ConfigError(f"{type(self).__name__}: temperature={temperature}; a learnable one is at least 0.01")
        self.temperature = temperature
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learnable else None

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        teacher = teacher.detach()
        if self.training:
            student, teacher = gathered(student), gathered(teacher)
        return self._loss(cosines(student, teacher))

    def scale(self) -> float | Tensor:
        """The inverse temperature."""
        if self.log_scale is None:
            return 1 / self.temperature
        if self.training:
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(_MAX_SCALE))  # here, as a clamp in the graph would stop its gradient
        return self.log_scale.exp()


class ContrastiveLoss(InBatchLoss):
    """CLIP's symmetric contrastive loss: L = ½ [CE(C, diagonal) + CE(Cᵀ, diagonal)] with C_ij = cos(s_i, t_j) / τ.

    In [0, ∞); t are the teacher's embeddings of clips or captions. Source: Radford et al., "CLIP", ICML 2021.
    """

    def _loss(self, pairs: Tensor) -> Tensor:
        return _symmetric_cross_entropy(self.scale() * pairs)


class InteractiveContrastiveLoss(InBatchLoss):
    """L = CE(C, diagonal), C_ij = cos(s_i, t_j) / τ: the student's embedding must find its clip among the teacher's.

    In [0, ∞). The half of CLIP-KD's interactive contrastive learning that trains an audio tower. Source: Yang et al.,
    "CLIP-KD", CVPR 2024.
    """

    def _loss(self, pairs: Tensor) -> Tensor:
        return _pair_cross_entropy(self.scale() * pairs)


class SigLIPLoss(InBatchLoss):
    """Pairwise sigmoid loss: L = −(1/B) Σ_ij log σ(z_ij (cos(s_i, t_j) / τ + b)), z_ii = 1, z_ij = −1 elsewhere.

    In (0, ∞). Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023.

    Arguments
    ---------
    temperature, bias : float. τ and b, by which the many negative pairs weigh little at first.
    learnable : bool. Both; the inverse temperature stays ≤ 100.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0, learnable: bool = True) -> None:
        super().__init__(temperature, learnable)
        if not is_number(bias):
            raise ConfigError(f"SigLIPLoss: bias={bias!r}; give a number, -10 for instance")
        self.bias = nn.Parameter(torch.tensor(float(bias))) if learnable else float(bias)

    def _loss(self, pairs: Tensor) -> Tensor:
        signs = 2 * torch.eye(len(pairs), device=pairs.device, dtype=pairs.dtype) - 1
        return -F.logsigmoid(signs * (self.scale() * pairs + self.bias)).sum() / len(pairs)


class AffinityLoss(nn.Module):
    """Affinity mimicking: L = mean_i KL(softmax_j(cos(t_i, k_j) / τ) ‖ softmax_j(cos(s_i, k_j) / τ)), in [0, ∞).

    The keys k are the teacher's embeddings of the batch's clips, or of a bank of texts. It is the published loss less
    the teacher's entropy, which is constant. Source: Wu et al., "TinyCLIP", ICCV 2023.

    Arguments
    ---------
    temperature : float. τ, of both sides.
    both_directions : bool. Average with the same loss of the columns: for each key, a distribution over clips.
    texts : sequence of str, str or os.PathLike, optional
        Texts, or a file with one a line, which a live teacher embeds; or a label bank (.npz, .json) of the teacher.
    """

    def __init__(self, temperature: float = TEMPERATURE, both_directions: bool = False, texts: Any = None) -> None:
        super().__init__()
        check_positive(self, temperature=temperature)
        self.temperature, self.both_directions, self.texts = temperature, both_directions, texts
        self.register_buffer("bank", None, persistent=False)  # made of the texts at each start
        if isinstance(texts, str | os.PathLike) and Path(texts).suffix in (".npz", ".json"):
            self.texts = None
            self.set_bank(torch.from_numpy(LabelBank.load(texts).vectors))

    def bank_texts(self) -> list[str]:
        """The texts that the teacher has to embed for :meth:`set_bank`."""
        if not isinstance(self.texts, str | os.PathLike):
            return list(self.texts or [])
        if not Path(self.texts).is_file():
            raise ConfigError(f"AffinityLoss: texts={str(self.texts)!r}; there is no such file")
        return [line.strip() for line in Path(self.texts).read_text(encoding="utf-8").splitlines() if line.strip()]

    def set_bank(self, rows: Tensor) -> None:
        """Compare with these keys (N, D) instead of the batch's clips."""
        self.bank = F.normalize(rows.detach().float(), dim=-1)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, D) and (B, D) → ()."""
        teacher = teacher.detach()
        if self.training:
            student, teacher = gathered(student), gathered(teacher)
        keys = teacher if self.bank is None else self.bank.to(student.device)
        if keys.shape[1] != student.shape[1]:
            sizes = f"texts of {keys.shape[1]} dimensions, and a student of {student.shape[1]}"
            raise ConfigError(f"AffinityLoss: {sizes}; the bank is of the student's teacher")
        given, wanted = cosines(student, keys) / self.temperature, cosines(teacher, keys) / self.temperature
        loss = affinity_divergence(given, wanted)
        return (loss + affinity_divergence(given.T, wanted.T)) / 2 if self.both_directions else loss
