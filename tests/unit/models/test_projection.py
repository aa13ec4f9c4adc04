"""The heads: formula, sizes, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.projection import ClapProjection, LinearHead, MlpHead


def test_the_published_head_is_a_residual_under_a_layer_norm():
    head = ClapProjection(6, 4).eval()
    x = torch.rand(3, 6)
    first = x @ head.linear1.weight.T
    second = (0.5 * first * (1 + torch.erf(first / 2**0.5))) @ head.linear2.weight.T
    torch.testing.assert_close(head(x), F.layer_norm(first + second, (4,), eps=1e-5))


@pytest.mark.parametrize(
    ("head", "n_parameters"),
    [
        (ClapProjection(2048, 1024), 3_147_776),
        (LinearHead(2048, 1024), 2048 * 1024 + 1024),
        (LinearHead(2048, 1024, bias=False), 2048 * 1024),
        (MlpHead(288, 100, 1024), 288 * 100 + 100 + 100 * 1024 + 1024),
    ],
)
def test_heads_have_the_parameters_of_their_formula_and_rebuild_from_json(head, n_parameters):
    assert count_parameters(head) == n_parameters
    assert build(head.config).config == head.config


def test_dropout_is_off_in_eval_mode():
    head, x = ClapProjection(8, 8).eval(), torch.rand(2, 8)
    assert torch.equal(head(x), head(x))
    assert not torch.equal(head.train()(x), head(x))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match="'swish'"):
        MlpHead(4, 4, 4, activation="swish")
