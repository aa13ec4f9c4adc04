"""The running average of a network's weights."""

import copy

import pytest
import torch
from torch import nn

from tinyclap.training.average import WeightAverage


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))


def set_weights(module, value):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_the_average_is_the_recursion_with_an_early_start():
    module = net()
    average = WeightAverage(module, decay=0.15)
    by_hand = 0.0
    for n_updates, value in enumerate([2.0, 5.0, -1.0, 3.0]):
        set_weights(module, value)
        average.update_parameters(module)
        past = min(0.15, (1 + n_updates) / (10 + n_updates)) if n_updates else 0  # the first is copied; then 0.15
        by_hand = past * by_hand + (1 - past) * value
    assert average.module[0].weight.flatten().tolist() == pytest.approx([by_hand] * 6)
    assert average.n_averaged == 4


def test_without_a_decay_all_updates_count_alike():
    module = net()
    average = WeightAverage(module, decay=None)
    for value in (2.0, 5.0, -1.0):
        set_weights(module, value)
        average.update_parameters(module)
    assert average.module[0].weight.flatten().tolist() == pytest.approx([2.0] * 6)


def test_statistics_are_averaged_and_counters_copied():
    module = net().train()
    average = WeightAverage(module, decay=0.0)
    for _ in range(3):
        module(torch.randn(8, 3))
        average.update_parameters(module)
    norm = average.module[1]
    assert norm.num_batches_tracked == 3
    torch.testing.assert_close(norm.running_mean, module[1].running_mean)


def test_it_is_another_network_without_gradients_in_eval_mode():
    module = net()
    average = WeightAverage(module, 0.9).train()
    assert not average.training and not average.module.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
    before = average.module[0].weight.clone()
    set_weights(module, 7.0)
    assert torch.equal(average.module[0].weight, before), "it shares no memory with what is trained"
    assert torch.equal(average(torch.ones(1, 3)), average.module(torch.ones(1, 3)))


def test_it_goes_on_from_its_state():
    module = net()
    first = WeightAverage(module, 0.9)
    set_weights(module, 2.0)
    first.update_parameters(module)
    second = WeightAverage(net(), 0.9)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    set_weights(module, 3.0)
    for average in (first, second):
        average.update_parameters(module)
    assert torch.equal(first.module[0].weight, second.module[0].weight)
    assert second.n_averaged == 2
