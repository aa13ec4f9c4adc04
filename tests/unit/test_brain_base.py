"""What every Brain owes: a schedule that is applied, exact logs, resuming after a kill, nothing scored unloaded."""

import json

import pytest
import torch
from small_run import Distillation, Killed, ToneTeacher, make_corpora, moved

from tinyclap.brains import EmbeddingDistillBrain
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.losses import CosineDistillLoss
from tinyclap.schedules import CosineSchedule, PlateauSchedule


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def distil(corpora, tmp_path):
    """Makes a run in a folder of the test's own."""
    return lambda folder="run", **options: Distillation(corpora, tmp_path / folder, **options)


# Learning rate --------------------------------------------------------------------------------------------------------


def test_the_schedule_is_applied_at_every_step(distil):
    run = distil()
    applied = []
    take_step = run.brain.optimizers_step
    run.brain.optimizers_step = lambda: (applied.append(run.brain.optimizer.param_groups[0]["lr"]), take_step())
    run.fit()
    schedule = CosineSchedule(lr=0.01, warmup_fraction=0.25)
    n_steps = len(applied)
    assert applied == pytest.approx([schedule.lr_at(step / n_steps) for step in range(n_steps)])
    assert [float(row["lr"]) for row in run.steps()] == applied, "and written down as it was"
    assert len(set(applied)) > n_steps / 2


