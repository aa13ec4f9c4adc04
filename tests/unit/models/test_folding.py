"""Folding changes numbers' places, not what comes out; on published names, for every encoder, saved and loaded."""

import json

import pytest
import torch
from published_reference import STUDENTS, arrays, relative_error, student_state_dict, waveform
from small_run import Distillation, make_corpora, make_features
from torch import nn

from tinyclap import load_published
from tinyclap.checkpoints.state import fold_folder, load_folder, save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.folding import ScaleShift, StridedSubsample, folded
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection, LinearHead, MlpHead, TagHead
from tinyclap.models.student import AudioStudent

HEADLINE, SMALL = STUDENTS


def lively(module):
    """Norms that are far from doing nothing, in evaluation mode."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def small_phinet(**options):
    return PhiNet(**{"n_mels": 16, "alpha": 0.35, "n_layers": 4, "t_zero": 2, "embed_width": 24, **options})


def make_student(encoder, head):
    return lively(AudioStudent(make_features(), encoder, head, {"window_s": 0.5}))


# Published students ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDENTS)
@torch.no_grad()
def test_a_published_student_folded_gives_the_published_outputs(name):
    published = arrays("tinyclap")
    network = load_published("tinyclap-student", state_dict=student_state_dict(name), **STUDENTS[name])
    student = network.fold()
    wav = waveform(published["waveform_seed"], 5, 44100)
    assert relative_error(student(wav).clip, network(wav).clip) < 1e-5
    heard = student(log_mel=torch.from_numpy(published["logmel"][0])).clip
    assert relative_error(heard, published[f"{name}.projected"]) < 1e-4  # the bound of the unfolded one
    assert relative_error(student.embed_audio(wav, 44100), network.embed_audio(wav, 44100)) < 1e-5


def test_the_headline_student_has_less_than_half_of_its_numbers():
    network = load_published("tinyclap-student", state_dict=student_state_dict(HEADLINE), **STUDENTS[HEADLINE])
    student = network.fold()
    assert (count_parameters(network), count_parameters(student)) == (4_434_547, 2_035_187)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in student.modules())
    assert not list(student.encoder.buffers())


# Any encoder, any head ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["phinet", "mn", "effb2", "ced"])
@torch.no_grad()
def test_every_encoder_gives_the_same_folded(kind):
    encoder = lively(ENCODERS[kind](n_mels=64))
    log_mel = torch.randn(2, 120, 64) * 10 - 30
    ours, wanted = folded(encoder)(log_mel), encoder(log_mel)
    assert relative_error(ours.clip, wanted.clip) < 1e-5
    assert relative_error(ours.frames, wanted.frames) < 1e-5


@torch.no_grad()
def test_cnn14_gives_the_same_folded_and_keeps_its_tags():
    encoder = lively(Cnn14(channels=[8, 16, 32], n_tags=5))
    log_mel = torch.randn(2, 40, 64) * 10 - 30
    ours = folded(encoder)
    assert relative_error(ours(log_mel).clip, encoder(log_mel).clip) < 1e-5
    assert ours.tag_logits(ours(log_mel).clip).shape == (2, 5)
    assert ours.conv_block1.conv2.bias is not None and isinstance(ours.bn0, ScaleShift)


@pytest.mark.parametrize(
    "options",
    [
        {"squeeze_excite": True, "h_swish": True},
        {"conv2d_input": True},
        {"pool": True},
        {"embed_norm": True},
        {"pooling": "mean_max"},
        {"embed_width": None},
        {"embed_stride": 1},
    ],
    ids=str,
)
@torch.no_grad()
def test_every_form_of_a_phinet_gives_the_same_folded(options):
    encoder = small_phinet(**options)
    student = make_student(encoder, ClapProjection(encoder.embed_dim, 8))
    log_mel = torch.randn(2, 61, 16) * 10 - 30
    assert relative_error(student.fold()(log_mel=log_mel).clip, student(log_mel=log_mel).clip) < 1e-5
    composes = not options.keys() & {"embed_norm", "pooling"} and options.get("embed_width", 24) is not None
    assert isinstance(student.fold().encoder.pn_block, StridedSubsample) == composes


@pytest.mark.parametrize(
    "head", [LinearHead(24, 5), LinearHead(24, 5, bias=False), MlpHead(24, 7, 5), TagHead(24, 5), ClapProjection(24, 5)]
)
@torch.no_grad()
def test_the_last_convolution_joins_the_first_linear_map_of_every_head(head):
    student = make_student(small_phinet(), head)
    ours, log_mel = student.fold(), torch.randn(2, 61, 16) * 10 - 30
    assert relative_error(ours(log_mel=log_mel).clip, student(log_mel=log_mel).clip) < 1e-5
    assert ours.projection.d_in == ours.encoder.embed_dim == student.encoder.n_channels
    # frames are then the last block's, at the places that the convolution reads
    last = student.encoder.feature_map(log_mel)[:, :, ::2, ::2].mean(3).transpose(1, 2)
    assert relative_error(ours(log_mel=log_mel).frames, last) < 1e-5


@torch.no_grad()
def test_a_composed_map_by_hand():
    # mean over the places read: rows and columns 0 and 2 of a map whose value is its place
    feature_map = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert StridedSubsample((2, 2))(feature_map).flatten().tolist() == [0, 2, 6, 8]
    scale = ScaleShift(1)
    scale.weight.fill_(2)
    scale.bias.fill_(1)
    assert scale(feature_map)[0, 0, 0].tolist() == [1, 3, 5]


def test_folding_leaves_the_student_as_it_was():
    student = make_student(small_phinet(), LinearHead(24, 5))
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    student.train()
    student.fold()
    assert student.training and set(before) == set(student.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_a_norm_without_statistics_is_refused():
    with pytest.raises(ConfigError, match="keeps no statistics"):
        folded(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)))


# Folded students ------------------------------------------------------------------------------------------------------


def test_a_folded_student_stays_in_eval_mode_and_folds_to_itself():
    student = make_student(small_phinet(), LinearHead(24, 5)).fold()
    assert student.fold() is student
    assert not student.train().training and not any(part.training for part in student.modules())
    assert not any(parameter.requires_grad for parameter in student.parameters())


@torch.no_grad()
def test_a_folder_of_a_folded_student_is_folded_when_it_is_loaded(tmp_path):
    student = make_student(small_phinet(), MlpHead(24, 7, 5))
    save_folder(student, tmp_path / "run" / "student", {"seed": 7})
    fold_folder(tmp_path / "run", tmp_path / "folded")
    loaded, config = load_folder(tmp_path / "folded")
    log_mel = torch.randn(2, 61, 16)
    assert torch.equal(loaded(log_mel=log_mel).clip, student.fold()(log_mel=log_mel).clip)
    assert config["seed"] == 7 and config["model"]["folded"] is True
    before = json.loads((tmp_path / "run" / "student" / "config.json").read_text())
    assert config["folded_from_sha256"] == before["weights_sha256"] and before["model"]["folded"] is False
    assert count_parameters(loaded) < count_parameters(student)
    with pytest.raises(CheckpointError, match="give another folder"):
        fold_folder(tmp_path / "run", tmp_path / "run" / "student")


def test_a_brain_refuses_to_train_a_folded_student(tmp_path):
    student = make_student(small_phinet(), LinearHead(24, 6)).fold()
    with pytest.raises(ConfigError, match="folded: it has no norms left"):
        Distillation(make_corpora(tmp_path / "corpus"), tmp_path / "run", student=student)
