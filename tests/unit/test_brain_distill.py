"""Runs of a few steps: what is trained, what stands still, what is logged, and that a killed run goes on unharmed."""

import csv
import json

import pytest
import torch
from small_run import CLIP_S, RATE, ToneTeacher, make_brain, make_corpora, make_student

from tinyclap.brains import EmbeddingDistillBrain
from tinyclap.checkpoints import load_folder
from tinyclap.data.pipeline import make_training_sets
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.losses import CosineDistillLoss
from tinyclap.schedules import CosineSchedule, PlateauSchedule


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def distil(corpora, tmp_path):
    """Makes a Brain, and a function that trains it: 18 tones, about 12 of them to train on."""

    def make(folder="run", **options):
        brain = make_brain(EmbeddingDistillBrain, tmp_path / folder, **options)

        def fit():
            datasets = make_training_sets(
                corpora, RATE, CLIP_S, seed=7, epoch_counter=brain.hparams.epoch_counter, valid_fraction=0.3
            )
            loader = {"batch_size": 3}
            brain.fit(
                brain.hparams.epoch_counter,
                datasets["train"],
                datasets["valid"],
                train_loader_kwargs={**loader, "shuffle": True},
                valid_loader_kwargs=loader,
            )

        return brain, fit

    return make


def steps_of(brain):
    with open(brain._path("train_steps.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def history_of(brain):
    return [json.loads(line) for line in brain._path("history.jsonl").read_text(encoding="utf-8").splitlines()]


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


# What moves and what does not -----------------------------------------------------------------------------------------


def test_the_student_learns_and_the_teacher_stands_still(distil):
    brain, fit = distil()
    teacher = brain.modules.teacher
    before, student_before = snapshot(teacher), snapshot(brain.modules.student)
    fit()
    assert not moved(teacher, before)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    parameters = {name for name, _ in brain.modules.student.named_parameters()}
    assert parameters <= moved(brain.modules.student, student_before)
    losses = [record["valid"]["loss"] for record in history_of(brain)]
    assert losses[1] < losses[0]


def test_the_teacher_stays_in_eval_mode_and_free_of_gradients_when_the_modules_train(distil):
    brain, _ = distil()
    brain.modules.train()
    assert brain.modules.student.training
    assert not any(module.training for module in brain.modules.teacher.modules())
    wavs = torch.randn(4, 1600)
    with torch.enable_grad():
        rows = brain.modules.teacher.embed_audio(wavs, RATE)
    assert not rows.requires_grad
    assert torch.equal(rows, brain.modules.teacher.embed_audio(wavs, RATE)), "no dropout"


def test_the_optimiser_holds_trainable_parameters_only(distil):
    brain, _ = distil(student=make_student(freeze_encoder=True))
    brain.init_optimizers()
    held = {id(parameter) for group in brain.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in brain.modules.student.projection.parameters()}


def test_a_frozen_encoder_s_statistics_stand_still_in_stage_two(distil):
    brain, fit = distil(student=make_student(freeze_encoder=True))
    before = snapshot(brain.modules.student)
    fit()
    assert moved(brain.modules.student, before) == {"projection.linear.weight", "projection.linear.bias"}


def test_the_official_code_s_frozen_encoder_drifts_behind_its_switch(distil):
    brain, fit = distil(student=make_student(freeze_encoder=True, reference_frozen_drift=True))
    before = snapshot(brain.modules.student)
    fit()
    changed = moved(brain.modules.student.encoder, {k[8:]: v for k, v in before.items() if k.startswith("encoder.")})
    assert changed and all("running" in name or "num_batches" in name for name in changed)


def test_the_average_is_what_is_validated_and_released(distil, tmp_path):
    brain, fit = distil(ema_decay=0.9)
    fit()
    assert brain.average.n_updates == len(steps_of(brain))
    assert brain.evaluated_student() is brain.average.average
    brain.release(tmp_path / "released", {"seed": 7})
    released, config = load_folder(tmp_path / "released")
    assert not moved(released, brain.average.average.state_dict())
    assert moved(released, brain.modules.student.state_dict())
    assert config["seed"] == 7 and config["selected"]["epoch"] in (1, 2)


# Learning rate --------------------------------------------------------------------------------------------------------


def test_the_schedule_is_applied_at_every_step(distil):
    brain, fit = distil()
    applied = []
    take_step = brain.optimizers_step
    brain.optimizers_step = lambda: (applied.append(brain.optimizer.param_groups[0]["lr"]), take_step())
    fit()
    schedule = CosineSchedule(lr=0.01, warmup_fraction=0.25)
    n_steps = len(applied)
    assert applied == pytest.approx([schedule.lr_at(step / n_steps) for step in range(n_steps)])
    assert [float(row["lr"]) for row in steps_of(brain)] == applied, "and written down as it was"
    assert len(set(applied)) > n_steps / 2


def test_a_plateau_lowers_the_optimiser_s_rate_and_its_state_is_recovered(distil):
    class Worsening(CosineDistillLoss):
        """A loss whose validation never improves."""

        def forward(self, student, teacher):
            return super().forward(student, teacher) * 0

    options = {"modules": {"teacher": ToneTeacher().load(), "distill_loss": Worsening()}}
    brain, fit = distil(lr_schedule=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
    fit()
    assert [record["lr"] for record in history_of(brain)] == [0.01, 0.01]
    assert brain.hparams.lr_schedule.lr == 0.005
    resumed, fit = distil(lr_schedule=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
    resumed.hparams.epoch_counter.limit = 3
    fit()
    assert [record["lr"] for record in history_of(resumed)] == [0.01, 0.01, 0.005]
    assert {float(row["lr"]) for row in steps_of(resumed)[-2:]} == {0.005}
    assert resumed.optimizer.param_groups[0]["lr"] == 0.005


# Resuming -------------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """What stands in for SIGKILL."""


def run_until(brain, fit, at):
    """Train, and stop dead at the step `at` (epoch, step), before it is taken."""
    start = brain.on_fit_batch_start

    def stop(batch, should_step):
        if (brain.hparams.epoch_counter.current, brain.step) == at:
            raise Killed
        start(batch, should_step)

    brain.on_fit_batch_start = stop
    with pytest.raises(Killed):
        fit()


@pytest.mark.parametrize("at", [(1, 4), (2, 1), (2, 3)])
def test_a_killed_run_repeats_the_unbroken_one(distil, at):
    options = {"ema_decay": 0.9, "run_opts": {"ckpt_interval_steps": 2}}
    unbroken, fit = distil("unbroken", **options)
    fit()
    run_until(*distil("killed", **options), at)
    resumed, fit = distil("killed", **options)
    resumed_from = {}
    truncate = resumed._truncate_logs
    resumed._truncate_logs = lambda: (truncate(), resumed_from.update(steps=len(steps_of(resumed))))
    fit()
    assert 0 < resumed_from["steps"] < len(steps_of(unbroken)), "it did go on from a checkpoint"
    assert steps_of(resumed) == steps_of(unbroken)
    assert history_of(resumed) == history_of(unbroken)
    assert not moved(resumed.modules.student, unbroken.modules.student.state_dict())
    assert not moved(resumed.average, unbroken.average.state_dict())


def test_a_run_killed_between_training_and_validation_goes_on(distil):
    unbroken, fit = distil("unbroken")
    fit()
    per_epoch = len(steps_of(unbroken)) // 2
    killed, fit = distil("killed", run_opts={"ckpt_interval_steps": per_epoch})

    def stop(**_):
        raise Killed

    killed._fit_valid = stop
    with pytest.raises(Killed):
        fit()
    resumed, fit = distil("killed")
    fit()
    assert steps_of(resumed) == steps_of(unbroken)
    assert history_of(resumed) == history_of(unbroken)


def test_steps_and_epochs_that_the_checkpoint_does_not_know_are_dropped_from_the_logs(distil):
    brain, fit = distil()
    fit()
    rows, epochs = steps_of(brain), history_of(brain)
    with open(brain._path("train_steps.csv"), "a", encoding="utf-8") as file:
        file.write("3,1,0.1,-0.5,-0.5\n3,2,0.1")  # an epoch that was killed, its last line torn
    with open(brain._path("history.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps({**epochs[-1], "epoch": 3}) + '\n{"epoch": 4, "lr"')
    again, fit = distil()
    fit()
    assert steps_of(again) == rows and history_of(again) == epochs


def test_logs_of_a_run_whose_checkpoints_are_gone_start_anew(distil):
    brain, fit = distil()
    fit()
    brain.checkpointer.delete_checkpoints(num_to_keep=0)
    assert not brain.checkpointer.list_checkpoints()
    n_rows = len(steps_of(brain))
    again, fit = distil()
    fit()
    assert len(steps_of(again)) == n_rows and [record["epoch"] for record in history_of(again)] == [1, 2]


def test_losses_are_logged_in_full_precision(distil):
    brain, fit = distil()
    fit()
    row = steps_of(brain)[-1]
    assert row["loss"] == row["distill"] and len(row["loss"]) > 10
    record = history_of(brain)[-1]
    epoch_rows = [float(row["loss"]) for row in steps_of(brain) if row["epoch"] == "2"]
    assert record["train"]["loss"] == pytest.approx(sum(epoch_rows) / len(epoch_rows), rel=1e-6)
    assert -1 <= record["valid"]["cosine"] <= 1
    assert record["valid"]["loss"] == pytest.approx(-record["valid"]["cosine"], abs=0.2)


# Checkpoints and refusals ---------------------------------------------------------------------------------------------


def test_the_best_and_the_last_checkpoint_are_kept_and_the_best_is_recovered(distil):
    brain, fit = distil()
    worsening = iter([0.1, 0.5])
    brain.validation_stats = lambda: {"ignored": 0.0}
    end = brain.on_stage_end
    brain.on_stage_end = lambda stage, loss, epoch=None: end(
        stage, next(worsening) if stage.name == "VALID" else loss, epoch
    )
    fit()
    losses = sorted(checkpoint.meta["valid_loss"] for checkpoint in brain.checkpointer.list_checkpoints())
    assert losses == [0.1, 0.5]
    assert brain.recover_best() == {
        "checkpoint": brain.checkpointer.find_checkpoint(min_key="valid_loss").path.name,
        "epoch": 1,
        "valid_loss": 0.1,
    }


def test_scoring_without_any_checkpoint_is_refused(distil, corpora):
    brain, _ = distil()
    sets = make_training_sets(corpora, RATE, CLIP_S, 7, brain.hparams.epoch_counter, valid_fraction=0.3)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*save; train first"):
        brain.evaluate(sets["valid"], test_loader_kwargs={"batch_size": 4})


def test_scoring_without_a_checkpointer_is_refused(distil):
    brain, _ = distil()
    brain.checkpointer = None
    with pytest.raises(CheckpointError, match="no checkpointer"):
        brain.on_evaluate_start()


def test_releasing_an_untrained_run_is_refused_and_writes_nothing(distil, tmp_path):
    brain, _ = distil()
    with pytest.raises(CheckpointError):
        brain.release(tmp_path / "released", {})
    assert not (tmp_path / "released").exists()


def test_a_weight_of_a_term_that_there_is_not_is_refused(distil):
    brain, fit = distil(loss_weights={"distil": 1.0})
    with pytest.raises(ConfigError, match=r"loss_weights names \['distil'\]; the terms are \['distill'\]"):
        fit()


@pytest.mark.parametrize(("weights", "factor"), [({"distill": 0.25}, 0.25), ({}, 1.0)])
def test_the_total_is_the_weighted_sum_and_a_term_without_a_weight_counts_once(distil, weights, factor):
    brain, fit = distil(loss_weights=weights)
    fit()
    for row in steps_of(brain):
        assert float(row["loss"]) == pytest.approx(factor * float(row["distill"]), rel=1e-6)


def test_missing_keys_are_all_named_at_once(distil):
    brain, _ = distil()
    hparams = {key: getattr(brain.hparams, key) for key in ("output_folder", "epoch_counter", "lr_schedule")}
    with pytest.raises(ConfigError, match="seed, ema_decay, loss_weights, sample_rate_hz"):
        EmbeddingDistillBrain({**brain.modules}, torch.optim.Adam, hparams, {"device": "cpu"}, brain.checkpointer)


def test_a_student_of_another_width_is_told_the_teacher_s(distil):
    with pytest.raises(ConfigError, match="give --embed_dim 6"):
        distil(student=make_student(embed_dim=5))


def test_data_of_another_rate_than_the_student_s_is_refused(distil):
    with pytest.raises(ConfigError, match="listens at 8000 Hz, the data comes at 16000 Hz"):
        distil(sample_rate_hz=16000)
