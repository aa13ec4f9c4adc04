"""Captioning's losses: numbers by hand and of the published code, what is masked, and who gets a gradient."""

import math

import pytest
import torch
import torch.nn.functional as F
from published_reference import arrays, rule

from tinyclap.errors import ConfigError
from tinyclap.losses import CaptionCrossEntropy, EncoderKDLoss, TokenKD
from tinyclap.losses import contrastive as losses


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def golden():
    return arrays("tinyclap")


def reference_kd(**options):
    loss = EncoderKDLoss(32, 32, 16, **options)
    filled = {
        name: torch.from_numpy(rule.fill(name, tensor.shape))
        for name, tensor in loss.state_dict().items()
        if name != "logit_scale"  # keeps its own value, ln(1/0.07)
    }
    loss.load_state_dict({**loss.state_dict(), **filled})
    return loss


def test_words_are_weighed_alike_however_the_batch_is_padded():
    logits, targets = random(2, 4, 6), torch.tensor([[3, 2, 0, 0], [4, 5, 3, 2]])
    by_hand = -logits.log_softmax(-1)[[0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 2, 3], [3, 2, 4, 5, 3, 2]].mean()
    assert CaptionCrossEntropy()(logits, targets).item() == pytest.approx(by_hand.item(), rel=1e-6)
    changed = logits.clone()
    changed[0, 2:] = 50.0
    assert CaptionCrossEntropy()(changed, targets) == CaptionCrossEntropy()(logits, targets)


def test_label_smoothing_spreads_over_all_words():
    logits, targets = random(1, 2, 5), torch.tensor([[3, 2]])
    log_p = logits.log_softmax(-1)[0]
    by_hand = -(0.9 * (log_p[0, 3] + log_p[1, 2]) / 2 + 0.1 * log_p.mean(-1).mean())
    assert CaptionCrossEntropy(0, 0.1)(logits, targets).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_a_batch_without_a_word_has_no_loss_and_no_nan():
    assert CaptionCrossEntropy()(random(1, 3, 5), torch.zeros(1, 3, dtype=torch.long)).item() == 0


def most_probable(teacher, n_words, mask):
    """The words and probabilities of a store, all 0 where there is no word."""
    probabilities, ids = teacher.softmax(-1).topk(n_words)
    return ids, probabilities * mask[..., None]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_with_all_words_the_token_level_loss_is_the_cross_entropy(temperature):
    student, teacher, mask = random(2, 3, 7), random(2, 3, 7, seed=1), torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    p, log_q = (teacher / temperature).softmax(-1), (student / temperature).log_softmax(-1)
    given = TokenKD(temperature)(student, most_probable(teacher, 7, mask))
    assert given.item() == pytest.approx(-(p * log_q).sum(-1)[mask].mean().item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 2.0])
def test_a_few_words_are_the_teacher_s_distribution_among_them(temperature):
    student, teacher, mask = random(2, 3, 7), 3 * random(2, 3, 7, seed=1), torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    few, log_q = teacher.topk(3), (student / temperature).log_softmax(-1)
    by_hand = -((few.values / temperature).softmax(-1) * log_q.gather(2, few.indices)).sum(-1)[mask].mean()
    ids, probabilities = most_probable(teacher, 3, mask)
    given = TokenKD(temperature)(student, (ids, probabilities))
    assert given.item() == pytest.approx(by_hand.item(), rel=1e-4)
    scaled = TokenKD(temperature)(student, (ids, probabilities * torch.rand(2, 3, 1).add(0.1)))
    assert scaled.item() == pytest.approx(given.item(), rel=1e-4), "they need not add up to 1"


def test_the_sparse_loss_is_least_where_the_student_agrees_and_its_gradient_is_the_difference():
    probabilities, ids = torch.tensor([[[0.75, 0.25]]]), torch.tensor([[[2, 0]]])
    student = torch.tensor([[[math.log(0.25), -30.0, math.log(0.75)]]]).requires_grad_()
    loss = TokenKD()(student, (ids, probabilities.requires_grad_()))
    loss.backward()
    assert loss.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), rel=1e-5)
    assert student.grad.abs().max() < 1e-6 and probabilities.grad is None
    other = torch.zeros(1, 1, 3).requires_grad_()
    TokenKD()(other, (ids, probabilities)).backward()
    torch.testing.assert_close(other.grad[0, 0], torch.tensor([1 / 3 - 0.25, 1 / 3, 1 / 3 - 0.75]))


