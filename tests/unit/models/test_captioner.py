"""The captioner: what its encoder side masks, and captions that depend on the clip alone."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.caption_decoder import CaptionDecoder
from tinyclap.models.captioner import Captioner, make_captioner
from tinyclap.models.encoders import ENCODERS
from tinyclap.text.tokenizer import WordTokenizer

RATE = 8000
WORDS = WordTokenizer.from_captions(["a dog barks twice", "rain falls on a roof while birds sing"])


def captioner(kind="phinet", more=None, **options):
    torch.manual_seed(0)
    features = log_mel("efficientnet_captioner", sample_rate_hz=RATE, n_mels=32, f_max_hz=4000.0)
    more = (
        {"alpha": 0.3, "t_zero": 2, "embed_width": 24, "embed_stride": 1, **(more or {})} if kind == "phinet" else more
    )
    encoder = ENCODERS[kind](n_mels=32, **(more or {}))
    decoder = CaptionDecoder(WORDS.n_words, encoder.frame_dim, width=16, n_heads=2, ffn_width=32, dropout=0.0)
    made = Captioner(features, encoder, decoder, WORDS, **options)
    for module in made.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        # Statistics of clips at all levels: with those of the start every unit is saturated, and all clips are alike.
        made.encode(torch.stack([clip(seed, 1.0) * 10.0 ** (seed - 4) for seed in range(6)]))
        made.decoder.word_embedding.weight.mul_(8)
    return made.eval()


def clip(seed, seconds):
    return torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed)) * 0.1 * (seed + 1)


def test_a_clip_s_words_do_not_depend_on_its_neighbours():
    model = captioner()
    clips = [clip(0, 2.0), clip(1, 1.3), clip(2, 2.0), clip(3, 3.1)]
    together = model.describe(clips, RATE, n_best=2)[1]
    for index, alone in enumerate(clips):
        found = model.describe([alone], RATE, n_best=2)[1]
        assert torch.equal(found.ids[0], together.ids[index])
        torch.testing.assert_close(found.scores[0], together.scores[index], rtol=1e-4, atol=1e-5)


def test_what_follows_a_clip_s_length_is_not_heard():
    model = captioner()
    loud = torch.cat([clip(0, 1.5), 5 * clip(7, 1.5)])
    batch = torch.stack([loud, clip(1, 3.0)])
    given = model.describe(batch, RATE, lengths=[12000, 24000])[1]
    alone = model.describe([loud[:12000]], RATE)[1]
    assert torch.equal(given.ids[0], alone.ids[0])
    torch.testing.assert_close(given.scores[0], alone.scores[0], rtol=1e-4, atol=1e-5)


def test_the_published_floor_depends_on_the_batch_and_ours_does_not():
    model = captioner()
    quiet, loud = clip(0, 1.0) * 1e-4, clip(1, 1.0) * 100
    batch = torch.stack([quiet, loud])
    published = model.encode(batch, batch_dynamic_range=True).clip
    ours = model.encode(batch).clip
    torch.testing.assert_close(ours[:1], model.encode(quiet[None]).clip, rtol=1e-4, atol=1e-4)
    assert (published[0] - model.encode(quiet[None], batch_dynamic_range=True).clip[0]).abs().max() > 1e-3


def test_a_long_clip_is_heard_in_pieces_whose_frames_stand_in_a_row():
    model = captioner(max_s=2.0)
    whole = clip(0, 6.0)
    (owners, encoded), *rest = model._groups([whole], 4)
    pieces = model.encode(whole.view(3, -1))
    assert (owners, rest) == ([0], []) and encoded().frames.shape[1] == 3 * int(pieces.n_frames[0])
    torch.testing.assert_close(encoded().clip, pieces.clip.mean(dim=0, keepdim=True), rtol=1e-4, atol=1e-5)
    assert model.generate([whole], RATE, max_words=5).shape == (1, 5)


def test_the_mean_frame_leaves_out_what_is_after_the_end():
    model = captioner()
    wavs = torch.nn.functional.pad(clip(0, 1.0), (0, RATE))[None]
    encoded = model.encode(wavs, torch.tensor([RATE]))
    n_valid = int(encoded.n_frames[0])
    assert 0 < n_valid < encoded.frames.shape[1]
    torch.testing.assert_close(encoded.clip[0], encoded.frames[0, :n_valid].mean(dim=0))


def test_one_pass_gives_the_logits_of_every_kind_of_caption():
    model = captioner()
    wavs = torch.stack([clip(0, 1.0), clip(1, 1.0), clip(2, 1.0)])
    people, teacher = torch.tensor([WORDS.encode("a dog barks")] * 2), torch.tensor([WORDS.encode("rain falls")] * 3)
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    encoded, (first, second) = model([people, teacher], wavs)
    assert len(calls) == 1 and first.shape[:2] == (2, 5) and second.shape[:2] == (3, 4)
    torch.testing.assert_close(first, model.decoder(people, encoded.frames[:2], encoded.n_frames[:2]))


def test_scheduled_sampling_replaces_input_words_but_never_the_start():
    model = captioner()
    encoded = model.encode(clip(0, 1.0)[None])
    ids = torch.tensor([[*WORDS.encode("a dog barks twice"), WORDS.pad_id]])
    sampled = model._sampled(ids, encoded.frames, encoded.n_frames, 1.0)
    assert sampled[0, 0] == WORDS.start_id and sampled[0, -1] == WORDS.pad_id
    said = model.decoder(ids, encoded.frames, encoded.n_frames).argmax(-1)
    assert torch.equal(sampled[0, 1:-1], said[0, :-2])
    assert torch.equal(model._sampled(ids, encoded.frames, encoded.n_frames, 0.0), ids)


def test_captions_are_words_within_their_bounds():
    model = captioner()
    captions = model.caption([clip(0, 1.0), clip(1, 0.1)], RATE, max_words=6, min_words=3)
    assert all(3 <= len(caption.split()) <= 6 for caption in captions)
    greedy = model.generate([clip(0, 1.0)], RATE, beam=1, max_words=4)
    assert greedy.shape == (1, 4)


def test_rates_and_channels_are_the_model_s_business():
    model = captioner()
    mono = clip(0, 1.0)
    stereo = torch.stack([mono * 1.5, mono * 0.5])
    assert torch.equal(model.generate([stereo], RATE), model.generate([mono], RATE))
    assert model.generate([torch.randn(44100)], 44100).shape == (1, 20)


@pytest.mark.parametrize(("kind", "more"), [("mn", {"width": 0.1}), ("cnn14", {"channels": [8, 8, 8, 16]})])
def test_any_encoder_can_stand_in(kind, more):
    assert captioner(kind, more).generate([clip(0, 1.0)], RATE, max_words=3).shape == (1, 3)


def test_it_is_rebuilt_from_its_config():
    model = captioner()
    again = build(model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.generate([clip(0, 1.0)], RATE), model.generate([clip(0, 1.0)], RATE))


def test_training_mode_survives_a_caption():
    model = captioner().train()
    model.caption([clip(0, 1.0)], RATE)
    assert model.training


@pytest.mark.parametrize(
    ("wavs", "lengths", "error", "says"),
    [
        ([torch.zeros(0)], None, AudioError, "no samples"),
        ([torch.full((800,), torch.nan)], None, AudioError, "NaN"),
        ([torch.zeros(800)], [900], AudioError, "length 900"),
        ([torch.zeros(800)], [0], AudioError, "length 0"),
        ([torch.zeros(800)], [800, 800], ConfigError, "2 lengths for 1 clips"),
    ],
)
def test_bad_clips_are_named(wavs, lengths, error, says):
    with pytest.raises(error, match=says):
        captioner().generate(wavs, RATE, lengths=lengths)


def test_parts_that_do_not_fit_are_refused():
    good = captioner()
    with pytest.raises(ConfigError, match="frames have 24 channels, the decoder wants 25"):
        Captioner(good.features, good.encoder, CaptionDecoder(WORDS.n_words, 25, width=16), WORDS)
    with pytest.raises(ConfigError, match="vocabulary has .* words, the decoder 9"):
        Captioner(good.features, good.encoder, CaptionDecoder(9, 24, width=16), WORDS)
    with pytest.raises(ConfigError, match="front end gives 64"):
        Captioner(log_mel("efficientnet_captioner"), good.encoder, good.decoder, WORDS)


def test_a_captioner_is_made_for_the_words_of_a_file(tmp_path):
    WORDS.save(tmp_path / "vocabulary.json")
    features = log_mel("efficientnet_captioner", sample_rate_hz=RATE, n_mels=32, f_max_hz=4000.0)
    encoder = captioner().encoder
    made = make_captioner(features, encoder, tmp_path / "vocabulary.json", width=16, n_heads=2, max_s=2.0)
    assert made.tokenizer.words == WORDS.words and made.decoder.n_words == WORDS.n_words
    assert (made.config["max_s"], made.decoder.config["ffn_width"], made.decoder.memory_dim) == (2.0, 64, 24)
    assert isinstance(made.caption([clip(0, 1.0)], RATE)[0], str)
    assert build(made.config).config == made.config
    with pytest.raises(ConfigError, match="missing.json"):
        make_captioner(features, encoder, tmp_path / "missing.json")
