"""EfficientNet-B2: its sizes, its padding worked by hand, and inputs of any length; values are in the parity test."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_macs, count_parameters
from tinyclap.models import efficientnet
from tinyclap.models.efficientnet import EfficientNetB2


@pytest.fixture(scope="module")
def b2():
    torch.manual_seed(0)
    return EfficientNetB2().eval()


def small(**options):
    torch.manual_seed(0)
    return EfficientNetB2(width=0.25, depth=0.5, **options)


def test_the_published_size(b2):
    assert count_parameters(b2) == 7_700_418
    assert len(b2._blocks) == 23 and b2.embed_dim == b2.frame_dim == 1408
    assert [block._project_conv.out_channels for block in b2._blocks[::3]] == [16, 24, 48, 88, 120, 120, 208, 352]


def test_convolutions_are_padded_as_for_an_image_of_260(b2):
    # Widths 260, 130, 65, 33, 17, 9 of that image, whatever the real size: (⌈s/S⌉ − 1)·S + k − s in all.
    strided = [b2._conv_stem] + [
        block._depthwise_conv for block in b2._blocks if block._depthwise_conv.stride == (2, 2)
    ]
    assert [conv.n_padded for conv in strided] == [1, 1, 4, 2, 4]
    assert [conv.out_size for conv in strided] == [130, 65, 33, 17, 9]
    before_after = [(conv.padding[0], conv.padding[0] + conv.n_more) for conv in strided]
    assert before_after == [(0, 1), (0, 1), (2, 2), (1, 1), (2, 2)]


@torch.no_grad()
def test_the_odd_half_of_the_padding_comes_last():
    conv = efficientnet._SameConv(1, 1, 3, 2, 1, 260)
    conv.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    # 4×4 ones: the right and lower places meet one column or row of zeros, so weights 2, 5, 8 or 6, 7, 8 fall away.
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [36.0, 21.0, 15.0, 8.0]


@torch.no_grad()
@pytest.mark.parametrize(("n_frames", "n_encoded", "n_valid"), [(1, 1, 1), (31, 1, 1), (101, 4, 3), (1001, 32, 31)])
def test_any_length_is_taken_and_a_32nd_of_it_counts(b2, n_frames, n_encoded, n_valid):
    encoded = b2(torch.zeros(2, n_frames, 64))
    assert encoded.frames.shape == (2, n_encoded, 1408) and encoded.frames.isfinite().all()
    torch.testing.assert_close(encoded.clip, encoded.frames.mean(1))
    assert encoded.n_frames.tolist() == [n_encoded] * 2
    assert b2.n_valid_frames(torch.tensor([n_frames])).item() == n_valid


@torch.no_grad()
def test_folded_norms_change_nothing_but_the_time(b2, monkeypatch):
    for module in b2.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    log_mel = torch.randn(2, 101, 64)
    folded, cost = b2(log_mel).frames, count_macs(b2, log_mel)
    monkeypatch.setattr(efficientnet, "_FOLD", 0)
    plain = b2(log_mel).frames
    assert (folded - plain).norm() < 1e-5 * plain.norm() and not torch.equal(folded, plain)
    assert count_macs(b2, log_mel) == cost


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(b2):
    log_mel = torch.randn(3, 101, 64)
    torch.testing.assert_close(b2(log_mel[1:2]).frames, b2(log_mel).frames[1:2], atol=1e-5, rtol=1e-4)


def test_training_reaches_every_parameter_and_moves_the_statistics_by_the_momentum():
    encoder = small(batchnorm_momentum=0.25, drop_connect=0.0).train()
    log_mel = torch.randn(4, 64, 64)
    encoder(log_mel).clip.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())
    stem = encoder._conv_stem(log_mel.transpose(1, 2)[:, None])
    torch.testing.assert_close(encoder._bn0.running_mean, 0.25 * stem.mean((0, 2, 3)))


@torch.no_grad()
def test_blocks_are_left_out_of_clips_in_training_only_and_the_mean_stays():
    block = efficientnet._Block(8, 8, 1, 3, 1, 33, 0.5, {})
    block.train()
    projected = block._dropped(torch.ones(4000, 1, 1, 1))
    assert set(projected.flatten().tolist()) == {0.0, 2.0}
    assert projected.mean().item() == pytest.approx(1.0, abs=0.1)
    block.eval()
    assert torch.equal(block._dropped(torch.ones(9, 1, 1, 1)), torch.ones(9, 1, 1, 1))
    drops = [block.drop for block in small(drop_connect=0.2)._blocks]
    assert drops[0] == 0 and drops == sorted(drops) and 0.1 < drops[-1] < 0.2


def test_it_is_rebuilt_from_its_config_and_refuses_too_few_bands():
    encoder = small().eval()
    again = build(encoder.config).eval()
    again.load_state_dict(encoder.state_dict())
    log_mel = torch.randn(1, 50, 64)
    assert torch.equal(again(log_mel).clip, encoder(log_mel).clip)
    with pytest.raises(ConfigError, match="at least 4 mel bands, not 3"):
        small(n_mels=3)
    assert small(n_mels=4).eval()(torch.zeros(1, 9, 4)).clip.isfinite().all()
