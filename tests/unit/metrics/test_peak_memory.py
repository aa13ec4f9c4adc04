"""Bytes of activations that are alive at once, worked out by hand."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from tinyclap.metrics.cost import peak_activation_memory


def test_layers_in_a_row_drop_what_they_have_read():
    layers = nn.Sequential(nn.Linear(10, 50), nn.Linear(50, 20), nn.Linear(20, 30))
    # the input (10 numbers) stays; 50 and 20 are alive together, and 20 and 30 later
    assert peak_activation_memory(layers, torch.zeros(1, 10)) == {
        "peak_bytes": 4 * (10 + 50 + 20),
        "operation": "aten.addmm.default",
        "input_bytes": 40,
    }


def test_what_somebody_holds_counts_until_it_is_dropped():
    def keeps(vector):
        first = vector + 1
        second = first * 2
        return first, second * 3

    def drops(vector):
        first = vector + 1
        second = first * 2
        del first
        return second * 3

    vector = torch.zeros(100, dtype=torch.float64)
    assert peak_activation_memory(keeps, vector)["peak_bytes"] == 800 * 4
    assert peak_activation_memory(drops, vector)["peak_bytes"] == 800 * 3


def test_views_weights_and_what_is_done_in_place_take_nothing():
    weight = torch.zeros(6, 6)

    def forward(vector):
        turned = vector.view(3, 2).t()
        weight.t()
        made = (vector + 1).clamp_(0, 1)
        return turned, made, made[:2], weight.view(36)

    assert peak_activation_memory(forward, torch.zeros(6))["peak_bytes"] == 24 + 24


def test_a_skip_keeps_the_input_of_a_block_and_a_norm_makes_a_copy():
    conv = nn.Sequential(nn.Conv2d(2, 8, 1, bias=False), nn.BatchNorm2d(8)).eval()
    image = torch.zeros(1, 2, 5, 5)
    assert peak_activation_memory(conv, image)["peak_bytes"] == 4 * 25 * (2 + 8 + 8)
    folded = nn.Conv2d(2, 8, 1)
    assert peak_activation_memory(lambda x: folded(x) + 1, image)["peak_bytes"] == 4 * 25 * (2 + 8 + 8)
    assert peak_activation_memory(folded, image)["peak_bytes"] == 4 * 25 * (2 + 8)


def test_a_part_of_a_tensor_counts_with_all_of_its_storage():
    assert peak_activation_memory(lambda x: x[:1] + 1, torch.zeros(100))["peak_bytes"] == 404


def test_nothing_is_kept_for_a_gradient_and_nobody_watches_afterwards():
    deep = nn.Sequential(*[nn.Linear(7, 7) for _ in range(9)])
    assert peak_activation_memory(deep, torch.zeros(1, 7))["peak_bytes"] == 3 * 28
    with pytest.raises(RuntimeError):
        peak_activation_memory(deep, torch.zeros(1, 8))
    assert not is_in_torch_dispatch_mode() and torch.is_grad_enabled()
