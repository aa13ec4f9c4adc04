"""Hints on features: numbers by hand, standardisation and its statistics, gradients."""

import pytest
import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError
from tinyclap.losses import FeatureHint, MapHint


def feature_hint():
    hint = FeatureHint(2, 2).train()
    hint.map.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    return hint


def map_hint():
    hint = MapHint(2, 2).train()
    hint.map.load_state_dict({"weight": torch.eye(2)[:, :, None, None], "bias": torch.zeros(2)})
    return hint


def test_frame_hints_are_standardised_and_the_student_s_time_axis_is_resampled():
    hint, teacher = feature_hint(), torch.randn(3, 4, 2) * 50 + 10
    standardised = (teacher - teacher.mean((0, 1))) / teacher.std((0, 1), unbiased=False)
    assert hint(standardised, teacher).item() == pytest.approx(0, abs=1e-6)
    doubled = standardised.repeat_interleave(2, dim=1)  # twice as many frames
    assert hint(doubled, teacher).item() == pytest.approx(0, abs=1e-6)
    assert hint(torch.zeros(3, 4, 2), teacher).item() == pytest.approx(1, rel=1e-3), "variance of what is standardised"


def test_map_hints_compare_on_the_coarser_grid():
    hint, teacher = map_hint(), torch.randn(3, 2, 4, 6) * 50 + 10
    centred = teacher - teacher.mean((0, 2, 3))[:, None, None]
    standardised = centred / teacher.std((0, 2, 3), unbiased=False)[:, None, None]
    assert hint(standardised, teacher).item() == pytest.approx(0, abs=1e-6)
    finer = standardised.repeat_interleave(2, dim=2)
    assert hint(finer, teacher).item() == pytest.approx(0, abs=1e-6)
    coarser = F.avg_pool2d(standardised, 2)
    assert hint(coarser, teacher).item() == pytest.approx(0, abs=1e-6)


def test_the_map_is_applied_before_the_comparison():
    # Teacher's channel: 1, 3 → standardised −1, 1. Student 0, 2, mapped by 2 s − 1 to −1, 3: mean of (0, 4) is 2.
    hint = FeatureHint(1, 1).train()
    hint.map.load_state_dict({"weight": torch.tensor([[2.0]]), "bias": torch.tensor([-1.0])})
    value = hint(torch.tensor([[[0.0]], [[2.0]]]), torch.tensor([[[1.0]], [[3.0]]]))
    assert value.item() == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(("hint", "shape"), [(FeatureHint(4, 4), (3, 5, 4)), (MapHint(4, 4), (3, 4, 5, 6))])
def test_hints_leave_the_teacher_alone(hint, shape):
    student, teacher = torch.randn(shape, requires_grad=True), torch.randn(shape, requires_grad=True)
    hint(student, teacher).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


@pytest.mark.parametrize(
    ("make", "shape", "dims"), [(feature_hint, (4, 3, 2), (0, 1)), (map_hint, (4, 2, 3, 5), (0, 2, 3))]
)
def test_a_warm_hint_validates_by_the_average_statistics_of_its_batches(make, shape, dims):
    torch.manual_seed(0)
    batches = [torch.randn(shape) * 9 + 40 * channel for channel in range(3)]
    hint = make().train()
    hint(torch.zeros(shape), torch.randn(shape) - 700)  # whatever came before does not count
    hint.warm_up(iter(batches))
    assert hint.training
    mean = torch.stack([batch.mean(dims) for batch in batches]).mean(0)
    variance = torch.stack([batch.var(dims) for batch in batches]).mean(0)
    teacher = batches[1]
    shaped = (-1,) if len(dims) == 2 else (-1, 1, 1)
    standardised = (teacher - mean.view(shaped)) / (variance.view(shaped) + 1e-5).sqrt()
    assert hint.eval()(standardised, teacher).item() == pytest.approx(0, abs=1e-6)


def test_a_warm_hint_s_validation_does_not_drift_while_training_goes_on():
    """A best epoch was chosen wrongly: with cold statistics the validation's total grew from epoch to epoch."""
    torch.manual_seed(0)
    batches = [torch.randn(8, 3, 2) * 30 - 50 for _ in range(20)]
    student = torch.zeros(8, 3, 2)

    def validations(hint):
        found = []
        for _ in range(3):
            for batch in batches:
                hint.train()(student, batch)
            found.append(hint.eval()(student, batches[0]).item())
        return found

    warm = feature_hint()
    warm.warm_up(batches)
    settled = validations(warm)
    assert max(settled) / min(settled) < 1.05 and settled[0] == pytest.approx(1, abs=0.3)
    cold = validations(feature_hint())
    assert max(cold) / min(cold) > 2


def test_a_resumed_hint_has_its_statistics():
    torch.manual_seed(0)
    hint, resumed, student, teacher = feature_hint(), FeatureHint(2, 2), torch.randn(3, 4, 2), torch.randn(3, 4, 2) + 5
    hint(student, teacher)
    resumed.load_state_dict(hint.state_dict())
    assert resumed.eval()(student, teacher) == hint.eval()(student, teacher)
    assert resumed.train()(student, teacher) == hint.train()(student, teacher)


def test_a_batch_of_one_clip_s_mean_is_standardised_by_the_running_statistics():
    hint = feature_hint()
    pair, alone = torch.tensor([[[1.0, 5.0]], [[3.0, 9.0]]]), torch.zeros(1, 1, 2)
    hint.warm_up([pair, alone])  # mean (2, 7), variance (2, 8); one value has no variance
    value = hint(torch.zeros(1, 1, 2), torch.tensor([[[4.0, 7.0]]]))
    assert value.item() == pytest.approx((2 + 0) / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("hint", "student", "teacher"),
    [(FeatureHint(4, 3), (2, 5, 4), (2, 5, 6)), (MapHint(4, 3), (2, 4, 5, 5), (2, 6, 5, 5))],
)
def test_a_teacher_of_another_width_is_refused(hint, student, teacher):
    with pytest.raises(ConfigError, match="3 channels, and this one gives 6"):
        hint(torch.randn(student), torch.randn(teacher))


@pytest.mark.parametrize("make", [FeatureHint, MapHint])
@pytest.mark.parametrize("dims", [(0, 4), (4, -1), ("4", 4), (4.5, 4)])
def test_widths_are_whole_numbers_above_0(make, dims):
    with pytest.raises(ConfigError, match="give a whole number above 0"):
        make(*dims)
