"""Hints (Romero et al., "FitNets", ICLR 2015): feature maps of the student, mapped, against standardised ones."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import ConfigError
from tinyclap.losses.common import check_positive, in_float32


class _Hint(nn.Module):
    """Base: the learnt map, and BatchNorm without weights of the teacher's channels."""

    def __init__(self, map_: type, norm: type, student_dim: int, teacher_dim: int, *kernel: int) -> None:
        check_positive(self, int, student_dim=student_dim, teacher_dim=teacher_dim)
        super().__init__()
        self.map = map_(student_dim, teacher_dim, *kernel)
        self.standardise = norm(teacher_dim, affine=False, momentum=0.01)

    def _channels_first(self, teacher: Tensor) -> Tensor:
        return teacher

    def _standardised(self, teacher: Tensor) -> Tensor:
        """The teacher's (B, C', …), standardised in each channel; a single value by the running statistics."""
        teacher, norm = self._channels_first(teacher.detach()), self.standardise
        if teacher.shape[1] != norm.num_features:
            made_for = f"made for a teacher of {norm.num_features} channels, and this one gives {teacher.shape[1]}"
            raise ConfigError(f"{type(self).__name__}: {made_for}; give teacher_dim: {teacher.shape[1]}")
        if teacher.numel() == teacher.shape[1]:
            return F.batch_norm(teacher, norm.running_mean, norm.running_var)
        return norm(teacher)

    @torch.no_grad()
    def warm_up(self, batches: Iterable[Tensor]) -> None:
        """Set the running statistics to their plain average over these batches of the teacher's."""
        norm, momentum, training = self.standardise, self.standardise.momentum, self.standardise.training
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
        for batch in batches:
            teacher = self._channels_first(batch)
            if teacher.numel() > teacher.shape[1]:  # a single value has no variance
                norm(teacher.to(norm.running_mean))
        norm.momentum = momentum
        norm.train(training)


class FeatureHint(_Hint):
    """L = mean (W s + b − standardised t)², in [0, ∞): frames of the student, mapped, against frames of the teacher.

    Frames are feature maps averaged over frequency, of C, `student_dim`, and C', `teacher_dim`, channels. The teacher's
    are standardised by the batch in training, by running statistics in validation.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__(nn.Linear, nn.BatchNorm1d, student_dim, teacher_dim)

    def _channels_first(self, teacher: Tensor) -> Tensor:
        return teacher.transpose(1, 2)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Frames (B, F, C) and (B, F', C') → (); the student's time axis is resampled."""
        wanted, given = self._standardised(teacher), self.map(student).transpose(1, 2)
        if given.shape[-1] != wanted.shape[-1]:
            given = F.adaptive_avg_pool1d(given, wanted.shape[-1])
        return F.mse_loss(given, wanted)


class MapHint(_Hint):
    """As :class:`FeatureHint`, of feature maps over time and frequency, on the coarser grid of both.

    Channels are C, `student_dim`, and C', `teacher_dim`.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__(nn.Conv2d, nn.BatchNorm2d, student_dim, teacher_dim, 1)

    @in_float32
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Maps (B, C, F, M) and (B, C', F', M') → ()."""
        wanted, given = self._standardised(teacher), self.map(student)
        grid = [min(sizes) for sizes in zip(given.shape[2:], wanted.shape[2:], strict=True)]
        return F.mse_loss(F.adaptive_avg_pool2d(given, grid), F.adaptive_avg_pool2d(wanted, grid))
