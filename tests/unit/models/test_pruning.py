"""Narrower and shorter trunks keep the weights that matter and nothing else changes."""

import pytest
import torch

from tinyclap import load_published
from tinyclap.errors import ConfigError
from tinyclap.models.mobilenet import MobileNet, narrowed, shortened


@pytest.fixture
def net():
    """A MobileNet with norms that are not those of the start, in eval mode."""
    torch.manual_seed(0)
    net = MobileNet(width=0.4)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return net.eval()


@torch.no_grad()
def test_keeping_everything_changes_nothing(net):
    log_mel = torch.randn(2, 64, 128)
    assert torch.equal(narrowed(net, 1.0)(log_mel).clip, net(log_mel).clip)
    assert torch.equal(
        shortened(net, 15).features[15](torch.ones(1, 64, 4, 4)), net.features[15](torch.ones(1, 64, 4, 4))
    )


@torch.no_grad()
@pytest.mark.parametrize("measured", [False, True])
def test_channels_that_add_nothing_are_the_ones_that_go(net, measured):
    silent = {}
    for index, block in enumerate(net.blocks):
        if index:
            project, n_hidden = block.block[-1][0], block.depthwise[0].out_channels
            silent[index] = torch.randperm(n_hidden)[: n_hidden - max(8, int(n_hidden / 16 + 0.5) * 8)]
            project.weight[:, silent[index]] = 0
            if block.gate is not None:
                block.gate.fc1.weight[:, silent[index]] = 0
    log_mel = torch.randn(2, 96, 128)
    half = narrowed(net, 0.5, log_mel if measured else None)
    torch.testing.assert_close(half(log_mel).clip, net(log_mel).clip, atol=1e-4, rtol=1e-4)
    assert half.config["hidden_channels"][1:4] == [16, 16, 16]


@torch.no_grad()
def test_constant_channels_are_folded_away_exactly(net):
    for block in list(net.blocks)[1:]:
        norm, n_hidden = block.depthwise[1], block.depthwise[0].out_channels
        n_keep = max(8, int(n_hidden / 16 + 0.5) * 8)
        norm.weight[n_keep:] = 0  # the channel is its bias, whatever comes in
    log_mel = torch.randn(2, 96, 128)
    full = net(log_mel).clip
    half = narrowed(net, 0.5)(log_mel).clip
    # Only squeeze-excite makes a constant channel depend on the clip, so compare where there is none.
    shallow, shallow_half = shortened(net, 3), narrowed(shortened(net, 3), 0.5)
    feature_map = log_mel.transpose(1, 2).unsqueeze(1)
    expected, got = feature_map, feature_map
    for ours, theirs in zip(shallow_half.features[:4], shallow.features[:4], strict=True):
        expected, got = theirs(expected), ours(got)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert (half - full).norm() < 0.5 * full.norm()


def test_the_given_network_and_its_mode_stay_as_they_were(net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert not narrowed(net, 0.25, torch.randn(1, 64, 128)).training and narrowed(net.train(), 0.25).training
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_shorter_trunk_has_the_stem_blocks_and_head_of_the_longer_one(net):
    short = shortened(net, 9)
    ours, theirs = short.state_dict(), net.state_dict()
    same = [name for name in ours if name in theirs and not name.startswith("features.10.")]
    assert len(same) > 100 and all(torch.equal(ours[name], theirs[name]) for name in same)
    assert short(torch.zeros(1, 64, 128)).clip.shape == (1, 384)


def test_narrow_and_short_go_together(net):
    both = shortened(narrowed(net, 0.5), 9)
    assert both.config["hidden_channels"] == [8, 16, 16, 16, 24, 24, 48, 40, 40]


@torch.no_grad()
def test_measuring_on_audio_keeps_more_of_the_real_tagger(shared_dir):
    path = shared_dir / "data/weights/efficientat_mn04/mn04_as_mAP_432.pt"
    net = load_published("efficientat-mn", path=path).audio.encoder
    torch.manual_seed(0)
    log_mel = (torch.randn(8, 100, 128).cumsum(1) * 0.2).tanh()
    full = net(log_mel).clip
    loss = {kind: (narrowed(net, 0.75, given)(log_mel).clip - full).norm() for kind, given in
            (("estimated", None), ("measured", log_mel))}  # fmt: skip
    assert loss["measured"] < loss["estimated"] < full.norm() * 1.5


def test_a_share_out_of_range_is_refused(net):
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        narrowed(net, 0.0)
