"""Learning rates that are applied, and whose state survives a kill."""

import math

import pytest
from speechbrain.utils.checkpoints import Checkpointer

from tinyclap.errors import ConfigError
from tinyclap.training.schedules import CosineSchedule, ExponentialSchedule, PlateauSchedule


def test_the_cosine_rises_linearly_and_falls_to_its_end():
    schedule = CosineSchedule(lr=0.4, final_lr=0.1, warmup_fraction=0.2)
    assert [schedule.lr_at(progress) for progress in (0.0, 0.05, 0.1, 0.2)] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    quarter = 0.1 + 0.3 * 0.5 * (1 + math.cos(math.pi / 4))
    assert schedule.lr_at(0.4) == pytest.approx(quarter)
    assert schedule.lr_at(0.6) == pytest.approx(0.25)
    assert schedule.lr_at(1.0) == pytest.approx(0.1)
    assert schedule.lr_at(1.5) == pytest.approx(0.1), "no rate beyond the end"


def test_without_warm_up_the_first_step_has_the_peak():
    assert CosineSchedule(lr=0.4, warmup_fraction=0.0).lr_at(0.0) == pytest.approx(0.4)


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_warm_up_that_is_no_share_is_refused(fraction):
    with pytest.raises(ConfigError, match="warmup_fraction"):
        CosineSchedule(lr=0.1, warmup_fraction=fraction)


def test_the_exponential_falls_by_one_factor_in_equal_times():
    schedule = ExponentialSchedule(lr=0.5, final_lr=0.0005, warmup_fraction=0.25)
    assert [schedule.lr_at(progress) for progress in (0.0, 0.125, 0.25)] == pytest.approx([0.0, 0.25, 0.5])
    assert [schedule.lr_at(progress) for progress in (0.5, 0.75, 1.0)] == pytest.approx([0.05, 0.005, 0.0005])


@pytest.mark.parametrize("options", [{"final_lr": 0.0}, {"final_lr": 2.0}, {"final_lr": 0.1, "warmup_fraction": 1.0}])
def test_an_exponential_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError):
        ExponentialSchedule(lr=1.0, **options)


def rates(schedule, valid_losses):
    lrs = []
    for loss in valid_losses:
        schedule.on_epoch_end(loss)
        lrs.append(schedule.lr_at(0.5))
    return lrs


def test_the_plateau_bears_its_patience_and_then_lowers_the_rate():
    schedule = PlateauSchedule(lr=1.0, factor=0.1, patience=2, min_lr=0.05)
    # 3.0 is the best; three epochs without a better one exceed a patience of two.
    assert rates(schedule, [4.0, 3.0, 3.0, 3.5, 3.2]) == pytest.approx([1, 1, 1, 1, 0.1])
    assert rates(schedule, [2.9, 3.0, 3.0, 3.0]) == pytest.approx([0.1, 0.1, 0.1, 0.05]), "not below min_lr"


def test_a_rate_below_the_minimum_is_not_raised():
    assert rates(PlateauSchedule(lr=1e-7, patience=0), [1.0, 1.0, 1.0]) == [1e-7] * 3


@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0, -0.1])
def test_a_factor_that_lowers_nothing_is_refused(factor):
    with pytest.raises(ConfigError, match="factor"):
        PlateauSchedule(lr=0.1, factor=factor)


@pytest.mark.parametrize("final_lr", [-0.1, 0.2])
def test_a_cosine_that_rises_is_refused(final_lr):
    with pytest.raises(ConfigError, match="final_lr"):
        CosineSchedule(lr=0.1, final_lr=final_lr)


def test_the_official_code_s_dead_schedule_never_lowers_the_rate():
    assert rates(PlateauSchedule(1.0, patience=0, reference_dead_lr_schedule=True), [1.0] * 20) == [1.0] * 20


def test_the_plateau_goes_on_from_a_checkpoint(tmp_path):
    unbroken = PlateauSchedule(lr=1.0, factor=0.5, patience=1)
    rates(unbroken, [2.0, 2.0, 2.0, 2.0])
    Checkpointer(tmp_path, {"lr_annealing": unbroken}).save_checkpoint()
    resumed = PlateauSchedule(lr=1.0, factor=0.5, patience=1)
    Checkpointer(tmp_path, {"lr_annealing": resumed}).recover_if_possible()
    assert resumed.lr == 0.5 and resumed.n_bad == 1
    assert rates(resumed, [2.0, 1.0, 1.5, 1.5]) == rates(unbroken, [2.0, 1.0, 1.5, 1.5]) == [0.25, 0.25, 0.25, 0.125]


def test_a_schedule_of_progress_alone_can_be_part_of_a_checkpoint(tmp_path):
    checkpointer = Checkpointer(tmp_path, {"lr_annealing": CosineSchedule(0.1)})
    checkpointer.save_checkpoint()
    assert checkpointer.recover_if_possible() is not None
