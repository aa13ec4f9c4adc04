"""PhiNet's knobs; equality with the published networks is in test_parity.py."""

import json

import pytest
import torch
from torch import nn

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_macs, count_parameters
from tinyclap.models.phinet import PhiNet

HEAD = 3_147_776
GRID = [  # n_layers, alpha, beta, t_zero -> parameters in millions with the published head, MACs in millions
    (4, 0.5, 0.5, 4, 3.21, 33),
    (5, 0.75, 0.75, 6, 3.35, 84),
    (7, 0.25, 1.0, 6, 3.28, 19),
    (7, 1.5, 0.75, 6, 4.43, 357),
    (9, 3.0, 1.0, 6, 15.81, 1875),
]


@pytest.mark.parametrize(("n_layers", "alpha", "beta", "t_zero", "n_millions", "n_million_macs"), GRID)
def test_sizes_equal_those_computed_from_the_official_code(n_layers, alpha, beta, t_zero, n_millions, n_million_macs):
    net = PhiNet(alpha=alpha, beta=beta, t_zero=t_zero, n_layers=n_layers).eval()
    assert (count_parameters(net) + HEAD) / 1e6 == pytest.approx(n_millions, abs=0.006)
    n_macs = count_macs(net, torch.zeros(1, 690, 64))["n_macs_paper"] + 2048 * 1024 + 1024**2
    assert n_macs / 1e6 == pytest.approx(n_million_macs, abs=1)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"compatibility": False},
        {"compatibility": True, "squeeze_excite": True},
        {"pool": True},
        {"conv2d_input": True},
        {"conv5_percent": 0.5, "first_conv_stride": 1},
        {"embed_width": None, "pooling": "mean_max"},
        {"divisor": 8, "h_swish": True},
        {"embed_stride": 1, "embed_norm": True},
        {"n_layers": 2},
        {"downsampling_layers": [4, 6], "residuals": False},
    ],
)
def test_every_knob_works_for_any_number_of_frames_and_rebuilds_from_json(knobs):
    net = PhiNet(**{"alpha": 0.5, **knobs}).eval()
    for n_frames in (1, 2, 3, 33, 70):
        encoding = net(torch.randn(2, n_frames, 64))
        assert encoding.clip.shape == (2, net.embed_dim) and encoding.clip.isfinite().all()
        assert encoding.frames.shape == (2, encoding.n_frames[0], net.embed_dim)
    again = build(json.loads(json.dumps(net.config)))
    assert again.load_state_dict(net.state_dict())


def kinds(net):
    return {type(module) for module in net.modules()}


def test_compatibility_turns_hard_swish_and_squeeze_excite_off_unless_they_are_asked_for():
    assert nn.Hardswish not in kinds(PhiNet(alpha=0.5)) and nn.ReLU6 in kinds(PhiNet(alpha=0.5))
    assert nn.Hardswish in kinds(PhiNet(alpha=0.5, compatibility=False))
    gated = [name for name in PhiNet(alpha=0.5, squeeze_excite=True).state_dict() if "se_conv" in name]
    assert "_layers.3._layers.7.se_conv.weight" in gated and not any("_layers.2." in name for name in gated)
    assert not [
        name for name in PhiNet(alpha=0.5, compatibility=False, squeeze_excite=False).state_dict() if "se_" in name
    ]


def test_batchnorm_forgets_slowly_by_default_and_at_once_as_in_the_reference():
    log_mel = 20 * torch.randn(2, 40, 64)
    for momentum, share in ((0.1, 0.1), (0.999, 0.999)):
        net = PhiNet(alpha=0.5, batchnorm_momentum=momentum).train()
        norm = net._layers[1]._layers[2]
        with torch.no_grad():
            feature_map = net.bn0(log_mel.transpose(1, 2).unsqueeze(3)).permute(0, 3, 2, 1)
            stem = net._layers[1]._layers
            of_batch = stem[1](stem[0](net._layers[0](feature_map))).mean((0, 2, 3))
            net(log_mel)
        torch.testing.assert_close(norm.running_mean, share * of_batch, rtol=1e-3, atol=1e-5)
    assert PhiNet(alpha=0.5)._layers[1]._layers[2].momentum == 0.1
    assert PhiNet(alpha=0.5, batchnorm_momentum=0.999).bn0.momentum == 0.1


def test_embeddings_in_eval_mode_do_not_hang_on_the_batch():
    torch.manual_seed(0)
    net, log_mel = PhiNet(alpha=0.5).eval(), torch.randn(3, 50, 64)
    torch.testing.assert_close(net(log_mel).clip[1:2], net(log_mel[1:2]).clip, atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient():
    net = PhiNet(alpha=0.5, compatibility=False).train()
    net(torch.randn(2, 64, 64)).clip.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_frozen_encoder_in_eval_mode_uses_its_running_statistics():
    net, log_mel = PhiNet(alpha=0.35, n_layers=4).eval(), torch.randn(2, 41, 64, requires_grad=True)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(log_mel).clip.sum().backward()
    assert log_mel.grad is not None
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_the_memory_format_of_training_changes_no_gradient():
    torch.manual_seed(0)
    net, log_mel = PhiNet(alpha=0.5, dropout=0.0).double().train(), 20 * torch.randn(3, 50, 64).double()

    def gradients():
        net.zero_grad()
        net(log_mel).clip.square().sum().backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    ours = gradients()
    net._layers[0].register_forward_pre_hook(lambda _, inputs: inputs[0].clone(memory_format=torch.contiguous_format))
    torch.testing.assert_close(ours, gradients(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"pooling": "max"}, "pooling 'max'"),
        ({"alpha": 0.01}, "no channels are left"),
        ({"n_mels": 8, "pool": True}, "mel bands"),
    ],
)
def test_knobs_that_leave_no_network_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=message):
        PhiNet(**knobs)
