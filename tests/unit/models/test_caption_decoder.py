"""The decoder of the captioners: what it may attend to, and that step by step it says what it says at once."""

import math

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.models.caption_decoder import CaptionDecoder

V, C = 30, 8


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return CaptionDecoder(V, C, width=16, n_heads=2, ffn_width=32, max_positions=50).eval()


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return torch.randn(3, 7, C), torch.tensor([7, 4, 1])


def captions(n_words=12):
    torch.manual_seed(2)
    ids = torch.randint(3, V, (3, n_words))
    ids[:, 0] = 1
    return ids


def test_the_published_size_and_one_matrix_for_words_in_and_out():
    decoder = CaptionDecoder(4981, 1408)
    assert count_parameters(decoder) == 3_743_232
    assert decoder.classifier.weight is decoder.word_embedding.weight
    assert {"classifier.weight", "word_embedding.weight", "pos_encoder.pe"} <= set(decoder.state_dict())
    assert decoder.pos_encoder.pe.shape == (100, 1, 256) and "pos_encoder.pe" in dict(decoder.named_buffers())


def test_positions_begin_as_sinusoids(decoder):
    positions = decoder.pos_encoder.pe[:, 0]
    assert positions[0].tolist() == [0.0, 1.0] * 8
    slow = 10000 ** (-14 / 16)  # the last pair of 16 channels
    assert positions[3, 0].item() == pytest.approx(math.sin(3), abs=1e-6)
    assert positions[3, -2:].tolist() == pytest.approx([math.sin(3 * slow), math.cos(3 * slow)], abs=1e-6)


@torch.no_grad()
def test_a_word_hears_nothing_of_later_words_of_padding_or_of_frames_after_the_end(decoder, clips):
    memory, n_frames = clips
    ids = captions()
    logits = decoder(ids, memory, n_frames)
    changed = ids.clone()
    changed[:, 6:] = 3
    torch.testing.assert_close(decoder(changed, memory, n_frames)[:, :6], logits[:, :6])
    assert not torch.allclose(decoder(changed, memory, n_frames)[:, 6:], logits[:, 6:])
    louder = memory.clone()
    louder[1, 4:], louder[2, 1:] = 100.0, -100.0
    torch.testing.assert_close(decoder(ids, louder, n_frames), logits)
    torch.testing.assert_close(decoder(ids[1:2], memory[1:2, :4], n_frames[1:2]), logits[1:2])
    padded = ids.clone()
    padded[:, 4] = decoder.pad_id
    before = decoder(padded, memory, n_frames)
    decoder.word_embedding.weight[decoder.pad_id] += 1.0
    after = decoder(padded, memory, n_frames)
    places = [place for place in range(12) if place != 4]
    words = [word for word in range(V) if word != decoder.pad_id]
    torch.testing.assert_close(after[:, places][..., words], before[:, places][..., words])


@torch.no_grad()
def test_step_by_step_is_as_at_once_beyond_the_first_room_too(decoder, clips):
    ids = captions(45)
    ids[0, 5] = ids[2, 40] = decoder.pad_id
    at_once, state = decoder(ids, *clips), decoder.begin(*clips)
    for place in range(45):
        logits, state = decoder.step(ids[:, place], state)
        torch.testing.assert_close(logits, at_once[:, place], atol=1e-5, rtol=0)
    assert state.n_words == 45


@pytest.mark.parametrize("beams", [True, False])
@torch.no_grad()
def test_selected_rows_go_on_from_their_own_words(decoder, clips, beams):
    memory, n_frames = clips
    ids = captions()
    ids[1, 2] = decoder.pad_id
    state = decoder.begin(memory, n_frames)
    for place in range(3):
        _, state = decoder.step(ids[:, place], state)
    # Two beams each of clips 2 and 1, then these two swapped within their clips, and only clip 1 at the end.
    rows = torch.tensor([[2, 2], [1, 1]])
    owners = rows.reshape(-1)
    state = decoder.select(state, rows if beams else owners)
    fourth = torch.tensor([5, 6, 7, 8])
    _, state = decoder.step(fourth, state)
    rows = torch.tensor([[3, 2]])
    owners, fourth = owners[rows[0]], fourth[rows[0]]
    state = decoder.select(state, rows if beams else rows[0])
    assert state.memory.shape[1] == (1 if beams else 2), "the beams of a clip share what was heard"
    last = torch.tensor([9, 10])
    logits, _ = decoder.step(last, state)
    said = torch.cat([ids[owners, :3], fourth[:, None], last[:, None]], dim=1)
    at_once = decoder(said, memory[owners], n_frames[owners])[:, -1]
    torch.testing.assert_close(logits, at_once, atol=1e-5, rtol=0)


def test_training_drops_out_and_reaches_every_parameter(decoder, clips):
    decoder.train()
    ids = captions()
    assert not torch.equal(decoder(ids, *clips), decoder(ids, *clips))
    decoder(ids, *clips).square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_captions_longer_than_the_positions_are_refused(decoder, clips):
    with pytest.raises(ConfigError, match="captions of 51 words; the decoder has 50"):
        decoder(captions(51), *clips)
    state = decoder.begin(*clips)
    for _ in range(50):
        _, state = decoder.step(torch.ones(3, dtype=torch.int64), state)
    with pytest.raises(ConfigError, match="come to its 50 positions"):
        decoder.step(torch.ones(3, dtype=torch.int64), state)


def test_it_is_rebuilt_from_its_config_and_refuses_heads_that_do_not_fit(decoder, clips):
    again = build(decoder.config).eval()
    again.load_state_dict(decoder.state_dict())
    assert torch.equal(again(captions(), *clips), decoder(captions(), *clips))
    with pytest.raises(ConfigError, match="width=18 has to be even and a multiple of n_heads=4"):
        CaptionDecoder(V, C, width=18)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_the_gpu_says_the_same(decoder, clips):
    memory, n_frames = clips
    here = decoder(captions(), memory, n_frames)
    decoder.cuda()
    there = decoder(captions().cuda(), memory.cuda(), n_frames.cuda())
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)
    state = decoder.begin(memory.cuda(), n_frames.cuda())
    logits, _ = decoder.step(captions()[:, 0].cuda(), state)
    torch.testing.assert_close(logits.cpu(), here[:, 0], atol=1e-4, rtol=1e-4)
