"""CNN14's sizes and edges; equality with the published network is in test_parity.py."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.cnn14 import Cnn14


@pytest.mark.parametrize(("n_tags", "n_parameters"), [(0, 79_673_792), (527, 79_673_792 + 2048 * 527 + 527)])
def test_it_has_the_published_parameters(n_tags, n_parameters):
    with torch.device("meta"):
        assert count_parameters(Cnn14(n_tags=n_tags)) == n_parameters


@pytest.mark.parametrize("n_frames", [1, 7, 8, 50])
def test_a_narrow_one_takes_any_number_of_frames_and_rebuilds(n_frames):
    net = Cnn14(n_mels=32, n_tags=5, channels=[4, 8, 12, 16]).eval()
    encoding = net(torch.randn(2, n_frames, 32))
    assert encoding.clip.shape == (2, 16) and (encoding.clip >= 0).all()
    assert encoding.frames.shape == (2, max(n_frames, 8) // 8, 16)
    assert net.tag_logits(encoding.clip).shape == (2, 5)
    assert build(net.config).load_state_dict(net.state_dict())


def test_the_clip_is_pooled_by_mean_and_maximum_over_time():
    net = Cnn14(n_mels=32, n_tags=0, channels=[4, 8]).eval()
    encoding = net(torch.randn(2, 20, 32))
    pooled = encoding.frames.mean(1) + encoding.frames.amax(1)
    torch.testing.assert_close(encoding.clip, torch.relu(net.fc1(pooled)))


def test_too_few_mel_bands_and_a_missing_head_are_refused():
    with pytest.raises(ConfigError, match="at least 32 mel bands"):
        Cnn14(n_mels=20)
    with pytest.raises(ConfigError, match="no tagging head"):
        Cnn14(n_mels=32, n_tags=0, channels=[4]).tag_logits(torch.zeros(1, 4))
