"""Counts worked out by hand; the paper's figures are in test_parity.py."""

import pytest
import torch
from torch import nn

from tinyclap.features.front_ends import log_mel
from tinyclap.metrics.cost import complexity, count_macs, count_parameters, measure_latency
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.student import AudioStudent


def test_shared_parameters_count_once_and_frozen_ones_on_request():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    both = nn.Sequential(first, second, nn.Linear(4, 2))
    first.requires_grad_(False)
    assert count_parameters(both) == 16 + 10
    assert count_parameters(both, trainable_only=True) == 10


def test_a_convolution_costs_outputs_times_kernel_and_input_channels_of_its_group():
    image = torch.zeros(2, 4, 10, 8)
    assert count_macs(nn.Conv2d(4, 6, 3, padding=1), image)["n_macs"] == 2 * 6 * 10 * 8 * 4 * 9
    assert count_macs(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), image)["n_macs_paper"] == 2 * 4 * 5 * 4 * 9


def test_only_the_counter_of_torch_sees_matrix_products_outside_layers():
    cost = count_macs(lambda x: x @ x.T, torch.zeros(3, 5))
    assert cost == {"n_macs": 45, "n_macs_paper": 0}


def test_complexity_leaves_out_layers_that_did_not_take_part():
    student = AudioStudent(log_mel("efficientat"), MobileNet(width=0.4), window={"window_s": 2.0}).eval()
    cost = complexity(student, clip_duration_s=2.0)
    head = 384 * 512 + 512 + 512 * 527 + 527
    assert cost["n_parameters"] == 983_599 - head
    assert cost["macs_clip_s"] == 2.0 and 0 < cost["n_macs_paper"] < cost["n_macs"]
    assert not nn.modules.module._global_forward_hooks, "no hook is left behind"


def test_a_longer_clip_costs_its_windows():
    student = AudioStudent(log_mel("efficientat"), MobileNet(width=0.4), window={"window_s": 1.0})
    one, three = (complexity(student, clip_duration_s=duration_s)["n_macs"] for duration_s in (1.0, 3.0))
    assert three == 3 * one


def test_latency_is_measured_in_order_and_threads_are_given_back():
    n_threads = torch.get_num_threads()
    result = measure_latency(nn.Linear(64, 64), torch.zeros(8, 64), n_repeats=5, n_threads=1)
    assert 0 < result["p10_ms"] <= result["median_ms"] <= result["p90_ms"]
    assert result["n_threads"] == 1 and result["n_repeats"] == 5
    assert torch.get_num_threads() == n_threads


def test_latency_of_a_failing_module_gives_threads_back():
    n_threads = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        measure_latency(nn.Linear(3, 3), torch.zeros(2, 4), n_threads=1)
    assert torch.get_num_threads() == n_threads
