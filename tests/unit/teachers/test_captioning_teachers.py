"""Captioning teachers by name: HTSAT-BART at small sizes, and a captioner of ours; who they are, and what they say."""

import json
import pickle

import pytest
import torch
from published_reference import rule
from test_captioner import captioner, clip
from transformers import BartTokenizer

from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.published.wavcaps import WavcapsHtsatBart
from tinyclap.teachers import make_teacher

WORDS = "a dog barks rain falls on the roof an engine runs while man speaks".split()
SIZES = {
    "htsat": {"patch": 8, "width": 8, "depths": [1, 1, 1], "n_heads": [2, 2, 2], "n_tags": 0},
    "bart": {
        "vocab_size": len(WORDS) + 5,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
}
RATE = 32000


def small_state_dict():
    """Weights by the rule of the reference for a HTSAT-BART of small sizes, under published names."""
    network = WavcapsHtsatBart(**SIZES)
    state_dict = {network.published_name(name): tensor.shape for name, tensor in network.state_dict().items()}
    words = torch.from_numpy(rule.fill("words", state_dict["decoder.lm_head.weight"]))
    state_dict = {
        name: words
        if name.endswith(("shared.weight", "embed_tokens.weight", "lm_head.weight"))
        else torch.from_numpy(rule.fill(name, shape))
        for name, shape in state_dict.items()
    }
    # <s>, <pad> and <unk> are never said, the end rarely
    bias = torch.zeros_like(state_dict["decoder.final_logits_bias"])
    bias[0, :4] = torch.tensor([-99.0, -99.0, -2.0, -99.0])
    return {**state_dict, "decoder.final_logits_bias": bias}


def write_wavcaps(folder):
    """Write weights as published files hold them, and a tokenizer of few words; returns a teacher's options."""
    torch.save({"model": small_state_dict(), "epoch": 3, "config": {"device": "cuda"}}, folder / "HTSAT_BART.pt")
    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"Ġ{word}" for word in WORDS), "<mask>"]
    BartTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    return {"weights": folder / "HTSAT_BART.pt", "tokenizer": folder, **SIZES}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wavcaps")
    write_wavcaps(folder)
    return folder


def wavcaps(files, **options):
    options = {"tokenizer": files, **SIZES, **options}
    return make_teacher("wavcaps_htsat_bart", weights=files / "HTSAT_BART.pt", **options)


@pytest.fixture(scope="module")
def teacher(files):
    return wavcaps(files, max_length=12).load()


@pytest.fixture(scope="module")
def clips():
    """2 s, 10 s and 23 s of noise that gets louder, a chirp of 5 s."""
    noise = [torch.randn(round(s * RATE), generator=torch.Generator().manual_seed(s)) * s / 80 for s in (2, 10, 23)]
    return [noise[0], noise[1] * torch.linspace(0, 1, 10 * RATE), noise[2], torch.from_numpy(rule.waveform(3, 5, RATE))]


def test_each_clip_gets_an_embedding_and_a_caption_of_its_own(teacher, clips):
    embeddings, captions = teacher.targets(clips, RATE, ["clip", "caption"]).values()
    assert embeddings.shape == (4, teacher.embed_dim) and embeddings.dtype == torch.float32
    assert (teacher.embed_dim, teacher.sample_rate_hz) == (32, RATE)
    assert not embeddings.requires_grad and embeddings.isfinite().all()
    assert len(set(captions)) >= 2 and all(set(caption.split()) <= set(WORDS) for caption in captions)
    assert all(caption == caption.strip() != "" for caption in captions)


def test_a_clip_alone_is_taught_as_in_a_batch(teacher, clips):
    embeddings, captions = teacher.targets(clips, RATE, ["clip", "caption"]).values()
    for index, alone in enumerate(clips):
        embedding, said = teacher.targets([alone], RATE, ["clip", "caption"]).values()
        torch.testing.assert_close(embedding[0], embeddings[index], atol=1e-5, rtol=1e-4)
        assert said == [captions[index]]


def test_the_first_ten_seconds_are_heard_and_shorter_clips_zero_padded(teacher, clips):
    padded = torch.nn.functional.pad(clips[0], (0, 8 * RATE))
    embeddings, captions = teacher.targets(
        [clips[2], clips[2][: 10 * RATE], clips[0], padded], RATE, ["clip", "caption"]
    ).values()
    assert torch.equal(embeddings[0], embeddings[1]) and captions[0] == captions[1]
    assert torch.equal(embeddings[2], embeddings[3]) and captions[2] == captions[3]


