"""Losses against the rest of a batch or a bank of texts; and the precision of every loss."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.losses import (
    AffinityLoss,
    CaptionCrossEntropy,
    CentredCosineLoss,
    ClapContrastiveLoss,
    ContrastiveLoss,
    CosineLoss,
    EncoderKDLoss,
    FeatureHint,
    InteractiveContrastiveLoss,
    MapHint,
    MSELoss,
    NestedLoss,
    SigLIPLoss,
    TagProfileLoss,
    TokenKD,
)
from tinyclap.losses.contrastive import clap_contrastive
from tinyclap.text.bank import LabelBank


def embeddings(seed=0, n=5, dim=8):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def softmax(logits, axis=-1):
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def cosines(left, right):
    left, right = (side.numpy().astype(np.float64) for side in (left, right))
    return left @ right.T / np.linalg.norm(left, axis=1)[:, None] / np.linalg.norm(right, axis=1)[None]


# Values by hand -------------------------------------------------------------------------------------------------------


def test_clap_s_loss_of_two_orthogonal_pairs():
    # Cosines are the identity, so each row and each column is CE of (scale, 0): log(1 + exp(−scale)).
    rows = torch.eye(2)
    loss = ClapContrastiveLoss()(rows, 5 * rows, torch.tensor(2.0))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))
    swapped = ClapContrastiveLoss()(rows, rows.flip(0), torch.tensor(2.0))
    assert swapped.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_clap_s_loss_is_symmetric_and_its_logits_are_clipped():
    audio, text = embeddings(0), embeddings(1)
    assert clap_contrastive(audio, text).item() == pytest.approx(clap_contrastive(text, audio).item())
    rows = torch.eye(2)
    clipped = clap_contrastive(rows, rows.flip(0), 1000.0)
    assert clipped.item() == pytest.approx(100.0)


def test_both_towers_and_the_temperature_learn_from_clap_s_loss():
    audio, text, scale = embeddings(0).requires_grad_(), embeddings(1).requires_grad_(), torch.tensor(5.0)
    scale.requires_grad_()
    ClapContrastiveLoss()(audio, text, scale).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in (audio, text, scale))


def test_the_contrastive_loss_of_distillation_is_clap_s_with_the_teacher_fixed():
    student, teacher = embeddings(0), embeddings(1)
    for temperature in (0.07, 0.5):
        wanted = clap_contrastive(student, teacher, 1 / temperature).item()
        for learnable in (True, False):
            assert ContrastiveLoss(temperature, learnable)(student, teacher).item() == pytest.approx(wanted, rel=1e-6)


def test_interactive_contrast_is_the_student_s_side_alone():
    # Student (1, 0) twice, teacher (1, 0) and (0, 1), τ = 1/2: logits (2, 0) in both rows, so the first clip costs
    # log(1 + e⁻²), the second log(1 + e²). The columns would both cost log 2.
    student, teacher = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.eye(2)
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert InteractiveContrastiveLoss(0.5)(student, teacher).item() == pytest.approx(by_hand)
    symmetric = (by_hand + math.log(2)) / 2
    assert ContrastiveLoss(0.5)(student, teacher).item() == pytest.approx(symmetric)


def test_the_sigmoid_loss_sums_over_pairs_and_averages_over_clips():
    # Cosines are the identity; t = 2, b = −1: two positive pairs of logit 1, two negative ones of logit −1, each of
    # which costs −log σ(1): 4 log(1 + e⁻¹) / 2.
    rows = torch.eye(2)
    loss = SigLIPLoss(temperature=0.5, bias=-1.0)
    assert loss(rows, 3 * rows).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))
    # Swapped: positives of logit −1, negatives of logit 1.
    assert loss(rows, rows.flip(0)).item() == pytest.approx(2 * math.log(1 + math.exp(1)))


def test_the_sigmoid_loss_begins_at_the_paper_s_temperature_and_bias():
    student, teacher = embeddings(0, 4), embeddings(1, 4)
    logits = 10 * cosines(student, teacher) - 10
    signs = 2 * np.eye(4) - 1
    by_hand = np.log1p(np.exp(-signs * logits)).sum() / 4
    assert SigLIPLoss()(student, teacher).item() == pytest.approx(by_hand, rel=1e-5)


def test_affinity_is_the_divergence_of_two_rows_of_similarities():
    # The first clip is taken for the second: KL(softmax(1, 0) ‖ softmax(0, 1)) = (e − 1) / (e + 1).
    student = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    by_hand = (math.e - 1) / (math.e + 1) / 2
    assert AffinityLoss(temperature=1.0)(student, torch.eye(2)).item() == pytest.approx(by_hand)


def test_affinity_of_both_directions_is_the_average_of_rows_and_columns():
    student, teacher, tau = embeddings(0), embeddings(1), 0.2
    given, wanted = cosines(student, teacher) / tau, cosines(teacher, teacher) / tau
    sides = []
    for axis in (1, 0):
        p, q = softmax(wanted, axis), softmax(given, axis)
        sides.append((p * np.log(p / q)).sum(axis).mean())
    assert AffinityLoss(tau)(student, teacher).item() == pytest.approx(sides[0], rel=1e-4)
    assert AffinityLoss(tau, both_directions=True)(student, teacher).item() == pytest.approx(sum(sides) / 2, rel=1e-4)


def test_with_a_bank_the_student_gives_the_teacher_s_distribution_over_texts():
    student, teacher, texts = embeddings(0), embeddings(1), embeddings(2, 7)
    loss = AffinityLoss(0.1)
    loss.set_bank(texts)
    p, q = (softmax(cosines(side, texts) / 0.1) for side in (teacher, student))
    assert loss(student, teacher).item() == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-4)
    loss.set_bank(torch.eye(8)[:3])
    mirrored = teacher * torch.tensor([1.0] * 3 + [-1.0] * 5)
    assert loss(mirrored, teacher).item() == pytest.approx(0, abs=1e-6), "what no text of the bank sees does not count"


def test_texts_of_a_bank_are_a_list_or_lines_of_a_file(tmp_path):
    (tmp_path / "texts.txt").write_text("a dog barks\n\n  rain falls \n", encoding="utf-8")
    assert AffinityLoss(texts=tmp_path / "texts.txt").bank_texts() == ["a dog barks", "rain falls"]
    assert AffinityLoss(texts=["a dog barks"]).bank_texts() == ["a dog barks"]
    assert AffinityLoss().bank_texts() == []


def test_a_label_bank_has_the_embeddings_so_that_no_teacher_is_needed(tmp_path):
    texts, student, teacher = embeddings(2, 3), embeddings(0), embeddings(1)
    LabelBank(["dog", "rain", "bell"], texts.numpy(), ["{}"], "cosine", "m", "00").save(tmp_path / "bank.npz")
    loss, by_rows = AffinityLoss(texts=tmp_path / "bank.npz"), AffinityLoss()
    by_rows.set_bank(texts)
    assert loss.bank_texts() == [] and loss(student, teacher) == by_rows(student, teacher)
    assert not loss.state_dict(), "it is read again at each start"
    with pytest.raises(CheckpointError, match="no such bank"):
        AffinityLoss(texts=tmp_path / "other.npz")


# What every in-batch loss owes ----------------------------------------------------------------------------------------


def bank_loss():
    loss = AffinityLoss()
    loss.set_bank(embeddings(9, 11))
    return loss


IN_BATCH = {
    "contrastive": ContrastiveLoss,
    "interactive": InteractiveContrastiveLoss,
    "siglip": SigLIPLoss,
    "affinity": AffinityLoss,
    "both directions": lambda: AffinityLoss(both_directions=True),
    "bank": bank_loss,
}


@pytest.mark.parametrize("name", IN_BATCH)
def test_only_the_student_and_the_loss_itself_get_a_gradient(name):
    student, teacher, loss = embeddings(1).requires_grad_(), embeddings(2).requires_grad_(), IN_BATCH[name]()
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None
    assert all(parameter.grad.abs() > 0 for parameter in loss.parameters())


@pytest.mark.parametrize("name", IN_BATCH)
def test_the_right_pairs_are_better_than_others_and_no_loss_is_negative(name):
    teacher, loss = embeddings(0), IN_BATCH[name]()
    right, turned = loss(5 * teacher, teacher).item(), loss(teacher.roll(1, 0), teacher).item()
    assert 0 <= right + 1e-6 and right < turned


@pytest.mark.parametrize("name", ["affinity", "both directions", "bank"])
def test_affinity_is_zero_with_no_gradient_where_the_student_agrees(name):
    teacher = embeddings(0)
    student = teacher.clone().requires_grad_()
    loss = IN_BATCH[name]()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and student.grad.abs().max() < 1e-5


def test_a_clip_alone_in_its_batch_has_nothing_to_contrast_with():
    student, teacher = embeddings(0, 1), embeddings(1, 1)
    for make in (ContrastiveLoss, InteractiveContrastiveLoss, AffinityLoss):
        assert make()(student, teacher).item() == 0


def test_a_learnt_temperature_stops_at_clip_s_bound_and_comes_back():
    loss, rows = ContrastiveLoss(0.01), embeddings(0)
    optimiser = torch.optim.SGD(loss.parameters(), lr=5.0)
    loss(rows, rows).backward()  # all pairs are right: the colder the better
    optimiser.step()
    loss(rows, rows)
    assert loss.scale().item() == pytest.approx(100, rel=1e-5)
    optimiser.zero_grad()
    loss(rows.roll(1, 0), rows).backward()  # all are wrong
    optimiser.step()
    assert loss.scale().item() < 99


def test_learnt_temperatures_are_kept_in_checkpoints_and_fixed_ones_have_no_parameter():
    loss, resumed = SigLIPLoss(), SigLIPLoss()
    with torch.no_grad():
        loss.bias.add_(1.5)
        loss.log_scale.sub_(0.5)
    resumed.load_state_dict(loss.state_dict())
    student, teacher = embeddings(0), embeddings(1)
    assert resumed(student, teacher) == loss(student, teacher) != SigLIPLoss()(student, teacher)
    for make in (SigLIPLoss, ContrastiveLoss, InteractiveContrastiveLoss):
        assert not list(make(learnable=False).parameters())


def test_a_bank_of_another_space_is_refused():
    loss = AffinityLoss()
    loss.set_bank(embeddings(0, 4, 6))
    with pytest.raises(ConfigError, match="6 dimensions"):
        loss(embeddings(0), embeddings(1))


# Precision and devices ------------------------------------------------------------------------------------------------

ROWS = (embeddings(0, 6), embeddings(1, 6))
EVERY = {
    "cosine": (CosineLoss, *ROWS),
    "centred": (lambda: CentredCosineLoss(8), *ROWS),
    "mse": (MSELoss, *ROWS),
    **{name: (make, *ROWS) for name, make in IN_BATCH.items()},
    "nested": (lambda: NestedLoss(ContrastiveLoss(), [2, 4]), *ROWS),
    "tag_profile": (lambda: TagProfileLoss(8), *(side.sigmoid() for side in ROWS)),
    "encoder": (lambda: EncoderKDLoss(8, 8, 4, "both"), *ROWS),
    "frames": (lambda: FeatureHint(4, 3), torch.randn(2, 6, 4), torch.randn(2, 5, 3)),
    "maps": (lambda: MapHint(4, 3), torch.randn(2, 4, 6, 5), torch.randn(2, 3, 5, 6)),
    "words": (CaptionCrossEntropy, torch.randn(2, 3, 7), torch.tensor([[1, 2, 0], [3, 4, 5]])),
    "tokens": (TokenKD, torch.randn(2, 3, 7), (torch.arange(6).view(2, 3, 1), torch.rand(2, 3, 1))),
}


def halved(side):
    return (
        tuple(map(halved, side)) if isinstance(side, tuple) else side.bfloat16() if side.is_floating_point() else side
    )


def doubled(side):
    return tuple(map(doubled, side)) if isinstance(side, tuple) else side.float() if side.is_floating_point() else side


@pytest.mark.parametrize("name", EVERY)
def test_a_loss_is_computed_in_single_precision_also_under_autocast(name):
    make, student, teacher = EVERY[name]
    torch.manual_seed(0)
    loss, student, teacher = make(), halved(student), halved(teacher)
    wanted = loss(doubled(student), doubled(teacher)).item()
    torch.manual_seed(0)
    again = make()
    with torch.autocast("cpu", torch.bfloat16):
        found = again(student.requires_grad_(), teacher)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(wanted, rel=1e-6)
    found.backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_no_step_waits_for_the_device(name):
    make, student, teacher = EVERY[name]
    with FakeTensorMode() as mode:  # has no values: whoever reads one on the host fails
        loss = make()
        student = mode.from_tensor(student)
        teacher = tuple(map(mode.from_tensor, teacher)) if isinstance(teacher, tuple) else mode.from_tensor(teacher)
        if name == "bank":
            loss.set_bank(mode.from_tensor(embeddings(9, 11)))
        assert loss(student, teacher).shape == ()


def test_who_reads_a_value_on_the_host_would_be_found():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.ones(2).sum().item()


def test_clap_s_loss_of_training_is_in_single_precision_too():
    audio, text = (side.bfloat16() for side in ROWS)
    wanted = clap_contrastive(audio.float(), text.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert ClapContrastiveLoss()(audio, text, torch.tensor(1 / 0.07)) == wanted


def test_directions_alone_count():
    student, teacher = ROWS
    for make in IN_BATCH.values():
        torch.testing.assert_close(make()(student, teacher), make()(4 * student, F.normalize(teacher, dim=-1)))
