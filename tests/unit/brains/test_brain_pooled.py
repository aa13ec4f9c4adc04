"""Training from a pool: stored spectrograms in, hints beside the main term, the teacher never run."""

import csv

import pytest
import torch
from small_run import RATE, ToneTeacher, make_brain, make_student

from tinyclap.brains import PooledDistillBrain
from tinyclap.data.pool import PoolBatch, collate_pool
from tinyclap.losses.distillation import FrameHintLoss, MapHintLoss, TagProfileLoss

N_TAGS, N_TEACHER = 6, 5


class SilentTeacher(ToneTeacher):
    """A teacher that must not be asked."""

    def embed_audio(self, wavs, sample_rate_hz):
        """Never."""
        raise AssertionError("the teacher ran")


def examples(n=9):
    """Examples as a pool gives them, in half precision."""
    torch.manual_seed(3)
    log_mels = make_student().features(torch.randn(n, RATE // 5))
    return [
        (log_mel.half(), torch.rand(N_TAGS).half(), torch.randn(7, N_TEACHER).half(), torch.randn(3, 4, 2).half())
        for log_mel in log_mels
    ]


def run(folder, weights):
    student = make_student(output="sigmoid")
    encoding = student(torch.randn(2, RATE // 5))
    modules = {
        "teacher": SilentTeacher().load(),
        "distill_loss": TagProfileLoss(N_TAGS),
        "frame_hint": FrameHintLoss(encoding.frames.shape[-1], N_TEACHER),
        "pooled_hint": FrameHintLoss(encoding.frames.shape[-1], N_TEACHER),
        "middle_hint": MapHintLoss(encoding.middle.shape[1], 3),
    }
    brain = make_brain(PooledDistillBrain, folder, student, modules, loss_weights=weights)
    loader = {"batch_size": 3, "collate_fn": collate_pool}
    brain.fit(
        brain.hparams.epoch_counter, examples(), examples(4), train_loader_kwargs=loader, valid_loader_kwargs=loader
    )
    with open(folder / "train_steps.csv", newline="", encoding="utf-8") as file:
        return brain, [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_every_hint_is_learnt_and_weighed(tmp_path):
    weights = {"distill": 1.0, "frame_hint": 0.5, "pooled_hint": 0.25, "middle_hint": 2.0}
    brain, rows = run(tmp_path / "run", weights)
    for row in rows:
        assert all(row[name] > 0 for name in weights)
        assert row["loss"] == pytest.approx(sum(weights[name] * row[name] for name in weights), rel=1e-5)
    held = {id(parameter) for group in brain.optimizer.param_groups for parameter in group["params"]}
    assert all(id(parameter) in held for parameter in brain.modules.middle_hint.parameters())
    assert -1 <= brain.train_stats["distill"] and "cosine" not in brain.train_stats


def test_a_hint_of_weight_zero_is_not_computed(tmp_path):
    weights = {"distill": 1.0, "frame_hint": 0, "pooled_hint": 0, "middle_hint": 0}
    brain, rows = run(tmp_path / "run", weights)
    assert all(row["loss"] == row["distill"] and row["middle_hint"] == 0 for row in rows)
    assert brain.modules.frame_hint.standardise.num_batches_tracked == 0


def test_a_hint_without_a_weight_counts_once(tmp_path):
    _, rows = run(tmp_path / "run", {"frame_hint": 0, "middle_hint": 0})
    for row in rows:
        assert row["pooled_hint"] > 0 and row["loss"] == pytest.approx(row["distill"] + row["pooled_hint"], rel=1e-5)


def test_a_batch_moves_as_single_precision():
    batch = collate_pool(examples(3)).to("cpu")
    assert isinstance(batch, PoolBatch)
    assert all(tensor.dtype == torch.float32 and len(tensor) == 3 for tensor in batch)
