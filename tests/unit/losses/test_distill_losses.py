"""Losses by name, the relational one, and nested training: numbers by hand."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError
from tinyclap.losses.distillation import (
    LOSSES,
    CosineDistillLoss,
    EmbeddingMSELoss,
    NestedLoss,
    make_distill_loss,
    relational_distill,
)


def test_the_relational_loss_is_the_divergence_of_two_rows_of_similarities():
    teacher = torch.eye(2)
    student = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # the first clip is heard as the second
    wanted = torch.tensor([1.0, 0.0]).softmax(0)
    given = torch.tensor([0.0, 1.0]).softmax(0)
    by_hand = (wanted * (wanted / given).log()).sum() / 2  # the second clip is right and adds nothing
    assert relational_distill(student, teacher, logit_scale=1.0).item() == pytest.approx(by_hand.item())


def test_a_prefix_is_asked_for_the_similarities_of_all_dimensions():
    teacher = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    prefix = teacher[:, :2]  # in which both clips are the same
    assert relational_distill(prefix, prefix).item() == pytest.approx(0.0, abs=1e-6)
    cosine = 1 / math.sqrt(2)
    rows = torch.tensor([1.0, cosine]).softmax(0)
    by_hand = (rows * (rows / 0.5).log()).sum()
    found = relational_distill(prefix, prefix, wanted=teacher, logit_scale=1.0)
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_nested_loss_is_the_mean_over_its_prefixes_in_their_order():
    torch.manual_seed(0)
    student, teacher, order = torch.randn(4, 6), torch.randn(4, 6), [5, 0, 3, 1, 2, 4]
    loss = CosineDistillLoss()
    nested = NestedLoss(loss, dims=[3, 1], order=order, relational_weight=0.0)
    parts = [loss(student, teacher), *(loss(student[:, order[:n]], teacher[:, order[:n]]) for n in (1, 3))]
    assert nested(student, teacher).item() == pytest.approx((sum(parts) / 3).item(), rel=1e-6)
    heavier = NestedLoss(loss, dims=[3, 1], order=order, relational_weight=2.0)
    more = sum(relational_distill(student[:, order[:n]], teacher[:, order[:n]], teacher) for n in (1, 3))
    assert heavier(student, teacher).item() == pytest.approx(((sum(parts) + 2 * more) / 3).item(), rel=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind != "tag_profile"])
def test_every_loss_draws_the_student_to_the_teacher_and_leaves_the_teacher_alone(kind):
    torch.manual_seed(1)
    teacher = torch.randn(8, 5, requires_grad=True)
    student = torch.nn.Parameter(torch.randn(8, 5))
    loss, optimiser = make_distill_loss(kind, 5), torch.optim.Adam([student], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss(student, teacher).backward()
        optimiser.step()
    assert teacher.grad is None
    nearest = (F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).T).argmax(dim=-1)
    assert nearest.tolist() == list(range(8))


def test_mean_squared_error_is_between_directions():
    assert isinstance(make_distill_loss("mse", 3), EmbeddingMSELoss)
    assert make_distill_loss("mse", 3)(torch.eye(3), 7 * torch.eye(3)).item() == 0.0


def test_the_order_of_a_ranking_is_used(tmp_path):
    ranking = {"format": 1, "ranking": "mean_abs", "order": [2, 0, 1], "importance": [0.2, 0.1, 0.3], "n_clips": 4}
    (tmp_path / "ranking.json").write_text(json.dumps(ranking), encoding="utf-8")
    nested = make_distill_loss("cosine", 3, nested_dims=[1], nested_order=tmp_path)
    assert nested.order.tolist() == [2, 0, 1]
    with pytest.raises(ConfigError, match="ranks 3 dimensions, the embedding has 4"):
        make_distill_loss("cosine", 4, nested_dims=[1], nested_order=tmp_path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: make_distill_loss("cosin", 4), "loss 'cosin' is unknown"),
        (lambda: make_distill_loss("centred", 4, nested_dims=[2]), "cannot be nested"),
        (lambda: NestedLoss(CosineDistillLoss(), []), "give one or more lengths"),
        (lambda: NestedLoss(CosineDistillLoss(), [4], order=[0, 1, 2, 3]), "shorter than the 4 dimensions"),
        (lambda: NestedLoss(CosineDistillLoss(), [2], order=[0, 0, 1, 2]), "each dimension once"),
        (lambda: NestedLoss(CosineDistillLoss(), [3])(torch.ones(2, 3), torch.ones(2, 3)), "embeddings of 3"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_nested_student_keeps_its_order():
    nested = make_distill_loss("cosine", 4, nested_dims=[2])
    assert nested.stored_order(4) == {"order": [0, 1, 2, 3], "ranking": "nested", "dims": [2]}
    assert NestedLoss(CosineDistillLoss(), [1], order=[2, 0, 1]).stored_order(3)["order"] == [2, 0, 1]
