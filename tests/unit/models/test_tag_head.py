"""The head whose logits start where its teacher's lie."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.models.projection import TagHead, make_head


def test_logits_are_the_linear_map_on_the_teacher_s_scale():
    head = TagHead(3, 2)
    features = torch.randn(4, 3)
    plain = head(features)
    torch.testing.assert_close(plain, head.linear(features))
    head.calibrate([-7.0, -2.0], torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(head(features), torch.tensor([-7.0, -2.0]) + torch.tensor([3.0, 0.5]) * plain)


def test_a_new_head_says_the_prior_whatever_it_hears():
    head = TagHead(64, 10)
    head.calibrate(torch.full((10,), -6.0), torch.ones(10))
    logits = head(torch.randn(100, 64))
    assert logits.mean().item() == pytest.approx(-6, abs=0.1)
    assert logits.std() < 0.5


def test_the_calibration_is_saved_and_not_learnt():
    head = TagHead(3, 2)
    assert {name for name, _ in head.named_parameters()} == {"linear.weight", "linear.bias"}
    head.calibrate([1.0, 2.0], [3.0, 4.0])
    again = build(head.config)
    again.load_state_dict(head.state_dict())
    assert again.logit_mean.tolist() == [1, 2] and again.logit_std.tolist() == [3, 4]


def test_a_calibration_of_another_width_is_refused():
    with pytest.raises(ConfigError, match="3 tags for a head of 2"):
        TagHead(4, 2).calibrate([0.0] * 3, [1.0] * 3)
    with pytest.raises(ConfigError, match="head of 2"):
        TagHead(4, 2).calibrate([0.0] * 2, [1.0] * 3)


def test_recipes_make_it_by_its_name():
    encoder = torch.nn.Identity()
    encoder.embed_dim = 5
    assert isinstance(make_head(encoder, "tag", 7), TagHead)
