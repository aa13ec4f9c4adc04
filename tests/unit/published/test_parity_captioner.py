"""The published EfficientNet-B2 captioner's weights give its published outputs, and no other weights are taken.

Bounds are relative errors, float32, eval mode: log-mel 1e-3; from a stored stage 1e-4, 1e-3 where that is float16;
from the waveform 1e-3; token ids exactly.
"""

import json
import math

import numpy as np
import pytest
import torch
from published_reference import FOLDER, arrays, relative_error, rule, waveform

from tinyclap.checkpoints.state import strict_load
from tinyclap.decoding.beam_search import beam_search
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics.cost import count_parameters
from tinyclap.published.captioners import Effb2Trm
from tinyclap.text.tokenizer import WordTokenizer

STORED, FROM_WAVEFORM, FLOAT16 = 1e-4, 1e-3, 1e-3
DECODER = "model.model.decoder."
WORDS = DECODER + "word_embedding.weight"
FRONT_END = "model.model.encoder.melspec_extractor."
# What is filled by the rule is made smaller or larger, so that rounding stays small and captions differ.
FACTORS = {"_conv_stem.weight": 0.02, "_se_expand.weight": 0.1, "pos_encoder.pe": 12, "word_embedding.weight": 0.2}
BEAMS = {1: "greedy_ids", 2: "beam2_ids", 3: "beam3_ids", 5: "beam5_ids"}


def by_the_rule():
    """The weights under their published names."""
    state_dict = {}
    for name, shape in json.loads((FOLDER / "published_keys.json").read_text())["effb2_trm_captioner"].items():
        factor = next((factor for ending, factor in FACTORS.items() if name.endswith(ending)), 1)
        if name.startswith(DECODER + "model.layers.") and name.endswith(("out_proj.weight", "linear2.weight")):
            factor = 0.2
        if name.startswith(FRONT_END):
            state_dict[name] = torch.zeros(shape)
        elif name == "model.logit_scale":
            state_dict[name] = torch.tensor(math.log(1 / 0.07))
        elif factor == 1:
            state_dict[name] = torch.from_numpy(rule.fill(name, shape))
        else:
            state_dict[name] = torch.from_numpy(rule.fill(name, shape) * np.float32(factor))
    return {**state_dict, DECODER + "classifier.weight": state_dict[WORDS]}


def loaded(state_dict, **config):
    network = Effb2Trm(**Effb2Trm.config_from(state_dict, config))
    return strict_load(network, state_dict, network.published_name, network.allowed_extra).eval()


@pytest.fixture(scope="module")
def reference():
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays("captioner").items()}


@pytest.fixture(scope="module")
def state_dict():
    return by_the_rule()


@pytest.fixture(scope="module")
def network(state_dict, reference):
    start_id, end_id, pad_id = reference["start_end_pad"].tolist()
    return loaded(state_dict, start_id=start_id, end_id=end_id, pad_id=pad_id)


@pytest.fixture(scope="module")
def wavs(reference):
    wavs = torch.cat([waveform(reference["waveform_seed"] + index, 10, 16000) for index in (0, 1)])
    wavs[1, 112000:] = 0
    return wavs


def test_it_has_the_published_parameters(network):
    assert count_parameters(network.captioner) == 11_443_650
    assert count_parameters(network.captioner.encoder) == 7_700_418
    assert count_parameters(network.kd) == 1409 * 1024 + 769 * 1024 + 1


@torch.no_grad()
def test_the_encoder_equals_the_published_one(network, reference, wavs):
    features = network.captioner.features
    assert relative_error(features(wavs, batch_dynamic_range=True).transpose(1, 2), reference["logmel_db"]) < FLOAT16
    stored = reference["logmel_db"].float().transpose(1, 2)
    from_stored = network.captioner.encode(log_mel=stored, n_samples=reference["wav_len"])
    heard = network(wavs, reference["wav_len"], batch_dynamic_range=True)
    for encoded, bound in ((from_stored, FLOAT16), (heard, FROM_WAVEFORM)):
        assert relative_error(encoded.frames, reference["attn_emb"]) < bound
        assert relative_error(encoded.clip, reference["fc_emb"]) < bound
        assert encoded.n_frames.tolist() == reference["attn_emb_len"].tolist() == [31, 21]


