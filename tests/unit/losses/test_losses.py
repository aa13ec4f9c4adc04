"""The losses: numbers by hand and of the published code, minima, gradients, and the bound behind distillation."""

import math

import pytest
import torch
import torch.nn.functional as F
from published_reference import arrays

from tinyclap.losses import CentredCosineLoss, CosineLoss, MSELoss, TagProfileLoss
from tinyclap.losses.contrastive import clap_contrastive


def embeddings(seed=0, n=5, dim=8):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def probabilities(seed=0, n=5, dim=8):
    return torch.rand(n, dim, generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01


def clips(*rows):
    return torch.tensor(rows, dtype=torch.float32)


# What the paper's loss guarantees -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 3, 16, 257, 1024])
def test_no_text_s_similarity_moves_by_more_than_the_bound(dim):
    generator = torch.Generator().manual_seed(dim)
    teacher = torch.randn(200, dim, dtype=torch.float64, generator=generator)
    noise = torch.randn(200, dim, dtype=torch.float64, generator=generator)
    student = teacher + noise * torch.logspace(-4, 2, 200, dtype=torch.float64)[:, None]  # from near to unrelated
    texts = torch.randn(300, dim, dtype=torch.float64, generator=generator)
    bound = (2 - 2 * F.cosine_similarity(student, teacher, dim=-1)).clamp(min=0).sqrt()
    # Near a cosine of one, an error of 1e-16 in it is one of 1e-8 in the root.
    s, a, t = (F.normalize(rows, dim=-1) for rows in (student, teacher, texts))
    assert ((s @ t.T - a @ t.T).abs() <= bound[:, None] + 1e-8).all()


@pytest.mark.parametrize("dim", [2, 16, 1024])
def test_the_bound_is_attained_by_the_text_along_the_difference(dim):
    s, a = (F.normalize(embeddings(seed, 50, dim).double(), dim=-1) for seed in (1, 2))
    t = F.normalize(s - a, dim=-1)
    change = ((s * t).sum(-1) - (a * t).sum(-1)).abs()
    torch.testing.assert_close(change, (2 - 2 * (s * a).sum(-1)).sqrt())


def test_the_class_is_kept_where_the_teacher_s_margin_exceeds_twice_the_bound():
    generator = torch.Generator().manual_seed(0)
    teacher = F.normalize(torch.randn(500, 16, generator=generator).double(), dim=-1)
    student = F.normalize(teacher + 0.01 * torch.randn(500, 16, generator=generator).double(), dim=-1)
    texts = F.normalize(torch.randn(10, 16, generator=generator).double(), dim=-1)
    bound = (2 - 2 * (student * teacher).sum(-1)).clamp(min=0).sqrt()
    scores = teacher @ texts.T
    best = scores.topk(2, dim=-1).values
    sure = best[:, 0] - best[:, 1] > 2 * bound
    assert 50 < sure.sum() < 450, "the case says nothing if all or none are sure"
    assert torch.equal(scores[sure].argmax(-1), (student @ texts.T)[sure].argmax(-1))


# Values by hand -------------------------------------------------------------------------------------------------------


def test_cosine_distillation_is_the_mean_negative_cosine_whatever_the_lengths():
    student, teacher = clips([3, 4], [1, 0], [0, 2]), clips([6, 8], [0, 5], [1, -1])
    wanted = -(1 + 0 - math.sqrt(0.5)) / 3
    assert CosineLoss()(student, teacher).item() == pytest.approx(wanted)
    assert CosineLoss()(7 * teacher, teacher).item() == pytest.approx(-1)


def test_centring_takes_the_common_part_away():
    # Both sides share the first axis; what is left after the mean is taken away points in opposite directions.
    centred = CentredCosineLoss(2).eval()
    centred.warm_up([clips([1, 0])])
    assert CosineLoss()(clips([1, 0.1]), clips([1, -0.1])) < -0.9
    assert centred(clips([1, 0.1]), clips([1, -0.1])).item() > 0.9


def test_the_centred_loss_s_mean_is_the_plain_average_and_later_an_exponential_one():
    loss = CentredCosineLoss(2, momentum=0.4).train()
    for row in ([1.0, 0.0], [0.0, 3.0]):
        loss(embeddings(0, 1, 2), clips(row))
    assert loss.mean.tolist() == pytest.approx([0.5, 0.5])
    loss(embeddings(0, 1, 2), clips([1, 0]))  # 1/3 is less than 0.4
    assert loss.mean.tolist() == pytest.approx([0.7, 0.3])
    loss.eval()(embeddings(0, 1, 2), clips([-1, 0]))
    assert loss.mean.tolist() == pytest.approx([0.7, 0.3]), "validation moves nothing"


def test_a_resumed_centred_loss_has_the_mean_and_weighs_the_next_batch_as_the_first_would():
    first = CentredCosineLoss(8, momentum=0.25).train()
    for seed in range(3):
        first(embeddings(seed), embeddings(seed + 10))
    resumed = CentredCosineLoss(8, momentum=0.25).train()
    resumed.load_state_dict(first.state_dict())
    fresh = CentredCosineLoss(8, momentum=0.25).train()
    student, teacher = embeddings(4), embeddings(5)
    values = [loss(student, teacher).item() for loss in (first, resumed, fresh)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(first.mean, resumed.mean) and first.n_batches == resumed.n_batches == 4


def test_the_warm_mean_is_the_average_of_the_batches_whatever_came_before():
    loss = CentredCosineLoss(2, momentum=0.9).train()
    loss(clips([1, 1]), clips([-1, 0]))
    loss.warm_up(iter([clips([2, 0]), clips([0, 3]), clips([0, 1]), clips([1, 0])]))
    assert loss.mean.tolist() == pytest.approx([0.5, 0.5]) and loss.n_batches.item() == 4


def test_squared_errors_are_averaged_over_rows_and_dimensions():
    student, teacher = clips([1, 2], [3, 4]), clips([1, 0], [0, 4])
    assert MSELoss(l2_norm=False)(student, teacher).item() == pytest.approx((4 + 9) / 4)


def test_squared_errors_of_directions_are_chords():
    # (0, 1) and (1, 0): (1 + 1) / 2; opposite directions are the maximum, 4/D
    assert MSELoss()(clips([0, 9]), clips([2, 0])).item() == pytest.approx(1)
    assert MSELoss()(clips([0, 9]), clips([0, -2])).item() == pytest.approx(2)
    student, teacher = embeddings(1), embeddings(2)
    assert MSELoss()(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    by_cosine = 2 * (1 + CosineLoss()(student, teacher)) / 8
    assert MSELoss()(student, teacher).item() == pytest.approx(by_cosine.item(), rel=1e-5)


def test_the_tag_profile_divides_by_the_prior():
    loss = TagProfileLoss(n_tags=2, floor=0.0)
    loss.set_prior([0.01, 0.04])
    # √(p / prior): teacher (√1, √4) → (1/3, 2/3); student (√4, √4) → (1/2, 1/2).
    value = loss(clips([0.04, 0.16]), clips([0.01, 0.16]))
    assert value.item() == pytest.approx(math.log(2 / 3) / 3 + 2 * math.log(4 / 3) / 3, rel=1e-5)


def test_the_tag_profile_looks_at_proportions_alone():
    loss = TagProfileLoss(n_tags=8)
    teacher = probabilities()
    assert loss(teacher / 2, teacher).item() == pytest.approx(0, abs=1e-6)


# What every loss owes -------------------------------------------------------------------------------------------------

PAIRED = {
    "cosine": (CosineLoss, embeddings, -1.0),
    "centred": (lambda: CentredCosineLoss(8).eval(), embeddings, -1.0),
    "mse": (MSELoss, embeddings, 0.0),
    "mse_as_they_are": (lambda: MSELoss(l2_norm=False), embeddings, 0.0),
    "tag_profile": (lambda: TagProfileLoss(8), probabilities, 0.0),
}


@pytest.mark.parametrize("name", PAIRED)
def test_agreement_is_the_minimum_and_has_no_gradient(name):
    make, sides, least = PAIRED[name]
    teacher = sides()
    student = teacher.clone().requires_grad_()
    loss = make()(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(least, abs=1e-5)
    assert student.grad.abs().max() < 1e-5
    others = [make()(sides(seed), teacher).item() for seed in range(1, 6)]
    assert min(others) > least + 1e-3


@pytest.mark.parametrize("name", PAIRED)
def test_only_the_student_gets_a_gradient(name):
    make, sides, _ = PAIRED[name]
    student, teacher = sides(1).requires_grad_(), sides(2).requires_grad_()
    make()(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


# The published code's numbers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    return arrays("tinyclap")


def test_the_contrastive_loss_equals_the_published_one(golden):
    value = clap_contrastive(torch.from_numpy(golden["loss.a"]), torch.from_numpy(golden["loss.b"]))
    assert value.item() == pytest.approx(golden["loss.clap_contrastive"].item(), rel=1e-5)


def test_tinyclap_s_loss_equals_the_published_one(golden):
    value = CosineLoss()(torch.from_numpy(golden["loss.a"]), torch.from_numpy(golden["loss.b"]))
    assert value.item() == pytest.approx(golden["loss.tinyclap"].item(), rel=1e-5)
