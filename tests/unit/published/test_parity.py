"""Our networks with the published weights give the published outputs, within the bounds of the reference's README.

Bounds are relative errors, float32, eval mode: log-mel 1e-3; a network fed the stored log-mel 1e-4 (1e-3 where it is
stored as float16); a network from the waveform 1e-3.
"""

import numpy as np
import pytest
import soundfile
import torch
from published_reference import STUDENTS, arrays, msclap_state_dict, relative_error, student_state_dict, waveform

from tinyclap import load_published
from tinyclap.features.front_ends import log_mel
from tinyclap.metrics.cost import complexity, count_parameters

STORED, FROM_WAVEFORM, FLOAT16 = 1e-4, 1e-3, 1e-3


@pytest.fixture(scope="module")
def clap():
    return arrays("tinyclap")


@pytest.fixture(scope="module")
def wav(clap):
    return waveform(clap["waveform_seed"], 5, 44100)


@pytest.fixture(scope="module")
def msclap():
    # As the published file holds it: under the key "model", with tensors that are known by name and not needed.
    known = {"logit_scale": torch.tensor(1.0), "audio_encoder.base.logmel_extractor.melW": torch.zeros(513, 64)}
    return load_published("msclap2022", state_dict={"model": {**msclap_state_dict(), **known}})


@pytest.fixture(scope="module")
def tagger_arrays():
    return arrays("efficientat_mn04")


@pytest.fixture(scope="module")
def tagger(shared_dir):
    path = shared_dir / "data/weights/efficientat_mn04/mn04_as_mAP_432.pt"
    return load_published("efficientat-mn", path=path, width=0.4)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_clap_log_mel_equals_the_published_front_end(clap, wav):
    assert relative_error(log_mel("clap2022")(wav)[:, None], clap["logmel"]) < 1e-3


@torch.no_grad()
def test_the_clap_audio_tower_equals_the_published_one(clap, wav, msclap):
    stored = msclap.audio.encoder(torch.from_numpy(clap["logmel"][0])).clip
    assert relative_error(stored, clap["teacher.embedding"]) < STORED
    assert relative_error(msclap.audio.projection(stored), clap["teacher.projected"]) < STORED
    heard = msclap.audio(wav)
    assert relative_error(heard.clip, clap["teacher.projected"]) < FROM_WAVEFORM
    assert heard.frames.shape == (1, 690 // 32, 2048)
    assert relative_error(msclap.embed_audio(wav, 44100), unit(clap["teacher.projected"])) < FROM_WAVEFORM


@torch.no_grad()
def test_the_clap_text_tower_equals_the_published_one(clap, msclap):
    ids, mask = torch.from_numpy(clap["text.input_ids"]), torch.from_numpy(clap["text.attention_mask"])
    assert relative_error(msclap.text(ids, mask), clap["text.projected"]) < STORED
    assert relative_error(msclap.embed_tokens(ids, mask), unit(clap["text.projected"])) < STORED


def test_the_clap_audio_tower_has_the_paper_s_parameters_and_macs(msclap):
    assert count_parameters(msclap.audio) == 83_901_391  # with the tagging head
    cost = complexity(msclap)
    assert cost["n_parameters"] == 82_821_568
    assert cost["n_macs_paper"] == pytest.approx(13.79e9, rel=1e-3)


@pytest.mark.parametrize("name", STUDENTS)
@torch.no_grad()
def test_released_students_equal_the_published_ones(clap, wav, name):
    student = load_published("tinyclap-student", state_dict=student_state_dict(name), **STUDENTS[name])
    assert count_parameters(student) == clap[f"{name}.params"]
    for log_mels, bound in ((torch.from_numpy(clap["logmel"][0]), STORED), (log_mel("clap2022")(wav), FROM_WAVEFORM)):
        feature_map = student.audio.encoder.feature_map(log_mels)
        clip = student.audio.encoder(log_mels).clip
        assert relative_error(feature_map.mean((2, 3)), clap[f"{name}.feature_map_mean"]) < bound
        assert relative_error(clip, clap[f"{name}.embedding"]) < bound
        assert relative_error(student.audio.projection(clip), clap[f"{name}.projected"]) < bound
    assert relative_error(student.embed_audio(wav, 44100), unit(clap[f"{name}.projected"])) < FROM_WAVEFORM


def test_the_headline_student_has_the_paper_s_parameters_and_macs():
    name = "phinet_alpha_1.50_beta_0.75_t0_6_N_7"
    cost = complexity(load_published("tinyclap-student", state_dict=student_state_dict(name)))
    assert cost["n_parameters"] == 4_434_547
    assert cost["n_macs_paper"] == pytest.approx(357e6, rel=2e-3)
    assert cost["n_macs"] == cost["n_macs_paper"] + 690 * 513 * 64  # the mel bands are a matrix product too


def test_the_tagger_s_log_mel_equals_the_published_front_end(tagger_arrays):
    wav = waveform(tagger_arrays["waveform_seed"], tagger_arrays["waveform_seconds"], 32000)
    assert relative_error(log_mel("efficientat")(wav).transpose(1, 2), tagger_arrays["logmel"]) < FLOAT16


@torch.no_grad()
def test_the_tagger_equals_the_published_one(tagger_arrays, tagger):
    stored = torch.from_numpy(tagger_arrays["logmel"].astype(np.float32)).transpose(1, 2)
    clip = tagger.audio.encoder(stored).clip[0]
    assert relative_error(clip, tagger_arrays["embedding"]) < FLOAT16
    assert relative_error(tagger.audio.encoder.tag_logits(clip), tagger_arrays["logits"]) < FLOAT16
    wav = waveform(tagger_arrays["waveform_seed"], tagger_arrays["waveform_seconds"], 32000)
    assert relative_error(tagger.embed_audio(wav, 32000)[0], tagger_arrays["embedding"]) < FROM_WAVEFORM
    assert relative_error(tagger.tag(wav, 32000)[0], tagger_arrays["logits"]) < FROM_WAVEFORM
    assert count_parameters(tagger) == 983_599 and tagger.embed_dim == 384


def test_the_tagger_hears_a_real_clip_as_the_published_one(tagger_arrays, tagger, shared_dir):
    path = shared_dir / f"data/esc50/audio/{tagger_arrays['clip']}.ogg"
    wav, sample_rate_hz = soundfile.read(path, dtype="float32")
    assert len(wav) == 220_544
    assert relative_error(tagger.embed_audio(wav, sample_rate_hz)[0], tagger_arrays["clip_embedding"]) < FROM_WAVEFORM
    assert relative_error(tagger.tag(wav, sample_rate_hz)[0], tagger_arrays["clip_logits"]) < FROM_WAVEFORM
