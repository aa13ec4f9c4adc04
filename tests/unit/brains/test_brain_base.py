"""What every Brain owes: a schedule that is applied, exact logs, resuming after a kill, nothing scored unloaded."""

import json

import pytest
import torch
from small_run import Distillation, Killed, make_corpora, moved

from tinyclap.brains import DistillBrain
from tinyclap.errors import CheckpointError, ConfigError, TinyclapError
from tinyclap.losses import CosineLoss
from tinyclap.training.schedules import CosineSchedule, PlateauSchedule


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


def clip_term(loss=None, **fields):
    """The terms of a run that matches clip embeddings alone."""
    return {"distill": {"loss": loss or CosineLoss(), "student": "clip", "teacher": "clip", **fields}}


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
    class Worsening(CosineLoss):
        """A loss whose validation never improves."""

        def forward(self, student, teacher):
            return super().forward(student, teacher) * 0

    options = {"terms": clip_term(Worsening())}
    run = distil(lr_annealing=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
    run.fit()
    assert [record["lr"] for record in run.history()] == [0.01, 0.01]
    assert run.brain.hparams.lr_annealing.lr == 0.005
    resumed = distil(lr_annealing=PlateauSchedule(0.01, factor=0.5, patience=0), **options)
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
    taken = counting(resumed)
    resumed.fit()
    assert 0 < len(taken) < len(unbroken.steps()), "it did go on from a checkpoint"
    assert resumed.steps() == unbroken.steps()
    assert resumed.history() == unbroken.history()
    assert not moved(resumed.brain.modules.student, unbroken.brain.modules.student.state_dict())
    assert not moved(resumed.brain.average, unbroken.brain.average.state_dict())


@pytest.mark.parametrize("at", ["student", "optimizer"])
def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(distil, at):
    options = {"run_opts": {"ckpt_interval_steps": 2}}
    unbroken = distil("unbroken", **options)
    unbroken.fit()
    killed, saves = distil("killed", **options), []

    def stop(owner, path):
        saves.append(path)
        if len(saves) == 3:
            path.write_bytes(b"half")
            raise Killed
        torch.save(owner.state_dict(), path)

    killed.brain.checkpointer.custom_save_hooks[at] = stop
    with pytest.raises(Killed):
        killed.fit()
    resumed = distil("killed", **options)
    resumed.fit()
    assert resumed.steps() == unbroken.steps() and resumed.history() == unbroken.history()
    assert not moved(resumed.brain.modules.student, unbroken.brain.modules.student.state_dict())


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
    with open(run.brain.logs.steps, "a", encoding="utf-8") as file:
        file.write("3,1,0.1,-0.5,-0.5\n3,2,0.1")  # an epoch that was killed, its last line torn
    with open(run.brain.logs.history, "a", encoding="utf-8") as file:
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
    worsening = iter([0.9, 0.5])
    run.brain.validation_stats = lambda: {"cosine": next(worsening)}
    run.fit()
    cosines = sorted(checkpoint.meta["cosine"] for checkpoint in run.brain.checkpointer.list_checkpoints())
    assert cosines == [0.5, 0.9]
    best = run.brain.recover_best()
    assert best["epoch"] == 1 and best["criterion"] == -0.9
    assert best["valid_loss"] == run.history()[0]["valid"]["loss"]


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


@pytest.mark.parametrize(("weight", "factor"), [({"weight": 0.25}, 0.25), ({"weight": 3}, 3.0), ({}, 1.0)])
def test_the_total_is_the_weighted_sum_and_a_term_without_a_weight_counts_once(distil, weight, factor):
    run = distil(terms=clip_term(**weight))
    run.fit()
    for row in run.steps():
        assert float(row["loss"]) == pytest.approx(factor * float(row["distill"]), rel=1e-6)


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (clip_term(weight=-1.0), "'distill' has weight -1.0; it is a number from 0 on"),
        (clip_term(weight="1,5"), "'distill' has weight '1,5'"),
        (clip_term(weight=0), "every term has weight 0"),
        (clip_term(wieght=1), "'distill' has wieght; a term is a map of loss, weight, student, teacher"),
        ({"distill": {"student": "clip", "teacher": "clip"}}, "the term 'distill' has no loss"),
        ({"student": clip_term()["distill"]}, "a term is called 'student', as another part"),
        ({"lr_annealing": clip_term()["distill"]}, "a term is called 'lr_annealing', as another part"),
        ({"update": clip_term()["distill"]}, "a term cannot be called 'update'"),
        ("distill", "terms is no map"),
    ],
)
def test_terms_that_mean_nothing_are_refused(distil, terms, says):
    with pytest.raises(ConfigError, match=says):
        distil(terms=terms)


def test_missing_keys_are_all_named_at_once(distil):
    with pytest.raises(ConfigError, match="DistillBrain needs the YAML keys: lr_annealing, seed, terms"):
        DistillBrain.check({"output_folder": "x", "epoch_counter": 1, "modules": {}})


