"""Students that start from a tagger's own trunk: whole they are the tagger, cut they still run and rebuild."""

import pytest
import torch

from tinyclap import load_published
from tinyclap.config.registry import build
from tinyclap.errors import CheckpointError
from tinyclap.published.backbone import trunk_student
from tinyclap.published.networks import EfficientAtMn

N_TAGS = 527


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tagger of random weights and statistics, as a file under its published names."""
    torch.manual_seed(0)
    net = EfficientAtMn(width=0.4)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    path = tmp_path_factory.mktemp("tagger") / "mn04.pt"
    torch.save({net.published_name(name): tensor for name, tensor in net.state_dict().items()}, path)
    return path


@pytest.fixture
def wavs():
    return torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1


@torch.no_grad()
def test_an_uncut_student_is_the_tagger(weights, wavs):
    student = trunk_student(weights, fraction=1.0, hop_length=320).eval()
    tagger = load_published("efficientat-mn", path=weights, width=0.4)
    torch.testing.assert_close(student(wavs).clip, tagger.window_logits(wavs).sigmoid())


@torch.no_grad()
def test_a_cut_student_is_smaller_and_coarser_and_gives_probabilities(weights, wavs):
    whole = trunk_student(weights, fraction=1.0, hop_length=320)
    cut = trunk_student(weights, fraction=0.5, n_blocks=12, hop_length=640).eval()
    n_parameters = [sum(p.numel() for p in student.encoder.parameters()) for student in (whole, cut)]
    assert n_parameters[1] < 0.6 * n_parameters[0]
    assert cut.features.n_frames(32000) <= whole.features.n_frames(32000) // 2 + 1
    probabilities = cut(wavs).clip
    assert probabilities.shape == (2, N_TAGS) and (probabilities > 0).all() and (probabilities < 1).all()


def test_every_part_of_it_learns_with_the_momentum_asked_for(weights):
    student = trunk_student(weights, batchnorm_momentum=0.03).train()
    norms = [module for module in student.encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and all(norm.momentum == 0.03 for norm in norms)
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in student.parameters())


@torch.no_grad()
def test_it_rebuilds_from_its_config_without_the_tagger_s_file(weights, wavs):
    student = trunk_student(weights, fraction=0.7, n_blocks=13).eval()
    again = build(student.config).eval()
    again.load_state_dict(student.state_dict())
    assert torch.equal(again(wavs).clip, student(wavs).clip)


@torch.no_grad()
def test_short_and_long_clips_follow_its_windows(weights):
    student = trunk_student(weights, window_s=2.0, min_s=1.0)
    rows = student.embed_audio([torch.randn(1600) * 0.1, torch.randn(5 * 32000) * 0.1], 32000)
    assert rows.shape == (2, N_TAGS) and (rows < 1).all()


def test_a_file_that_is_not_there_or_no_tagger_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        trunk_student(tmp_path / "mn04.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="surplus: a"):
        trunk_student(tmp_path / "other.pt")