def test_a_plateau_lowers_the_optimiser_s_rate_and_its_state_is_recovered(distil):
    class Worsening(CosineDistillLoss):
        """A loss whose validation never improves."""

        def forward(self, student, teacher):
            return super().forward(student, teacher) * 0

    options = {"modules": {"teacher": ToneTeacher().load(), "distill_loss": Worsening()}}
    run = distil(lr_schedule=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
    run.fit()
    assert [record["lr"] for record in run.history()] == [0.01, 0.01]
    assert run.brain.hparams.lr_schedule.lr == 0.005
    resumed = distil(lr_schedule=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
    resumed.brain.hparams.epoch_counter.limit = 3
    resumed.fit()
    assert [record["lr"] for record in resumed.history()] == [0.01, 0.01, 0.005]
    assert {float(row["lr"]) for row in resumed.steps()[-2:]} == {0.005}
    assert resumed.brain.optimizer.param_groups[0]["lr"] == 0.005


# Resuming -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(1, 4), (2, 1), (2, 3)])
def test_a_killed_run_repeats_the_unbroken_one(distil, at):
    options = {"ema_decay": 0.9, "run_opts": {"ckpt_interval_steps": 2}}
    unbroken = distil("unbroken", **options)
    unbroken.fit()
    distil("killed", **options).fit_until(*at)
    resumed = distil("killed", **options)
    resumed_from = {}
    truncate = resumed.brain._truncate_logs
    resumed.brain._truncate_logs = lambda: (truncate(), resumed_from.update(steps=len(resumed.steps())))
    resumed.fit()
    assert 0 < resumed_from["steps"] < len(unbroken.steps()), "it did go on from a checkpoint"
    assert resumed.steps() == unbroken.steps()
    assert resumed.history() == unbroken.history()
    assert not moved(resumed.brain.modules.student, unbroken.brain.modules.student.state_dict())
    assert not moved(resumed.brain.average, unbroken.brain.average.state_dict())


def test_a_run_killed_between_training_and_validation_goes_on(distil):
    unbroken = distil("unbroken")
    unbroken.fit()
    per_epoch = len(unbroken.steps()) // 2
    killed = distil("killed", run_opts={"ckpt_interval_steps": per_epoch})

    def stop(**_):
        raise Killed

    killed.brain._fit_valid = stop
    with pytest.raises(Killed):
        killed.fit()
    resumed = distil("killed")
    resumed.fit()
    assert resumed.steps() == unbroken.steps()
    assert resumed.history() == unbroken.history()


def test_steps_and_epochs_that_the_checkpoint_does_not_know_are_dropped_from_the_logs(distil):
    run = distil()
    run.fit()
    rows, epochs = run.steps(), run.history()
    with open(run.brain._path("train_steps.csv"), "a", encoding="utf-8") as file:
        file.write("3,1,0.1,-0.5,-0.5\n3,2,0.1")  # an epoch that was killed, its last line torn
    with open(run.brain._path("history.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps({**epochs[-1], "epoch": 3}) + '\n{"epoch": 4, "lr"')
    again = distil()
    again.fit()
    assert again.steps() == rows and again.history() == epochs


def test_logs_of_a_run_whose_checkpoints_are_gone_start_anew(distil):
    run = distil()
    run.fit()
    run.brain.checkpointer.delete_checkpoints(num_to_keep=0)
    assert not run.brain.checkpointer.list_checkpoints()
    n_rows = len(run.steps())
    again = distil()
    again.fit()
    assert len(again.steps()) == n_rows and [record["epoch"] for record in again.history()] == [1, 2]


def test_losses_are_logged_in_full_precision(distil):
    run = distil()
    run.fit()
    row = run.steps()[-1]
    assert row["loss"] == row["distill"] and len(row["loss"]) > 10
    record = run.history()[-1]
    epoch_rows = [float(row["loss"]) for row in run.steps() if row["epoch"] == "2"]
    assert record["train"]["loss"] == pytest.approx(sum(epoch_rows) / len(epoch_rows), rel=1e-6)
    assert -1 <= record["valid"]["cosine"] <= 1
    assert record["valid"]["loss"] == pytest.approx(-record["valid"]["cosine"], abs=0.2)


# Checkpoints and refusals ---------------------------------------------------------------------------------------------


def test_the_best_and_the_last_checkpoint_are_kept_and_the_best_is_recovered(distil):
    run = distil()
    worsening = iter([0.1, 0.5])
    run.brain.validation_stats = lambda: {"ignored": 0.0}
    end = run.brain.on_stage_end
    run.brain.on_stage_end = lambda stage, loss, epoch=None: end(
        stage, next(worsening) if stage.name == "VALID" else loss, epoch
    )
    run.fit()
    losses = sorted(checkpoint.meta["valid_loss"] for checkpoint in run.brain.checkpointer.list_checkpoints())
    assert losses == [0.1, 0.5]
    assert run.brain.recover_best() == {
        "checkpoint": run.brain.checkpointer.find_checkpoint(min_key="criterion").path.name,
        "epoch": 1,
        "valid_loss": 0.1,
        "criterion": 0.1,
    }


def test_scoring_without_any_checkpoint_is_refused(distil):
    run = distil()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*save; train first"):
        run.brain.evaluate(run.datasets()["valid"], test_loader_kwargs={"batch_size": 4})


def test_scoring_without_a_checkpointer_is_refused(distil):
    run = distil()
    run.brain.checkpointer = None
    with pytest.raises(CheckpointError, match="no checkpointer"):
        run.brain.on_evaluate_start()


def test_releasing_an_untrained_run_is_refused_and_writes_nothing(distil, tmp_path):
    run = distil()
    with pytest.raises(CheckpointError):
        run.brain.release(tmp_path / "released", {})
    assert not (tmp_path / "released").exists()


def test_a_weight_of_a_term_that_there_is_not_is_refused(distil):
    run = distil(loss_weights={"distil": 1.0})
    with pytest.raises(ConfigError, match=r"loss_weights names \['distil'\]; the terms are \['distill'\]"):
        run.fit()


@pytest.mark.parametrize(("weights", "factor"), [({"distill": 0.25}, 0.25), ({}, 1.0)])
def test_the_total_is_the_weighted_sum_and_a_term_without_a_weight_counts_once(distil, weights, factor):
    run = distil(loss_weights=weights)
    run.fit()
    for row in run.steps():
        assert float(row["loss"]) == pytest.approx(factor * float(row["distill"]), rel=1e-6)


def test_missing_keys_are_all_named_at_once(distil):
    run = distil()
    hparams = {key: getattr(run.brain.hparams, key) for key in ("output_folder", "epoch_counter", "lr_schedule")}
    with pytest.raises(ConfigError, match="seed, ema_decay, loss_weights, sample_rate_hz"):
        EmbeddingDistillBrain(
            {**run.brain.modules}, torch.optim.Adam, hparams, {"device": "cpu"}, run.brain.checkpointer
        )


def test_an_epoch_without_a_batch_is_refused_in_words(distil):
    run = distil()
    with pytest.raises(ConfigError, match="smaller --batch_size"):
        run.brain._fit_train([], 1, False)
