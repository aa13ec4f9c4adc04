"""Where first weights of an encoder come from."""

import pytest
import torch

from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.efficientnet import EfficientNetB2
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet
from tinyclap.models.student import AudioStudent
from tinyclap.published.encoder_weights import EncoderWeights
from tinyclap.published.networks import EfficientAtMn


def test_no_weights_leave_the_encoder_alone():
    encoder = MobileNet(width=0.1, n_tags=0)
    before = [parameter.clone() for parameter in encoder.parameters()]
    EncoderWeights(encoder, None).load()
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


def test_a_published_tagger_gives_its_trunk_without_its_classifier(tmp_path):
    torch.manual_seed(0)
    tagger = EfficientAtMn(width=0.1)
    published = {tagger.published_name(name): tensor for name, tensor in tagger.state_dict().items()}
    torch.save(published, tmp_path / "mn01.pt")
    encoder = MobileNet(width=0.1, n_tags=0)
    EncoderWeights(encoder, tmp_path / "mn01.pt").load()
    mel = torch.randn(1, 100, 128)
    torch.testing.assert_close(encoder.eval()(mel).frames, tagger.eval().audio.encoder(mel).frames)
    with pytest.raises(CheckpointError, match="another shape"):
        EncoderWeights(MobileNet(width=0.2, n_tags=0), tmp_path / "mn01.pt").load()


def test_effb2_of_the_paper_s_start_loads_without_its_front_end(tmp_path):
    torch.manual_seed(0)
    theirs = EfficientNetB2()
    names = {name: name.rsplit("eff_net.", 1)[-1] for name in theirs.state_dict()}
    state = {names[name]: tensor for name, tensor in theirs.state_dict().items()}
    torch.save({**state, "front_end.0.mel_scale.fb": torch.zeros(3)}, tmp_path / "effb2.pt")
    ours = EfficientNetB2()
    EncoderWeights(ours, tmp_path / "effb2.pt").load()
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_a_run_s_encoder_begins_a_captioner_s(tmp_path):
    torch.manual_seed(0)
    encoder = PhiNet(alpha=0.3, t_zero=2, embed_width=24)
    save_folder(AudioStudent(log_mel("efficientnet_captioner"), encoder), tmp_path / "run" / "student")
    other = PhiNet(alpha=0.3, t_zero=2, embed_width=24)
    EncoderWeights(other, tmp_path / "run").load()
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), other.parameters(), strict=True))


def test_what_has_no_published_file_is_said():
    encoder = PhiNet(alpha=0.3, t_zero=2, embed_width=24)
    with pytest.raises(ConfigError, match="no published file is known for a PhiNet"):
        EncoderWeights(encoder, "some.pt").load()
