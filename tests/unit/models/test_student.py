"""The student and the two-tower CLAP: frozen means frozen, any clip has one embedding, parts must fit."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tinyclap.config.registry import build
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import ClapProjection, LinearHead
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower


def small_student(**options):
    torch.manual_seed(0)
    encoder = PhiNet(n_mels=32, alpha=0.35, n_layers=4, t_zero=2, embed_width=None, dropout=0.3)
    features = log_mel("clap2022", sample_rate_hz=16000, f_max_hz=8000.0, n_mels=32)
    return AudioStudent(features, encoder, ClapProjection(encoder.embed_dim, 24), {"window_s": 1.0}, **options)


def small_clap():
    return Clap(small_student(), WordTextTower(["a", "dog", "barks", "rain"], 24, width=16, n_layers=1))


def encoder_buffers(student):
    return {name: buffer.clone() for name, buffer in student.encoder.named_buffers()}


def train_step(student):
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    student(torch.rand(4, 8000) - 0.5).clip.square().sum().backward()
    optimizer.step()


def test_a_frozen_encoder_stands_still_while_the_projection_learns():
    student = small_student(freeze_encoder=True).train()
    weights = [p.clone() for p in student.encoder.parameters()]
    buffers, head = encoder_buffers(student), student.projection.linear1.weight.clone()
    train_step(student)
    assert student.projection.training and not student.encoder.training
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(student.encoder.parameters(), weights, strict=True))
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in student.encoder.named_buffers())
    assert not torch.equal(student.projection.linear1.weight, head)


def test_the_reference_s_frozen_encoder_drifts_behind_its_switch():
    student = small_student(freeze_encoder=True, reference_frozen_drift=True).train()
    weights, buffers = [p.clone() for p in student.encoder.parameters()], encoder_buffers(student)
    train_step(student)
    assert student.encoder.training
    assert all(torch.equal(p, q) for p, q in zip(student.encoder.parameters(), weights, strict=True))
    assert any(not torch.equal(buffer, buffers[name]) for name, buffer in student.encoder.named_buffers())


def test_an_encoder_that_is_not_frozen_learns():
    student = small_student().train()
    train_step(student)
    assert all(p.grad is not None for p in student.encoder.parameters())


@pytest.mark.parametrize("resampler", ["sinc", "soxr"])
def test_a_clip_of_any_length_has_one_embedding_alone_and_in_a_batch(resampler):
    student = small_student(resampler=resampler).train()
    clips = [torch.rand(n) - 0.5 for n in (1, 400, 8000, 8001, 30_000)] + [torch.rand(2, 5000) - 0.5]
    rows = student.embed_audio(clips, 8000, batch_size=2)
    assert student.training, "embedding leaves the mode as it was"
    assert not rows.requires_grad
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(student.embed_audio([clip], 8000)[0], row, atol=1e-5, rtol=0)


def test_numpy_stereo_and_mono_of_the_same_sound_agree():
    student, wav = small_student().eval(), np.random.RandomState(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
    mono = student.embed_audio(wav, 16000)
    assert mono.shape == (1, 24)
    torch.testing.assert_close(student.embed_audio([np.stack([wav, wav])], 16000), mono)


def test_forward_is_the_head_over_the_encoder_and_not_normalised():
    student, wavs = small_student().eval(), torch.rand(2, 16000) - 0.5
    encoding = student(wavs)
    inner = student.encoder(student.features(wavs))
    torch.testing.assert_close(encoding.clip, student.projection(inner.clip))
    torch.testing.assert_close(encoding.frames, inner.frames)
    torch.testing.assert_close(student.embed_audio(wavs, 16000), F.normalize(encoding.clip, dim=-1))


def test_probabilities_are_averaged_and_not_normalised():
    student = small_student(output="sigmoid").eval()
    wavs = torch.rand(1, 32000) - 0.5
    row = student.embed_audio(wavs, 16000)
    halves = student(wavs.reshape(2, 16000)).clip
    assert (halves > 0).all() and (halves < 1).all()
    torch.testing.assert_close(row, halves.mean(0, keepdim=True))


def test_without_projection_the_embedding_is_the_encoder_s():
    student = AudioStudent(log_mel("efficientat"), MobileNet(width=0.4, n_tags=0), window={"window_s": 1.0})
    assert student.embed_dim == 384 and student.sample_rate_hz == 32000
    assert student.eval().embed_audio(torch.zeros(1, 3200), 32000).shape == (1, 384)


def test_it_rebuilds_from_its_config():
    student = small_student(output="sigmoid", freeze_encoder=True)
    again = build(student.config)
    again.load_state_dict(student.state_dict())
    wavs = torch.rand(1, 16000) - 0.5
    assert torch.equal(again.eval()(wavs).clip, student.eval()(wavs).clip)


def test_samples_that_are_not_numbers_are_refused_with_the_clip_s_place():
    with pytest.raises(AudioError, match="clip 1 of the batch"):
        small_student().embed_audio([torch.zeros(100), torch.tensor([0.0, float("nan")])], 16000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "softmax"}, "output 'softmax'"),
        ({"resampler": "fft"}, "resampler 'fft'"),
        ({"features": log_mel("clap2022")}, "gives 64 mel bands, the encoder PhiNet wants 32"),
        ({"projection": LinearHead(7, 4)}, "the head LinearHead wants 7"),
        ({"window": {"window_s": -1.0}}, "window_s=-1.0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    parts = {"features": log_mel("clap2022", n_mels=32), "encoder": PhiNet(n_mels=32, alpha=0.35, embed_width=None)}
    with pytest.raises(ConfigError, match=message):
        AudioStudent(**{**parts, **change})


def test_clap_s_towers_learn_together_and_the_temperature_too():
    clap = small_clap().train()
    out = clap(torch.rand(2, 8000) - 0.5, ["a dog barks", "rain"])
    logits = out.scale * F.normalize(out.audio, dim=-1) @ F.normalize(out.text, dim=-1).T
    F.cross_entropy(logits, torch.arange(2)).backward()
    unused = [name for name, p in clap.named_parameters() if p.grad is None]
    assert not unused
    assert clap.logit_scale.grad != 0


def test_clap_s_scale_starts_at_one_over_seven_hundredths_and_ends_at_a_hundred():
    clap = small_clap()
    assert clap.scale.item() == pytest.approx(1 / 0.07)
    clap.logit_scale.data.fill_(math.log(1000))
    assert clap.scale.item() == pytest.approx(100)


def test_clap_s_embeddings_are_unit_rows_without_gradient_in_eval_mode():
    clap = small_clap().train()
    text, audio = clap.embed_text(["A dog!", "rain"]), clap.embed_audio(torch.rand(3, 500), 8000)
    assert clap.training and text.shape == (2, 24) and audio.shape == (3, 24)
    assert not text.requires_grad and not audio.requires_grad
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(clap.embed_text(["rain"])[0], text[1])
    assert clap.encode_text(["rain"]).requires_grad


def test_towers_of_other_widths_are_refused():
    with pytest.raises(ConfigError, match="24 dimensions, the text tower in 8"):
        Clap(small_student(), WordTextTower(["a"], 8, width=16))
