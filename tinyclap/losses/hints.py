"""Hints: feature maps of the student, through a learnt map, against standardised ones of the teacher.

Source: Romero et al., "FitNets", ICLR 2015.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, in_float32


class _Hint(nn.Module):
    def __init__(self, map_: nn.Module, standardise: nn.Module) -> None:
        super().__init__()
        self.map, self.standardise = map_, standardise

    def standardised(self, teacher: Tensor) -> Tensor:
        """The teacher's (B, C', …), standardised in each channel; a single value by the running statistics."""
        teacher, norm = teacher.detach(), self.standardise
        if teacher.shape[1] != norm.num_features:
            made_for = f"made for a teacher of {norm.num_features} channels, and this one gives {teacher.shape[1]}"
            raise ConfigError(f"{type(self).__name__}: {made_for}; give teacher_dim: {teacher.shape[1]}")
        if teacher.numel() == teacher.shape[1]:
            return F.batch_norm(teacher, norm.running_mean, norm.running_var)
        return norm(teacher)

    def _settle(self, teachers: Iterable[Tensor]) -> None:
        """Set the running statistics to their plain average over the teacher's (B, C', …)."""
        norm, momentum, training = self.standardise, self.standardise.momentum, self.standardise.training
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
        with torch.no_grad():
            for teacher in teachers:
                if teacher.numel() > teacher.shape[1]:  # a single value has no variance
                    norm(teacher.to(norm.running_mean))
        norm.momentum = momentum
        norm.train(training)


class FeatureHint(_Hint):
    """L = mean (W s + b − standardised t)², in [0, ∞): frames of the student, mapped, against frames of the teacher.

    Frames are feature maps averaged over frequency. The teacher's channels are standardised by the batch in training,
    by running statistics in validation.

    Arguments
    ---------
    student_dim, teacher_dim : int. Channels C and C'.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        check_positive(self, int, student_dim=student_dim, teacher_dim=teacher_dim)
        super().__init__(nn.Linear(student_dim, teacher_dim), nn.BatchNorm1d(teacher_dim, affine=False, momentum=0.01))

    def warm_up(self, batches: Iterable[Tensor]) -> None:
        """Set the running statistics to their average over the teacher's frames (B, F', C') of these batches."""
        self._settle(frames.transpose(1, 2) for frames in batches)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Frames (B, F, C) and (B, F', C') → (); the student's time axis is resampled."""
        wanted = self.standardised(teacher.transpose(1, 2))
        given = self.map(student).transpose(1, 2)
        if given.shape[-1] != wanted.shape[-1]:
            given = F.adaptive_avg_pool1d(given, wanted.shape[-1])
        return F.mse_loss(given, wanted)


class MapHint(_Hint):
    """As :class:`FeatureHint`, of feature maps over time and frequency, on the coarser grid of both.

    Arguments
    ---------
    student_dim, teacher_dim : int. Channels C and C'.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        check_positive(self, int, student_dim=student_dim, teacher_dim=teacher_dim)
        super().__init__(
            nn.Conv2d(student_dim, teacher_dim, 1), nn.BatchNorm2d(teacher_dim, affine=False, momentum=0.01)
        )

    def warm_up(self, batches: Iterable[Tensor]) -> None:
        """Set the running statistics to their average over the teacher's maps (B, C', F', M') of these batches."""
        self._settle(batches)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Maps (B, C, F, M) and (B, C', F', M') → ()."""
        wanted, given = self.standardised(teacher), self.map(student)
        grid = [min(sizes) for sizes in zip(given.shape[2:], wanted.shape[2:], strict=True)]
        return F.mse_loss(F.adaptive_avg_pool2d(given, grid), F.adaptive_avg_pool2d(wanted, grid))
