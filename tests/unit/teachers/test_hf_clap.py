"""Any CLAP of transformers as teacher: nothing random, whatever the length; equal to the library."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import BertTokenizer, ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

from tinyclap.errors import CheckpointError
from tinyclap.teachers import HfClapTeacher, make_text_side

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "rain", "falls", "the", "sound", "of"]


def write_model(folder, fused):
    """A CLAP of random weights, 8 kHz and windows of one second, as save_pretrained writes it."""
    torch.manual_seed(0)
    audio = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=2,
        patch_stride=[2, 2],
        hidden_size=32,
        patch_embeds_hidden_size=16,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        enable_fusion=fused,
        projection_dim=24,
    )
    text = ClapTextConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=0,
        projection_dim=24,
    )
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24))
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8000,
        hop_length=80,
        max_length_s=1,
        fft_window_size=256,
        frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fused"])
def teacher(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap")
    write_model(folder, request.param)
    return HfClapTeacher(folder, local_files_only=True).load()


@pytest.fixture(scope="module")
def clips():
    """0.05 s, one window, and up to three and a half, at 8 kHz."""
    random = np.random.default_rng(0)
    return [random.uniform(-0.5, 0.5, n).astype(np.float32) for n in (400, 8000, 9000, 28_000)]


def test_rate_and_width_are_those_of_the_model(teacher):
    assert (teacher.kind, teacher.sample_rate_hz, teacher.embed_dim) == ("hf_clap", 8000, 24)
    assert (teacher.policy.window_s, teacher.score_kind) == (1, "cosine")


def test_a_clip_longer_than_the_window_has_one_embedding_whatever_the_random_state(teacher, clips):
    torch.manual_seed(1)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    rows = teacher.embed_audio(clips, 8000)
    np.random.seed(2)
    torch.testing.assert_close(teacher.embed_audio(clips, 8000), rows, atol=0, rtol=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    if teacher.extractor.truncation == "rand_trunc":
        np.random.seed(1)
        teacher.embed_audio(clips, 8000)
        assert np.array_equal(np.random.get_state()[1], before), "the extractor has drawn nothing"


def test_a_clip_has_one_embedding_alone_and_in_a_batch(teacher, clips):
    rows = teacher.embed_audio(clips, 8000)
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(teacher.embed_audio(clip, 8000)[0], row, atol=1e-5, rtol=0)


def test_no_second_of_a_long_clip_is_left_out(teacher, clips):
    # a library that crops one window at random hears one of four parts of this clip
    rows = teacher.embed_audio([clips[3][first : first + 8000] for first in (0, 8000, 16_000, 20_000)], 8000)
    torch.testing.assert_close(
        teacher.embed_audio(clips[3], 8000)[0], F.normalize(rows.mean(0), dim=0), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_a_clip_of_one_window_is_embedded_as_the_library_does(teacher, clips):
    inputs = teacher.extractor(clips[1], sampling_rate=8000, return_tensors="pt")
    # for fused models the library flags a clip of the batch as long at random; this one is not
    inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    expected = teacher.model.get_audio_features(**inputs).pooler_output
    torch.testing.assert_close(teacher.embed_audio(clips[1], 8000), F.normalize(expected, dim=-1))


@torch.no_grad()
def test_a_text_is_embedded_as_the_library_does(teacher):
    texts = ["a dog barks", "the sound of rain"]
    tokens = teacher.tokenizer(texts, padding=True, return_tensors="pt")
    expected = F.normalize(teacher.model.get_text_features(**tokens).pooler_output, dim=-1)
    rows = teacher.embed_text(texts)
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(teacher.embed_text(texts[:1])[0], rows[0], atol=1e-5, rtol=0)
    assert not torch.allclose(rows[0], rows[1], atol=1e-4)


def test_a_student_is_scored_with_the_same_text_tower(teacher):
    again = make_text_side({**teacher.text_side(), "local_files_only": True})
    assert torch.equal(again.embed_text(["rain falls"]), teacher.embed_text(["rain falls"]))


def test_another_rate_and_channels_are_taken(teacher, clips):
    stereo = np.stack([np.repeat(clips[1], 2)] * 2)
    assert teacher.embed_audio([stereo, stereo[:, :700]], 16_000).shape == (2, 24)


def test_a_folder_without_a_model_says_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match=f"no CLAP model at '{tmp_path}' .*save_pretrained, or a hub name"):
        HfClapTeacher(tmp_path, local_files_only=True).load()
