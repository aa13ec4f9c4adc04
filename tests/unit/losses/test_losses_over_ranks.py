"""Two ranks compute the loss of their joint batch, and their averaged gradients are those of the joint batch."""

import pytest
import torch
from torch import distributed, multiprocessing

from tinyclap.losses import (
    AffinityLoss,
    CentredCosineLoss,
    ClapContrastiveLoss,
    ContrastiveLoss,
    EncoderKDLoss,
    InteractiveContrastiveLoss,
    NestedLoss,
    SigLIPLoss,
)
from tinyclap.losses.common import gathered

N_RANKS, N_ROWS, DIM = 2, 3, 4


def bank_loss():
    loss = AffinityLoss(both_directions=True)
    loss.set_bank(torch.eye(DIM))
    return loss


class Clap(ClapContrastiveLoss):
    def forward(self, audio, text):
        return super().forward(audio, text, torch.tensor(5.0))


MAKE = {
    "contrastive": ContrastiveLoss,
    "interactive": InteractiveContrastiveLoss,
    "siglip": SigLIPLoss,
    "affinity": AffinityLoss,
    "bank": bank_loss,
    "nested": lambda: NestedLoss(ContrastiveLoss(), [2]),
    "centred": lambda: CentredCosineLoss(DIM),
    "encoder": lambda: EncoderKDLoss(DIM, DIM, 3, "both"),
    "clap": Clap,
}


def grads(name, rank=None):
    """Value, gradients of a student's map and of the loss, and buffers; for one rank, or for the joint batch."""
    torch.manual_seed(0)
    inputs, teacher = torch.randn(2, N_RANKS * N_ROWS, DIM)
    student, loss = torch.nn.Linear(DIM, DIM), MAKE[name]()
    if rank is not None:
        inputs, teacher = (side[rank * N_ROWS : (rank + 1) * N_ROWS] for side in (inputs, teacher))
    value = loss(student(inputs), teacher)
    value.backward()
    learnt = [*student.parameters(), *loss.parameters()]
    return value.detach(), [parameter.grad for parameter in learnt], list(loss.state_dict().values())


def rank_main(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=N_RANKS)
    found = {name: grads(name, rank) for name in MAKE}
    found["validation"] = ContrastiveLoss().eval()(*(torch.eye(2 + rank) for _ in range(2))).item()
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(rank_main, (str(folder),), nprocs=N_RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(N_RANKS)]


@pytest.mark.parametrize("name", MAKE)
def test_values_gradients_and_statistics_are_those_of_the_joint_batch(name, ranks):
    value, gradients, buffers = grads(name)
    values = torch.stack([found[name][0] for found in ranks])
    if name in ("centred", "encoder"):  # (in part) averages over the rank's own pairs
        values = values.mean(0, keepdim=True)
    torch.testing.assert_close(values, value.expand(len(values)))
    for own, *others in zip(gradients, *(found[name][1] for found in ranks), strict=True):
        torch.testing.assert_close(sum(others) / N_RANKS, own)  # as DistributedDataParallel averages them
    for own, *others in zip(buffers, *(found[name][2] for found in ranks), strict=True):
        for other in others:
            torch.testing.assert_close(other, own)


def test_validation_needs_no_other_rank(ranks):
    """Ranks may validate batches of different sizes, or one rank alone."""
    assert [found["validation"] for found in ranks] == [ContrastiveLoss()(torch.eye(n), torch.eye(n)) for n in (2, 3)]


def test_alone_nothing_is_gathered():
    rows = torch.randn(2, 3)
    assert gathered(rows) is rows
