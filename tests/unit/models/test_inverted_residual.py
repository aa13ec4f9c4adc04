"""The fast form of a PhiNet's training is the slow one: outputs, gradients, statistics, dropout and all."""

import pytest
import torch
from torch import nn

from tinyclap.models import inverted_residual
from tinyclap.models.phinet import PhiNet, train_by_layers

FORMS = {
    "published": {"alpha": 0.5},
    "without dropout": {"alpha": 0.5, "dropout": 0.0},
    "half of the channels dropped": {"alpha": 0.35, "dropout": 0.5},
    "plain stem": {"alpha": 0.35, "conv2d_input": True},
    "wide kernels": {"alpha": 0.35, "conv5_percent": 0.5},
    "without skips": {"alpha": 0.35, "residuals": False},
}


def passed(options, by_layers, dtype=torch.float64):
    """A step's output, gradients and norms' statistics; the random numbers are those of float64, rounded."""
    torch.manual_seed(0)
    network = PhiNet(n_mels=32, n_layers=5, t_zero=3, embed_width=16, **options).train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
    network.to(dtype)
    train_by_layers(network, by_layers)
    log_mel = (torch.randn(5, 41, 32) * 10 - 40).to(dtype).requires_grad_()
    weights = torch.randn(5, 16).to(dtype)
    clip = network(log_mel).clip
    (clip * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"clip": clip.detach(), "log_mel": log_mel.grad, **gradients}, dict(network.named_buffers())


def worst(ours, wanted):
    """Greatest distance of a tensor to the wanted one, against its norm or a millionth of the largest gradient's."""
    least = 1e-6 * max(tensor.double().norm() for name, tensor in wanted.items() if name != "clip")
    return max(
        ((ours[name].double() - tensor.double()).norm() / max(tensor.double().norm(), least)).item()
        for name, tensor in wanted.items()
    )


@pytest.mark.parametrize("chunk", [2**20, 1], ids=["whole batch", "clip by clip"])
@pytest.mark.parametrize("form", FORMS)
def test_outputs_gradients_and_statistics_are_those_of_the_layers(form, chunk, monkeypatch):
    monkeypatch.setattr(inverted_residual, "_CACHED", chunk)
    (ours, our_norms), (wanted, norms) = passed(FORMS[form], False), passed(FORMS[form], True)
    assert worst(ours, wanted) < 1e-9
    for name, statistic in norms.items():
        torch.testing.assert_close(our_norms[name], statistic, rtol=1e-10, atol=1e-12)


def test_in_float32_it_is_as_near_to_the_truth_as_the_layers_are():
    truth, _ = passed(FORMS["without dropout"], True)
    fast, _ = passed(FORMS["without dropout"], False, torch.float32)
    slow, _ = passed(FORMS["without dropout"], True, torch.float32)
    assert worst(fast, truth) < 3 * worst(slow, truth)


def test_it_is_what_trains_and_not_what_infers(monkeypatch):
    calls = []
    fast = inverted_residual._InvertedResidual.apply
    monkeypatch.setattr(inverted_residual._InvertedResidual, "apply", lambda *a: (calls.append(1), fast(*a))[1])
    network = PhiNet(n_mels=32, alpha=0.35, n_layers=5)
    network.train()(torch.zeros(2, 41, 32))
    assert len(calls) == 6  # the stem with its block, and five more
    network.eval()(torch.zeros(2, 41, 32))
    with torch.no_grad():
        network.train()(torch.zeros(2, 41, 32))
    PhiNet(n_mels=32, alpha=0.35, n_layers=5, h_swish=True).train()(torch.zeros(2, 41, 32))
    assert len(calls) == 6
    PhiNet(n_mels=32, alpha=0.35, n_layers=5, squeeze_excite=True).train()(torch.zeros(2, 41, 32))
    assert len(calls) == 7  # its first block has no squeeze-excite


def test_a_frozen_block_in_eval_mode_uses_its_own_statistics():
    network = PhiNet(n_mels=32, alpha=0.35, n_layers=4).eval()
    log_mel = torch.randn(2, 41, 32, requires_grad=True)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(log_mel).clip.sum().backward()
    assert log_mel.grad is not None
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_mean_and_variance_by_hand():
    mean, var = inverted_residual._moments([torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
    assert mean.item() == 3 and var.item() == pytest.approx(14 / 3)
