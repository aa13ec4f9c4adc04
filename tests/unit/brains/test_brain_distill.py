"""Distilling an audio tower: what learns, what stands still, and sides that do not fit."""

import pytest
import torch
from small_run import RATE, Distillation, ToneTeacher, make_corpora, make_student, moved, snapshot

from tinyclap.checkpoints.state import load_folder
from tinyclap.errors import ConfigError
from tinyclap.losses.distillation import CosineDistillLoss


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def distil(corpora, tmp_path):
    """Makes a run in a folder of the test's own."""
    return lambda folder="run", **options: Distillation(corpora, tmp_path / folder, **options)


def test_the_student_learns_and_the_teacher_stands_still(distil):
    run = distil()
    teacher = run.brain.modules.teacher
    before, student_before = snapshot(teacher), snapshot(run.brain.modules.student)
    run.fit()
    assert not moved(teacher, before)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    parameters = {name for name, _ in run.brain.modules.student.named_parameters()}
    assert parameters <= moved(run.brain.modules.student, student_before)
    losses = [record["valid"]["loss"] for record in run.history()]
    assert losses[1] < losses[0]


def test_the_teacher_stays_in_eval_mode_and_free_of_gradients_when_the_modules_train(distil):
    run = distil()
    run.brain.modules.train()
    assert run.brain.modules.student.training
    assert not any(module.training for module in run.brain.modules.teacher.modules())
    wavs = torch.randn(4, 1600)
    with torch.enable_grad():
        rows = run.brain.modules.teacher.embed_audio(wavs, RATE)
    assert not rows.requires_grad
    assert torch.equal(rows, run.brain.modules.teacher.embed_audio(wavs, RATE)), "no dropout"


def test_the_optimiser_holds_trainable_parameters_only(distil):
    run = distil(student=make_student(freeze_encoder=True))
    run.brain.init_optimizers()
    held = {id(parameter) for group in run.brain.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in run.brain.modules.student.projection.parameters()}


def test_a_frozen_encoder_s_statistics_stand_still_in_stage_two(distil):
    run = distil(student=make_student(freeze_encoder=True))
    before = snapshot(run.brain.modules.student)
    run.fit()
    assert moved(run.brain.modules.student, before) == {"projection.linear.weight", "projection.linear.bias"}


def test_the_official_code_s_frozen_encoder_drifts_behind_its_switch(distil):
    run = distil(student=make_student(freeze_encoder=True, reference_frozen_drift=True))
    before = snapshot(run.brain.modules.student)
    run.fit()
    changed = moved(
        run.brain.modules.student.encoder, {k[8:]: v for k, v in before.items() if k.startswith("encoder.")}
    )
    assert changed and all("running" in name or "num_batches" in name for name in changed)


def test_the_average_is_what_is_validated_and_released(distil, tmp_path):
    run = distil(ema_decay=0.9)
    run.fit()
    assert run.brain.average.n_averaged == len(run.steps())
    assert run.brain.evaluated_student() is run.brain.average.module
    run.brain.release(tmp_path / "released", {"seed": 7})
    released, config = load_folder(tmp_path / "released")
    assert not moved(released, run.brain.average.module.state_dict())
    assert moved(released, run.brain.modules.student.state_dict())
    assert config["seed"] == 7 and config["selected"]["epoch"] in (1, 2)


def test_a_student_of_another_width_is_told_the_teacher_s(distil):
    with pytest.raises(ConfigError, match="give --embed_dim 6"):
        distil(student=make_student(embed_dim=5))


def test_data_of_another_rate_than_the_student_s_is_refused(distil):
    with pytest.raises(ConfigError, match="listens at 8000 Hz, the data comes at 16000 Hz"):
        distil(sample_rate_hz=16000)


def test_a_student_without_probabilities_is_refused_in_the_tag_space(distil):
    teacher = ToneTeacher().load()
    teacher.score_kind = "sqrt_dot"
    with pytest.raises(ConfigError, match="tag probabilities, and this student gives none"):
        distil(modules={"teacher": teacher, "distill_loss": CosineDistillLoss()})