@torch.no_grad()
def test_the_decoder_and_the_distillation_loss_equal_the_published_ones(network, reference):
    ids = reference["caption_ids"][:, :-1]
    logits = network.captioner.decoder(ids, reference["attn_emb"], reference["attn_emb_len"])
    assert relative_error(logits[..., ::7], reference["teacher_forced_logits"]) < STORED
    loss = network.kd(reference["fc_emb"], reference["teacher_embedding"])
    assert loss.item() == pytest.approx(reference["enc_kd_loss"].item(), rel=STORED)


@pytest.mark.parametrize("beam", BEAMS)
def test_captions_are_the_published_ones(network, reference, wavs, beam):
    n_samples = reference["wav_len"].tolist()
    heard = network.generate(wavs, 16000, lengths=n_samples, beam=beam, batch_dynamic_range=True)
    assert heard.tolist() == reference[BEAMS[beam]].tolist()
    decoder, (start_id, end_id, _) = network.captioner.decoder, reference["start_end_pad"].tolist()
    state = decoder.begin(reference["attn_emb"], reference["attn_emb_len"])
    assert (
        beam_search(decoder, state, start_id, end_id, beam=beam).ids[:, 0].tolist() == reference[BEAMS[beam]].tolist()
    )


def test_a_clip_has_one_caption_whatever_follows_it_in_the_batch(network, wavs):
    together = network.generate(wavs, 16000, lengths=[160000, 112000])
    assert together[1].tolist() == network.generate(wavs[1, :112000], 16000)[0].tolist()


def test_the_front_end_s_buffers_may_be_missing(state_dict):
    loaded({name: tensor for name, tensor in state_dict.items() if not name.startswith(FRONT_END)})


@pytest.mark.parametrize(
    "name",
    [
        "model.logit_scale",
        "model.tchr_proj.bias",
        "model.model.encoder.backbone.eff_net._blocks.22._bn2.num_batches_tracked",
        DECODER + "pos_encoder.pe",
        DECODER + "classifier.weight",
        WORDS,
    ],
)
def test_a_renamed_missing_or_surplus_name_is_named(network, state_dict, name):
    without = {key: tensor for key, tensor in state_dict.items() if key != name}
    for wrong, messages in (
        (without, [f"1 missing: {name}"]),
        ({**without, f"{name}_": state_dict[name]}, [f"1 missing: {name}", f"1 surplus: {name}_"]),
        ({**state_dict, "model.extra": torch.zeros(1)}, ["1 surplus: model.extra"]),
        ({**state_dict, FRONT_END + "extra": torch.zeros(1)}, [f"1 surplus: {FRONT_END}extra"]),
        ({**state_dict, name: torch.zeros(3, 3, 3)}, [f"{name} is (3, 3, 3), should be"]),
    ):
        with pytest.raises(CheckpointError) as raised:
            strict_load(network, wrong, network.published_name, network.allowed_extra)
        assert all(message in str(raised.value) for message in messages)


def test_the_vocabulary_s_size_is_read_off_the_weights():
    few = {WORDS: torch.zeros(12, 256)}
    assert Effb2Trm.config_from(few, {"end_id": 3}) == {"end_id": 3, "n_words": 12}
    assert Effb2Trm.config_from(few, {"n_words": 4368})["n_words"] == 4368
    assert Effb2Trm.config_from({}, {}) == {}


def test_words_need_a_vocabulary_and_ids_do_not(tmp_path):
    wav, words = torch.rand(1, 8000) - 0.5, ["<pad>", "<start>", "<end>", "<unk>", "rain", "dog"]
    nameless = Effb2Trm(n_words=6).eval()
    ids = nameless.generate(wav, 8000, max_words=4)
    with pytest.raises(ConfigError, match="no vocabulary"):
        nameless.caption(wav, 8000)
    tokenizer = WordTokenizer(words)
    tokenizer.save(tmp_path / "words.json")
    named = Effb2Trm(n_words=6, end_id=2, tokenizer=tmp_path / "words.json").eval()
    named.load_state_dict(nameless.state_dict())
    assert named.caption(wav, 8000, max_words=4) == [tokenizer.decode(ids[0].tolist())]
    with pytest.raises(ConfigError, match=r"n_words=4981 \(the vocabulary: 6\)"):
        Effb2Trm(n_words=4981, tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="three of the 5 words"):
        Effb2Trm(n_words=5, end_id=7)
