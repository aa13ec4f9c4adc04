"""Steps of training: what the bar shows, gradients that are no numbers, groups of parameters, loaders, compiling."""

import os
import re
import sys
import types

import numpy as np
import pytest
import torch
from small_run import Distillation, ToneTeacher, make_corpora, make_student, moved, snapshot
from torch.utils._python_dispatch import TorchDispatchMode

from tinyclap.errors import CheckpointError, TinyclapError
from tinyclap.files import read_json, sha256_of, write_json
from tinyclap.losses import CentredCosineLoss, CosineLoss, FeatureHint, SigLIPLoss


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def distil(corpora, tmp_path):
    """Makes a run in a folder of the test's own."""
    return lambda folder="run", **options: Distillation(corpora, tmp_path / folder, **options)


def term(loss):
    """The terms of a run with one loss."""
    return {"distill": {"loss": loss, "student": "clip", "teacher": "clip"}}


def test_the_bar_shows_the_mean_loss_of_the_steps_so_far_whenever_it_is_drawn(distil, capsys):
    run = distil(run_opts={"noprogressbar": False})
    run.fit()
    losses = {epoch: [float(row["loss"]) for row in run.steps() if row["epoch"] == epoch] for epoch in ("1", "2")}
    drawn = re.findall(r"(\d+)/6 \[[^]]*train_loss=([-0-9.e]+)\]", capsys.readouterr().err)
    assert ("6", f"{np.mean(losses['1']):.4g}") in drawn and ("6", f"{np.mean(losses['2']):.4g}") in drawn
    means = {(str(n), f"{np.mean(of_epoch[:n]):.4g}") for of_epoch in losses.values() for n in range(1, 7)}
    assert set(drawn) <= means and "train_loss=0\n" not in capsys.readouterr().err


def test_an_epoch_line_says_time_rate_terms_and_the_best_so_far(distil, caplog):
    caplog.set_level("INFO")
    run = distil()
    run.fit()
    line = next(record.message for record in caplog.records if record.message.startswith("epoch 2 of 2"))
    valid = run.history()[1]["valid"]
    assert re.search(r"\d\.\d s, \d+ clips/s, lr \d\.\d\de-\d\d; train loss", line)
    assert f"valid loss {valid['loss']:.4f}, distill {valid['distill']:.4f}, cosine {valid['cosine']:.4f}" in line
    best = run.brain.recover_best()
    assert f"best so far: epoch {best['epoch']}, cosine {-best['criterion']:.4f}" in line


class OnceBroken(CosineLoss):
    """Its second training batch has a loss that is no number."""

    n_batches = 0

    def forward(self, student, teacher):
        self.n_batches += self.training
        factor = float("nan") if self.training and self.n_batches == 2 else 1.0
        return super().forward(student, teacher) * factor


@pytest.mark.parametrize("opt_class", [torch.optim.Adam, torch.optim.Rprop])
def test_a_gradient_that_is_no_number_changes_nothing_and_is_named(distil, caplog, opt_class):
    run = distil(terms=term(OnceBroken()), opt_class=opt_class, ema_decay=0.5)
    run.fit()
    assert "step 2 of epoch 1: the loss is not finite; clips esc50_train/" in caplog.text
    assert run.steps()[1]["loss"] == "nan" and np.isfinite(run.history()[0]["train"]["loss"])
    for name, tensor in run.brain.modules.student.state_dict().items():
        assert torch.isfinite(tensor.double()).all(), name


class Overflowing(CosineLoss):
    """Trains well, and validates to what is no number."""

    def forward(self, student, teacher):
        return super().forward(student, teacher) * (1.0 if self.training else float("inf"))


def test_a_run_that_diverges_keeps_and_releases_nothing(distil, tmp_path):
    run = distil(terms=term(Overflowing()))
    with pytest.raises(TinyclapError, match="epoch 1: the validation gives .* the run diverged.*lower --lr"):
        run.fit()
    assert not run.brain.checkpointer.list_checkpoints() and not run.brain.logs.history.exists()
    with pytest.raises(CheckpointError, match="train first"):
        run.brain.release(tmp_path / "released", {})


