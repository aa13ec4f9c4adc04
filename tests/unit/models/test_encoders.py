"""What holds for every encoder: conversion to SyncBatchNorm, folding, compilation."""

import copy

import pytest
import torch
from torch import nn

from tinyclap.models.encoders import ENCODERS
from tinyclap.models.folding import folded

SMALL = {
    "effb2": {"width": 0.3, "depth": 0.4},
    "phinet": {"alpha": 0.5, "n_layers": 5, "t_zero": 2, "embed_width": 24, "embed_norm": True},
    "mn": {"width": 0.2, "n_tags": 0, "n_mels": 64},
    "cnn14": {"channels": [8, 12, 16], "n_tags": 0},
    "htsat": {"image_size": 64, "n_mels": 32, "depths": (1, 2), "n_heads": (2, 4), "width": 16, "n_tags": 0},
    "ced": {"width": 64, "n_layers": 2},
}


def make(kind):
    """A small encoder of a kind whose norms have seen something."""
    torch.manual_seed(0)
    encoder = ENCODERS[kind](**SMALL[kind])
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return encoder


def spectrograms(encoder, n_clips=3, n_frames=101):
    return torch.randn(n_clips, n_frames, encoder.n_mels, generator=torch.Generator().manual_seed(1)) * 10 - 30


def test_every_encoder_is_tried():
    assert SMALL.keys() == ENCODERS.keys()


@pytest.mark.parametrize("kind", SMALL)
def test_conversion_to_sync_batch_norm_changes_no_output(kind):
    encoder = make(kind)
    log_mel = spectrograms(encoder)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(encoder))
    assert any(isinstance(part, nn.SyncBatchNorm) for part in converted.modules())
    assert converted.config == encoder.config and converted.state_dict().keys() == encoder.state_dict().keys()
    with torch.no_grad():
        wanted = encoder.eval()(log_mel)
        for ours in (converted.eval()(log_mel), folded(converted)(log_mel)):
            torch.testing.assert_close(ours.clip, wanted.clip, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours.frames, wanted.frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SMALL)
def test_a_converted_encoder_trains_as_before(kind):
    """One process: SyncBatchNorm then counts the batch alone, as BatchNorm does."""
    encoder = make(kind)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(encoder))
    for each in (encoder, converted):
        torch.manual_seed(2)
        encoding = each.train()(spectrograms(each))
        (encoding.clip.square().sum() + encoding.frames.square().sum()).backward()
    for ours, wanted in zip(converted.parameters(), encoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, wanted.grad, rtol=1e-3, atol=1e-4)
    for ours, wanted in zip(converted.buffers(), encoder.buffers(), strict=True):
        torch.testing.assert_close(ours, wanted)
