"""What holds for every encoder: conversion to SyncBatchNorm, folding, compilation."""

import copy

import pytest
import torch
from small_encoders import SMALL, make, spectrograms
from torch import nn

from tinyclap.features.front_ends import log_mel
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.folding import folded
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent


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


@torch.no_grad()
@pytest.mark.parametrize("kind", ["effb2", "phinet", "mn"])
def test_the_map_for_hints_has_the_channels_that_are_stated(kind):
    encoder = make(kind).eval()
    spectra = spectrograms(encoder)
    encoding = encoder(spectra)
    n_clips, n_channels, n_frames, n_bands = encoding.middle.shape
    assert (n_clips, n_channels) == (len(spectra), encoder.n_middle)
    assert n_frames > n_bands and n_frames > encoding.frames.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["effb2", "phinet", "mn", "ced"])
@pytest.mark.filterwarnings("ignore")
def test_a_training_step_compiles_without_graph_breaks(kind):
    encoder = make(kind)
    student = AudioStudent(log_mel("clap2022", n_mels=encoder.n_mels), encoder, LinearHead(encoder.embed_dim, 4))
    torch._dynamo.reset()
    compiled = torch.compile(student, backend="eager", fullgraph=True)
    compiled(log_mel=spectrograms(encoder)).clip.sum().backward()
    assert all(parameter.grad is not None for parameter in student.projection.parameters())