def test_an_embedding_of_a_long_clip_is_the_mean_over_its_windows(teacher, clips):
    windows = [clips[2][first * RATE : (first + 10) * RATE] for first in (0, 10, 13)]
    rows = teacher.model.embed_audio(windows, RATE)
    torch.testing.assert_close(teacher.model.embed_audio([clips[2]], RATE)[0], rows.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows, teacher.targets(windows, RATE)["clip"], atol=1e-5, rtol=1e-4)


def test_other_rates_and_channels_are_taken(teacher, clips):
    stereo = torch.stack([clips[0][::2]] * 2)
    embeddings, captions = teacher.targets([stereo, clips[0][::2]], RATE // 2, ["clip", "caption"]).values()
    assert torch.equal(embeddings[0], embeddings[1]) and captions[0] == captions[1]


def test_captions_have_the_length_that_is_asked_for(files, teacher, clips):
    ids = teacher.model.generate(clips, RATE, max_length=12)
    assert ids.shape[1] <= 12 and (ids[:, 0] == 2).all() and ((ids == 2).sum(1) == 2).all()
    whole = teacher.model.generate(clips[:1], RATE, beam=1, max_length=9, min_length=9)
    assert whole.shape == (1, 9) and whole[0, -1] == 2 and not (whole[0, 1:-1] == 2).any()
    assert teacher.model.caption(clips[:1], RATE, max_length=12) == teacher.caption(clips[:1], RATE)


def test_it_is_frozen(teacher):
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_says_who_it_is_before_it_is_loaded(files, teacher):
    identity = wavcaps(files, max_length=12).identity()
    assert identity == teacher.identity() == json.loads(json.dumps(identity))
    assert identity["kind"] == "wavcaps_htsat_bart" and len(identity["weights_sha256"]) == 64
    assert wavcaps(files, max_length=12, beam=2).identity() != identity
    assert wavcaps(files, max_length=12, batch_size=1).identity() == identity


def test_other_weights_are_another_teacher(files, teacher, tmp_path):
    changed = small_state_dict()
    changed["enc_to_dec_proj.bias"] = changed["enc_to_dec_proj.bias"] + 1e-6
    torch.save(changed, tmp_path / "other.pt")
    other = make_teacher("wavcaps_htsat_bart", weights=tmp_path / "other.pt", tokenizer=files, **SIZES)
    assert other.identity()["weights_sha256"] != teacher.identity()["weights_sha256"]


def test_worker_processes_can_be_sent_a_teacher(teacher, clips):
    again = pickle.loads(pickle.dumps(teacher))
    assert torch.equal(again.targets(clips[:1], RATE)["clip"], teacher.targets(clips[:1], RATE)["clip"])


def test_a_network_in_training_mode_is_left_in_it_and_says_the_same(teacher, clips):
    network = teacher.model
    said = network.generate(clips[:1], RATE, max_length=8)
    again = network.train().generate(clips[:1], RATE, max_length=8)
    assert torch.equal(again, said) and network.training
    network.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_folder(captioner(max_s=3.0), folder / "student", {"seed": 0})
    return folder


def test_a_captioner_of_ours_teaches_too(run):
    teacher = make_teacher("captioner", weights=run, max_words=8).load()
    clips, model = [clip(0, 2.0), clip(1, 1.3), clip(2, 7.0)], captioner(max_s=3.0)
    embeddings, captions = teacher.targets(clips, 8000, ["clip", "caption"]).values()
    assert embeddings.shape == (3, teacher.embed_dim) and not embeddings.requires_grad
    assert captions == model.caption(clips, 8000, max_words=8)
    encoded = model.encode(clips[0][None])
    torch.testing.assert_close(embeddings[:1], encoded.clip, atol=1e-5, rtol=1e-4)
    alone, said = teacher.targets(clips[1:2], 8000, ["clip", "caption"]).values()
    torch.testing.assert_close(alone, embeddings[1:2], atol=1e-5, rtol=1e-4)
    assert said == captions[1:2]


def test_a_captioner_says_who_it_is(run, tmp_path):
    identity = make_teacher("captioner", weights=run).identity()
    assert identity == make_teacher("captioner", weights=run / "student").load().identity()
    assert make_teacher("captioner", weights=run, beam=1).identity() != identity
    save_folder(captioner(max_s=5.0), tmp_path)
    other = make_teacher("captioner", weights=tmp_path).identity()
    assert other["weights_sha256"] == identity["weights_sha256"] and other["model_sha256"] != identity["model_sha256"]


def test_a_captioner_says_what_else_it_could_have_said(run):
    plain = make_teacher("captioner", weights=run, max_words=8).load()
    teacher = make_teacher("captioner", weights=run, more={"n_word_choices": 4}, max_words=8).load()
    clips = [clip(0, 2.0), clip(1, 1.3), clip(2, 7.0)]
    embeddings, captions = plain.targets(clips, 8000, ["clip", "caption"]).values()
    again, said, choices = teacher.targets(clips, 8000, ["clip", "caption", "token_choices"]).values()
    assert said == captions == teacher.caption(clips, 8000)
    torch.testing.assert_close(again, embeddings)
    assert choices.ids.shape == choices.log_probs.shape == (3, 8, 4) and not choices.log_probs.requires_grad
    assert teacher.words == captioner().tokenizer.words
    found = teacher.model.describe(clips, 8000, max_words=8)[1]
    whole = make_teacher("captioner", weights=run, more={"n_word_choices": len(teacher.words)}, max_words=8).load()
    every = whole.targets(clips, 8000, ["token_choices"])["token_choices"]
    torch.testing.assert_close(every.log_probs[..., :4], choices.log_probs)
    torch.testing.assert_close(every.log_probs.exp().sum(-1), torch.ones(3, 8))
    for index, n_words in enumerate(found.n_words[:, 0].tolist()):
        assert choices.n_words[index] == n_words and torch.equal(choices.words[index], found.ids[index, 0])
        of_said = every.log_probs[index, :n_words][every.ids[index, :n_words] == choices.words[index, :n_words, None]]
        assert of_said.mean().item() == pytest.approx(found.scores[index, 0].item(), abs=1e-4), "what the search saw"
        alone = teacher.targets(clips[index : index + 1], 8000, ["token_choices"])["token_choices"]
        assert torch.equal(alone.ids[0, :n_words], choices.ids[index, :n_words])
        torch.testing.assert_close(alone.log_probs[0], choices.log_probs[index], atol=1e-4, rtol=1e-4)


def test_word_choices_make_another_teacher_and_their_absence_does_not(run):
    identity = make_teacher("captioner", weights=run).identity()
    assert sorted(identity) == ["beam", "kind", "max_words", "model_sha256", "weights_sha256"]
    assert make_teacher("captioner", weights=run, n_word_choices=0).identity() == identity
    assert make_teacher("captioner", weights=run, n_word_choices=8).identity() == {**identity, "n_word_choices": 8}


def test_word_choices_that_cannot_be_are_refused(run, teacher, clips):
    for wrong in (-1, 2.5, "8"):
        with pytest.raises(ConfigError, match=f"n_word_choices={wrong!r}"):
            make_teacher("captioner", weights=run, n_word_choices=wrong)
    for mute in (teacher, make_teacher("captioner", weights=run).load()):
        with pytest.raises(ConfigError, match=f"the {mute.kind} teacher gives clip, caption; not token_choices"):
            mute.targets(clips[:1], RATE, ["token_choices"])
    many = make_teacher("captioner", weights=run, n_word_choices=99).load()
    with pytest.raises(ConfigError, match="99 choices at each word; there are [0-9]+ words"):
        many.targets([clip(0, 1.0)], 8000, ["token_choices"])


def test_a_run_without_a_captioner_is_refused(tmp_path):
    save_folder(captioner().encoder, tmp_path)
    with pytest.raises(CheckpointError, match="holds a PhiNet, which writes no captions; give the run of a captioner"):
        make_teacher("captioner", weights=tmp_path).load()


def test_a_teacher_without_weights_stands_for_a_store_and_cannot_teach(files):
    teacher = make_teacher("wavcaps_htsat_bart")
    assert teacher.weights is None
    for call in (teacher.load, teacher.identity):
        with pytest.raises(CheckpointError, match="has no weights; give their path as teacher_weights"):
            call()
    with pytest.raises(CheckpointError, match="call load"):
        wavcaps(files).targets([torch.zeros(100)], RATE)


def test_missing_files_say_what_to_give(files, tmp_path):
    nowhere = make_teacher("wavcaps_htsat_bart", weights=tmp_path / "nowhere.pt", tokenizer=files)
    for call in (nowhere.load, nowhere.identity):
        with pytest.raises(CheckpointError, match=r"nowhere.pt: no such file; give the path of a HTSAT-BART"):
            call()
    with pytest.raises(CheckpointError, match=r"no tokenizer from .*facebook/bart-base's tokenizer files"):
        wavcaps(files, tokenizer=tmp_path / "none").load()


def test_unknown_kinds_and_options_are_refused():
    with pytest.raises(ConfigError, match="'whisper' is unknown; choose one of .*wavcaps_htsat_bart, captioner, text"):
        make_teacher("whisper", weights="x")
    with pytest.raises(ConfigError, match="'captioner': got an unexpected keyword argument 'width'"):
        make_teacher("captioner", weights="x", more={"width": 3})
    assert make_teacher("captioner", weights="x", more={"beam": 2}, max_words=None).max_words == 20