def test_places_without_a_target_neither_count_nor_make_nan():
    student, ids = random(1, 2, 5).requires_grad_(), torch.zeros(1, 2, 3, dtype=torch.long)
    loss = TokenKD(2.0)(student, (ids, torch.zeros(1, 2, 3)))
    loss.backward()
    assert loss.item() == 0 and not student.grad.any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("contrastive", {"kind": "contrastive"}),
        ("mse", {"kind": "mse"}),
        ("mse_l2norm", {"kind": "mse", "l2_norm": True}),
    ],
)
@torch.no_grad()
def test_the_encoder_losses_equal_the_published_ones(golden, name, options):
    value = reference_kd(**options)(torch.from_numpy(golden["loss.a"]), torch.from_numpy(golden["loss.b"]))
    assert value.item() == pytest.approx(golden[f"kd.{name}"].item(), rel=1e-5)


@torch.no_grad()
def test_both_is_the_sum_of_the_two(golden):
    a, b = torch.from_numpy(golden["loss.a"]), torch.from_numpy(golden["loss.b"])
    wanted = golden["kd.contrastive"].item() + golden["kd.mse"].item()
    assert reference_kd(kind="both")(a, b).item() == pytest.approx(wanted, rel=1e-5)


@torch.no_grad()
def test_the_temperature_is_a_temperature_behind_its_switch(golden):
    student, teacher = torch.from_numpy(golden["loss.a"]), torch.from_numpy(golden["loss.b"])
    loss = reference_kd(kind="contrastive", exponentiate=True)
    wanted = losses.clap_contrastive(loss.stdnt_proj(student), loss.tchr_proj(teacher))
    assert loss(student, teacher).item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.logit_scale.data.fill_(9.0)  # exp(9) is bounded by 100, as CLIP bounds it
    at_bound = losses.clap_contrastive(loss.stdnt_proj(student), loss.tchr_proj(teacher), 100.0, math.inf)
    assert loss(student, teacher).item() == pytest.approx(at_bound.item(), rel=1e-5)


def test_without_projections_the_vectors_are_compared_as_they_are():
    student, teacher = random(3, 6), random(3, 6, seed=1)
    assert EncoderKDLoss(6, 6, kind="mse", projection="none")(student, teacher) == F.mse_loss(student, teacher)


def test_a_projection_of_the_student_alone_ends_in_the_teacher_s_space():
    loss = EncoderKDLoss(8, 6, kind="mse", projection="student")
    assert loss.stdnt_proj.weight.shape == (6, 8)
    assert [name for name, _ in loss.named_parameters()] == ["stdnt_proj.weight", "stdnt_proj.bias"]


@pytest.mark.parametrize("kind", ["mse", "contrastive", "both"])
def test_the_teacher_gets_no_gradient_through_the_shared_space(kind):
    loss = EncoderKDLoss(8, 6, 4, kind)
    student, teacher = random(5, 8, seed=1).requires_grad_(), random(5, 6, seed=2).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None
    assert loss.stdnt_proj.weight.grad.abs().sum() > 0 and loss.tchr_proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EncoderKDLoss(8, 8, 4, kind="cosine"), "kind='cosine'"),
        (lambda: EncoderKDLoss(8, 8, 4, projection="teacher"), "projection='teacher'"),
        (lambda: EncoderKDLoss(8, 6, projection="none"), "8 and 6"),
        (lambda: CaptionCrossEntropy(0, 1.0), "label_smoothing"),
        (lambda: CaptionCrossEntropy(0, -0.1), "label_smoothing"),
        (lambda: CaptionCrossEntropy(0, "0,1"), "label_smoothing"),
        (lambda: TokenKD(0), "temperature=0"),
        (lambda: TokenKD("warm"), "temperature='warm'"),
    ],
)
def test_what_is_unknown_or_does_not_fit_is_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
