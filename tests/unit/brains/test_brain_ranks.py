"""Two ranks of one run see other clips, and decide alike: rate, statistics and weights are the same on both."""

import os

import pytest
import torch
from small_run import Distillation, make_corpora, make_student
from torch import distributed, multiprocessing

from tinyclap.losses import CentredCosineLoss, FeatureHint
from tinyclap.training.schedules import PlateauSchedule

N_RANKS = 2


def make_terms():
    """A main term and a hint, both with running statistics."""
    hint = FeatureHint(make_student().encoder.frame_dim, 4)
    return {
        "distill": {"loss": CentredCosineLoss(6), "student": "clip", "teacher": "clip"},
        "hint": {"loss": hint, "student": "frames", "teacher": "frames"},
    }


def rank_main(rank, corpora, folder):
    """Train as one rank, and write what it ended with."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(N_RANKS)}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=N_RANKS)
    run = Distillation(
        corpora,
        folder / "run",
        columns=("clip", "frames"),
        terms=make_terms(),
        lr_annealing=PlateauSchedule(0.01, factor=0.5, patience=0),
        select_by="loss",
    )
    clips, compute = [], run.brain.compute_forward

    def noted(batch, stage):
        clips.extend(batch.id if stage.name == "TRAIN" else [])
        return compute(batch, stage)

    run.brain.compute_forward = noted
    stats = iter([1.0 + rank, 3.0 - 3 * rank])  # worse on one rank, better on the other: their mean is 1.5 in both
    run.brain.validation_stats = lambda: {"loss": next(stats)}
    run.fit()
    modules = {name: getattr(module, "module", module) for name, module in run.brain.modules.items()}
    state = {name: modules[name].state_dict() for name in ("student", "distill", "hint")}
    torch.save({"clips": clips, "lr": run.brain.hparams.lr_annealing.lr, **state}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """What each rank ended with, and the run's folder."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(rank_main, (make_corpora(folder / "corpus"), folder), nprocs=N_RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(N_RANKS)], folder / "run"


def test_ranks_share_the_clips_of_an_epoch(ended):
    ours, theirs = (rank["clips"] for rank in ended[0])
    assert len(ours) == len(theirs)
    per_epoch = len(ours) // 2
    assert len(set(ours[:per_epoch]) & set(theirs[:per_epoch])) <= 1, "an odd clip comes twice"


def test_the_plateau_is_decided_on_the_loss_of_all_ranks(ended):
    """The mean did not improve in the second epoch, although one rank's loss did."""
    assert [rank["lr"] for rank in ended[0]] == [0.005, 0.005]


@pytest.mark.parametrize("part", ["student", "distill", "hint"])
def test_weights_and_statistics_are_the_same_on_all_ranks(ended, part):
    (first, second), _ = ended
    for name, tensor in first[part].items():
        if part != "student" or "running" not in name:  # BatchNorm's statistics are rank 0's, handed out in each step
            torch.testing.assert_close(tensor, second[part][name], msg=name)
