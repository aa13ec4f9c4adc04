"""Losses by name, and nested training: numbers by hand."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from tinyclap.errors import ConfigError
from tinyclap.losses import CosineLoss, NestedLoss, make_loss
from tinyclap.losses.distillation import LOSSES


def divergence(wanted, given):
    return (wanted * (wanted / given).log()).sum(-1).mean()


def test_a_prefix_is_asked_for_the_similarities_of_all_dimensions():
    teacher = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])  # in the first two dimensions both clips are the same
    rows = torch.tensor([1.0, 1 / math.sqrt(2)]).softmax(0)  # cosines of a clip with itself and with the other
    by_hand = -1 + -1 + divergence(rows, torch.tensor([0.5, 0.5]))
    nested = NestedLoss(CosineLoss(), dims=[2], temperature=1.0)
    assert nested(teacher, teacher).item() == pytest.approx(by_hand.item() / 2, rel=1e-5)


def test_a_nested_loss_is_the_mean_over_its_prefixes_in_their_order():
    torch.manual_seed(0)
    student, teacher, order = torch.randn(4, 6), torch.randn(4, 6), [5, 0, 3, 1, 2, 4]
    loss = CosineLoss()
    nested = NestedLoss(loss, dims=[3, 1], order=order, affinity_weight=0.0)
    parts = [loss(student, teacher), *(loss(student[:, order[:n]], teacher[:, order[:n]]) for n in (1, 3))]
    assert nested(student, teacher).item() == pytest.approx((sum(parts) / 3).item(), rel=1e-6)
    heavier = NestedLoss(loss, dims=[3, 1], order=order, affinity_weight=2.0)
    rows = (F.normalize(teacher, dim=-1) @ F.normalize(teacher, dim=-1).T / 0.07).softmax(-1)
    more = 0
    for n in (1, 3):
        short = [F.normalize(side[:, order[:n]], dim=-1) for side in (student, teacher)]
        more = more + divergence(rows, (short[0] @ short[1].T / 0.07).softmax(-1))
    assert heavier(student, teacher).item() == pytest.approx(((sum(parts) + 2 * more) / 3).item(), rel=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind != "tag_profile"])
def test_every_loss_draws_the_student_to_the_teacher_and_leaves_the_teacher_alone(kind):
    torch.manual_seed(1)
    teacher = torch.randn(8, 5, requires_grad=True)
    student = torch.nn.Parameter(torch.randn(8, 5))
    loss, optimiser = make_loss(kind, 5), torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss(student, teacher).backward()
        optimiser.step()
    assert teacher.grad is None
    nearest = (F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).T).argmax(dim=-1)
    assert nearest.tolist() == list(range(8))


def test_options_reach_the_loss_and_none_stands_for_its_default():
    student, teacher = torch.eye(3), 7 * torch.eye(3)
    assert make_loss("mse", 3)(student, teacher).item() == 0.0, "of directions"
    assert make_loss("mse", 3, l2_norm=False)(student, teacher).item() == 12.0
    for name in ("affinity", "interactive", "contrastive", "siglip"):
        default, given, other = (
            make_loss(name, 3, temperature=t) for t in (None, 0.1 if name == "siglip" else 0.07, 2)
        )
        values = [loss(torch.arange(9.0).view(3, 3), teacher).item() for loss in (default, given, other)]
        assert values[0] == values[1] != values[2], name


def test_the_order_of_a_ranking_is_used(tmp_path):
    ranking = {"format": 1, "ranking": "mean_abs", "order": [2, 0, 1], "importance": [0.2, 0.1, 0.3], "n_clips": 4}
    (tmp_path / "ranking.json").write_text(json.dumps(ranking), encoding="utf-8")
    nested = make_loss("cosine", 3, nested_dims=[1], nested_order=tmp_path)
    assert nested.order.tolist() == [2, 0, 1]
    with pytest.raises(ConfigError, match="ranks 3 dimensions, the embedding has 4"):
        make_loss("cosine", 4, nested_dims=[1], nested_order=tmp_path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: make_loss("cosin", 4), "loss 'cosin' is unknown"),
        (lambda: make_loss(["cosine"], 4), "is unknown"),
        (lambda: make_loss("cosine", 4, temperature=0.1), "no option 'temperature'; it has none"),
        (lambda: make_loss("siglip", 4, temprature=0.1), "no option 'temprature'; it has temperature, bias, learnable"),
        (lambda: make_loss("centred", 4, n_tags=3), "no option 'n_tags'; it has momentum"),
        (lambda: make_loss("affinity", 4, temperature="0,07"), "temperature='0,07'; give a number above 0"),
        (lambda: make_loss("contrastive", 4, temperature=0), "temperature=0; give a number above 0"),
        (lambda: make_loss("interactive", 4, temperature=float("nan")), "temperature=nan"),
        (lambda: make_loss("siglip", 4, temperature=True), "temperature=True"),
        (lambda: make_loss("siglip", 4, bias="none"), "bias='none'"),
        (lambda: make_loss("contrastive", 4, temperature=0.001), "a learnable one is at least 0.01"),
        (lambda: make_loss("centred", 4, momentum=2), "momentum=2"),
        (lambda: make_loss("affinity", 4, texts="nowhere.txt").bank_texts(), "no such file"),
        (lambda: make_loss("centred", 4, nested_dims=[2]), "cannot be nested"),
        (lambda: make_loss("affinity", 4, nested_dims=[2], texts=["a dog"]), "cannot be nested"),
        (lambda: make_loss("cosine", 4, nested_dims=32), "give a list of whole numbers"),
        (lambda: make_loss("cosine", 4, nested_dims=[1.5]), "give a list of whole numbers"),
        (lambda: make_loss("cosine", 4, nested_dims="32"), "give a list of whole numbers"),
        (lambda: make_loss("cosine", 4, nested_dims=[2, 4]), "shorter than the 4 of the embedding"),
        (lambda: NestedLoss(CosineLoss(), []), "give one or more lengths"),
        (lambda: NestedLoss(CosineLoss(), [4], order=[0, 1, 2, 3]), "shorter than the 4 dimensions"),
        (lambda: NestedLoss(CosineLoss(), [2], order=[0, 0, 1, 2]), "each dimension once"),
        (lambda: NestedLoss(CosineLoss(), [3])(torch.ones(2, 3), torch.ones(2, 3)), "embeddings of 3"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_nested_student_keeps_its_order():
    nested = make_loss("cosine", 4, nested_dims=[2])
    assert nested.stored_order(4) == {"order": [0, 1, 2, 3], "ranking": "nested", "dims": [2]}
    assert NestedLoss(CosineLoss(), [1], order=[2, 0, 1]).stored_order(3)["order"] == [2, 0, 1]