def test_weights_that_are_no_numbers_are_neither_saved_nor_released(distil, tmp_path):
    run = distil()
    run.fit()
    weight = run.brain.modules.student.projection.linear.weight
    (last,) = run.brain.checkpointer.find_checkpoints(max_num_checkpoints=1)
    good = torch.load(last.path / "student.ckpt")
    torch.save({**good, "projection.linear.weight": weight.detach() * float("nan")}, last.path / "student.ckpt")
    for other in run.brain.checkpointer.list_checkpoints():
        torch.save(torch.load(last.path / "student.ckpt"), other.path / "student.ckpt")
        hashes = read_json(other.path / "sha256.json")  # as if it had been saved so
        write_json(other.path / "sha256.json", {**hashes, "student.ckpt": sha256_of(other.path / "student.ckpt")})
    with pytest.raises(CheckpointError, match="projection.linear.weight is not finite: .* not released"):
        run.brain.release(tmp_path / "released", {})
    assert not (tmp_path / "released").exists()


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(distil, caplog, damage):
    unbroken = distil("unbroken")
    unbroken.fit()
    run = distil(select_by="loss")
    worsening = iter([0.1, 0.5])
    run.brain.validation_stats = lambda: {"loss": next(worsening)}
    run.fit()
    assert len(run.brain.checkpointer.list_checkpoints()) == 2
    last = run.brain.checkpointer.find_checkpoint()
    path = last.path / "optimizer.ckpt"
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, 1000)
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = distil()
    again.fit()
    assert f"{last.path.name}/optimizer.ckpt was cut, altered or removed" in caplog.text
    assert again.steps() == unbroken.steps(), "the second epoch is repeated from the first's end"
    assert not moved(again.brain.modules.student, unbroken.brain.modules.student.state_dict())


def test_a_run_whose_every_checkpoint_is_damaged_does_not_start_anew_in_silence(distil):
    run = distil()
    run.fit()
    for checkpoint in run.brain.checkpointer.list_checkpoints():
        os.truncate(checkpoint.path / "student.ckpt", 100)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no whole checkpoint is left beside damaged_CKPT"):
            distil().fit()
    assert len(run.history()) == 2, "the logs stand"


def test_a_checkpoint_of_another_student_is_refused_in_a_line(distil):
    distil().fit()
    other = distil(student=make_student(embed_dim=9), teacher=ToneTeacher(embed_dim=9))
    with pytest.raises(CheckpointError, match="not of this run's parts .*; give another --output_folder"):
        other.fit()


def test_more_epochs_go_on_where_the_run_ended(distil):
    distil().fit()
    longer = distil()
    longer.brain.hparams.epoch_counter.limit = 3
    longer.fit()
    assert [record["epoch"] for record in longer.history()] == [1, 2, 3]


# Parameters, loaders, compiling ---------------------------------------------------------------------------------------


def test_vectors_decay_or_not(distil):
    decaying = lambda parameters, fused: torch.optim.AdamW(parameters, weight_decay=0.1, fused=fused)  # noqa: E731
    for removed, wanted in ((False, {0.1}), (True, {0.0})):
        run = distil(f"run_{removed}", opt_class=decaying, run_opts={"remove_vector_weight_decay": removed})
        run.fit()
        groups = run.brain.optimizer.param_groups
        decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
        parameters = list(run.brain.modules.student.parameters())
        assert {decays[id(parameter)] for parameter in parameters if parameter.ndim == 1} == wanted
        assert {decays[id(parameter)] for parameter in parameters if parameter.ndim > 1} == {0.1}
        assert {group["lr"] for group in groups} == {run.history()[-1]["lr"]}


@pytest.mark.parametrize("removed", [False, True])
def test_temperatures_and_biases_of_losses_do_not_decay(distil, removed):
    decaying = lambda parameters, fused: torch.optim.AdamW(parameters, weight_decay=0.1, fused=fused)  # noqa: E731
    loss, hint = SigLIPLoss(), FeatureHint(make_student().encoder.frame_dim, 4)
    terms = {"distill": {"loss": loss, "student": "clip", "teacher": "clip"}}
    terms["hint"] = {"loss": hint, "student": "frames", "teacher": "frames"}
    options = {"columns": ("clip", "frames"), "run_opts": {"remove_vector_weight_decay": removed}}
    run = distil(terms=terms, opt_class=decaying, **options)
    before = snapshot(loss)
    run.fit()
    groups = run.brain.optimizer.param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [decays[id(parameter)] for parameter in loss.parameters()] == [0.0, 0.0] and moved(loss, before)
    weights = [hint.map.weight, *(one for one in run.brain.modules.student.parameters() if one.ndim > 1)]
    assert {decays[id(weight)] for weight in weights} == {0.1}
    again = distil(terms=terms, opt_class=decaying, **options)
    again.fit()
    assert again.history() == run.history(), "a finished run is resumed with its groups"