@pytest.mark.parametrize("select_by", ["cider_d", "distil", 3])
def test_a_selection_that_there_is_not_is_refused(distil, select_by):
    with pytest.raises(ConfigError, match="is unknown; choose one of cosine, loss, distill"):
        distil(select_by=select_by)


def test_an_epoch_without_a_batch_is_refused_in_words(distil):
    run = distil()
    run.datasets = lambda datasets=run.datasets: {**datasets(), "train": []}
    with pytest.raises(ConfigError, match="smaller --batch_size"):
        run.fit()


# Steps of the optimiser -----------------------------------------------------------------------------------------------


def counting(run):
    """Note after which batch of an epoch the optimiser steps."""
    stepped, take_step = [], run.brain.optimizers_step
    run.brain.optimizers_step = lambda: (stepped.append(run.brain.step), take_step())
    return stepped


def test_gradients_are_accumulated_and_what_is_left_at_an_epoch_s_end_counts(distil):
    run = distil(run_opts={"grad_accumulation_factor": 4}, ema_decay=0.9)
    stepped = counting(run)
    run.fit()
    n_batches = len(run.steps()) // 2
    assert n_batches % 4 != 0, "otherwise nothing is left at the end"
    of_epoch = sorted({*range(4, n_batches + 1, 4), n_batches})
    assert stepped == 2 * of_epoch
    assert int(run.brain.average.n_averaged) == len(stepped), "the average moves with the weights"
    assert len(run.steps()) == 2 * n_batches, "every batch is logged"


def test_the_first_accumulated_step_is_that_of_the_mean_gradient(distil):
    run, gradients = distil(run_opts={"grad_accumulation_factor": 2, "max_grad_norm": -1.0}), []
    start, parameter = run.brain.on_fit_batch_start, run.brain.modules.student.projection.linear.weight
    run.brain.on_fit_batch_start = lambda batch, should_step: (
        gradients.append(None if parameter.grad is None else parameter.grad.clone()), start(batch, should_step)
    )  # fmt: skip
    taken = []
    run.brain.optimizers_step = lambda: (taken.append(parameter.grad.clone()), run.brain.zero_grad(set_to_none=True))
    run.fit()
    alone = distil("alone", run_opts={"max_grad_norm": -1.0})
    single, weight = [], alone.brain.modules.student.projection.linear.weight
    alone.brain.optimizers_step = lambda: (single.append(weight.grad.clone()), alone.brain.zero_grad(set_to_none=True))
    alone.fit()
    assert gradients[0] is None and gradients[1] is not None
    torch.testing.assert_close(taken[0], (single[0] + single[1]) / 2)


def test_a_killed_run_that_accumulates_repeats_the_unbroken_one(distil):
    options = {"run_opts": {"ckpt_interval_steps": 1, "grad_accumulation_factor": 2}}
    unbroken = distil("unbroken", **options)
    unbroken.fit()
    distil("killed", **options).fit_until(2, 2)
    resumed = distil("killed", **options)
    resumed.fit()
    assert resumed.steps() == unbroken.steps() and resumed.history() == unbroken.history()
    assert not moved(resumed.brain.modules.student, unbroken.brain.modules.student.state_dict())


def test_the_optimiser_is_fused_where_it_has_such_a_form(distil):
    run = distil()
    run.brain.init_optimizers()
    assert run.brain.optimizer.defaults["fused"] is True
    other = distil("other")
    other.brain.opt_class = torch.optim.Rprop
    other.brain.init_optimizers()
    assert "fused" not in other.brain.optimizer.defaults


def test_losses_that_are_not_finite_stop_the_run_in_words_and_are_in_no_mean(distil):
    class Broken(CosineLoss):
        """A loss that is not a number from its third call on."""

        calls = 0

        def forward(self, student, teacher):
            self.calls += self.training
            return super().forward(student, teacher) * (float("nan") if self.calls > 2 else 1.0)

    options = {"terms": clip_term(Broken())}
    run = distil(**options, run_opts={"nonfinite_patience": 0})
    with pytest.raises(TinyclapError, match="losses of epoch 1 were not finite; lower --lr"):
        run.fit()
    assert run.steps()[2]["loss"] == "nan"
    assert run.brain.means.values()["loss"] == pytest.approx(sum(float(row["loss"]) for row in run.steps()[:2]) / 2)
    assert not run.brain.logs.history.exists()


def test_bf16_trains_and_logs_finite_losses(distil):
    run = distil(run_opts={"precision": "bf16", "eval_precision": "fp32"})
    run.fit()
    losses = [float(row["loss"]) for row in run.steps()]
    assert all(-1.01 < loss < 2.01 for loss in losses)
    assert next(run.brain.modules.student.parameters()).dtype == torch.float32, "the weights stay in fp32"
