"""MobileNet "mn": widths, trunks and tagging head; equality with the published mn04 is in test_parity.py."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.mobilenet import MobileNet


@pytest.mark.parametrize(
    ("width", "n_millions", "embed_dim"), [(0.4, 0.983599, 384), (0.5, 1.43, 480), (1.0, 4.88, 960)]
)
def test_widths_have_the_published_sizes(width, n_millions, embed_dim):
    net = MobileNet(width=width)
    assert count_parameters(net) / 1e6 == pytest.approx(n_millions, abs=0.006)
    assert net.embed_dim == embed_dim


@pytest.mark.parametrize("n_frames", [1, 2, 31, 100])
def test_any_number_of_frames_passes(n_frames):
    encoding = MobileNet(width=0.4).eval()(torch.randn(2, n_frames, 128))
    assert encoding.clip.shape == (2, 384)
    assert encoding.frames.shape == (2, -(-n_frames // 32), 384)
    torch.testing.assert_close(encoding.frames.mean(1), encoding.clip)


def test_other_trunks_rebuild_from_json_and_keep_the_width_of_the_embedding():
    hidden = [8, 16, 24, 24, 24, 24, 48, 40, 40]
    net = MobileNet(width=0.4, hidden_channels=hidden, n_blocks=9, n_tags=0)
    assert [block.depthwise[0].out_channels for block in net.blocks] == hidden
    assert build(net.config).load_state_dict(net.state_dict())
    assert net.eval()(torch.zeros(1, 64, 128)).clip.shape == (1, 384)


def test_the_head_is_the_default_classifier_or_absent():
    net = MobileNet(width=0.4, n_tags=10).eval()
    assert net.tag_logits(torch.zeros(3, 384)).shape == (3, 10)
    with pytest.raises(ConfigError, match="no tagging head"):
        MobileNet(width=0.4, n_tags=0).tag_logits(torch.zeros(1, 384))


@pytest.mark.parametrize(
    "arguments",
    [{"n_blocks": 0}, {"n_blocks": 16}, {"hidden_channels": [8, 16]}, {"n_blocks": 2, "hidden_channels": [16, 16]}],
)
def test_trunks_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ConfigError):
        MobileNet(width=0.4, **arguments)