@pytest.mark.parametrize("limit", [0.001, -1.0])
def test_the_gradient_of_all_groups_is_clipped_together_or_not_at_all(distil, limit):
    run, norms = distil(run_opts={"remove_vector_weight_decay": True, "max_grad_norm": limit}), []
    step = torch.optim.Adam.step

    def note(optimizer, *given):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack([grad.norm() for grad in grads])).item())
        return step(optimizer, *given)

    run.brain.opt_class = type("Noting", (torch.optim.Adam,), {"step": note})
    before = snapshot(run.brain.modules.student)
    run.fit()
    assert max(norms) <= 0.00101 if limit > 0 else min(norms) > 0.01
    assert moved(run.brain.modules.student, before)
    assert limit > 0 or run.history()[1]["train"]["loss"] < run.history()[0]["train"]["loss"], "not a step uphill"


def test_workers_that_persist_give_what_this_process_gives(distil):
    alone, helped = distil("alone"), distil("helped", n_workers=1)
    alone.fit()
    helped.fit()
    assert helped.steps() == alone.steps() and helped.history() == alone.history()


def test_a_run_with_workers_that_was_killed_repeats_the_unbroken_one(distil):
    options = {"run_opts": {"ckpt_interval_steps": 2}, "n_workers": 1}
    unbroken = distil("unbroken")
    unbroken.fit()
    distil("killed", **options).fit_until(2, 4)
    resumed = distil("killed", **options)
    resumed.fit()
    assert resumed.steps() == unbroken.steps() and resumed.history() == unbroken.history()


def test_the_encoder_alone_is_compiled(distil, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: compiled.append((module, options)))
    run = distil(run_opts={"compile": True, "compile_mode": "default"})
    run.fit()
    assert [module for module, _ in compiled] == [run.brain.modules.student.encoder]
    assert compiled[0][1]["mode"] == "default"


class Waits(TorchDispatchMode):
    """Counts operations for which the host would wait for a GPU."""

    n_waits = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n_waits += function.overloadpacket.__name__ in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero")
        return function(*args, **(kwargs or {}))


def test_the_host_waits_for_the_device_in_no_step_but_where_losses_are_fetched(distil):
    terms = {**term(CentredCosineLoss(6)), "hint": {"loss": FeatureHint(make_student().encoder.frame_dim, 4)}}
    terms["hint"] |= {"student": "frames", "teacher": "frames"}
    run, waits = distil(columns=("clip", "frames"), terms=terms, ema_decay=0.9, run_opts={"max_grad_norm": 1.0}), []
    fit_batch = run.brain.fit_batch

    def watched(batch):
        with Waits() as mode:
            loss = fit_batch(batch)
        waits.append(mode.n_waits)
        return loss

    run.brain.fit_batch = watched
    run.fit()
    assert waits == [0] * len(run.steps())


# Loggers --------------------------------------------------------------------------------------------------------------


def test_speechbrain_s_loggers_get_every_epoch_also_of_a_resumed_run(distil, tmp_path):
    from speechbrain.utils.train_logger import FileTrainLogger, WandBLogger

    logged = []
    fake = type("Run", (), {"log": lambda run, values, step: logged.append((step, values))})
    distil(train_logger=FileTrainLogger(str(tmp_path / "log.txt"))).fit()
    run = distil(train_logger=WandBLogger(fake))
    run.brain.hparams.epoch_counter.limit = 3
    run.fit()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch: 1", "epoch: 2"] and "valid cosine" in lines[1]
    ((step, values),) = logged
    assert step == 3 and values["valid"] == run.history()[2]["valid"] and values["lr"] == run.history()[2]["lr"]


def test_tensorboard_s_curves_go_on_in_a_resumed_run(distil, tmp_path, monkeypatch):
    """TensorBoard's package is replaced by a writer of the same interface; SpeechBrain's logger is the real one."""
    from speechbrain.utils.train_logger import TensorboardLogger

    written = []
    writer = type(
        "SummaryWriter", (), {"__init__": lambda *_: None, "add_scalar": lambda _, *given: written.append(given)}
    )
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    for limit in (2, 3):
        run = distil(train_logger=TensorboardLogger(str(tmp_path)))
        run.brain.hparams.epoch_counter.limit = limit
        run.fit()
    cosines = [(step, value) for tag, value, step in written if tag == "cosine/valid"]
    assert cosines == [(record["epoch"], record["valid"]["cosine"]) for record in run.history()]
    assert [step for tag, _, step in written if tag == "lr"] == [1, 2, 3]
