"""WavCaps' HTSAT-BART with the published weights gives the published outputs, and takes no other weights.

Bounds are relative errors, float32, eval mode: 1e-4 from a stored stage, 1e-3 from the waveform; token ids exactly.
"""

import json

import pytest
import torch
from published_reference import FOLDER, arrays, relative_error, rule, waveform

from tinyclap import load_published
from tinyclap.errors import CheckpointError
from tinyclap.metrics.cost import count_parameters

STORED, FROM_WAVEFORM = 1e-4, 1e-3
NAME = "wavcaps-htsat-bart"
WORDS = "decoder.model.shared.weight"
TIED = (
    WORDS,
    "decoder.model.encoder.embed_tokens.weight",
    "decoder.model.decoder.embed_tokens.weight",
    "decoder.lm_head.weight",
)
OWN_VALUES = ("audio_feats_extractor", "relative_position_index", "attn_mask")


def shapes():
    """Published name → shape, of everything."""
    published = json.loads((FOLDER / "published_keys.json").read_text())
    prefixes = {f"wavcaps_htsat_bart.{group}": group for group in ("encoder.audio_enc", "enc_to_dec_proj", "decoder")}
    return {f"{prefix}.{name}": shape for group, prefix in prefixes.items() for name, shape in published[group].items()}


def by_the_rule():
    """The weights under their published names; the word embedding is one tensor under four."""
    words = torch.from_numpy(rule.fill(WORDS, shapes()[WORDS])).mul_(0.2)
    state_dict = {}
    for name, shape in shapes().items():
        if name in TIED:
            state_dict[name] = words
        elif any(own in name for own in OWN_VALUES) or name.endswith("final_logits_bias"):
            state_dict[name] = torch.zeros(shape)
        else:
            state_dict[name] = torch.from_numpy(rule.fill(name, shape))
    return state_dict


@pytest.fixture(scope="module")
def reference():
    return {name: torch.from_numpy(array) for name, array in arrays("htsat_bart").items() if array.ndim}


@pytest.fixture(scope="module")
def wav():
    return waveform(arrays("htsat_bart")["waveform_seed"], 10, 32000)


@pytest.fixture(scope="module")
def network():
    return load_published(NAME, state_dict={"model": by_the_rule()})  # as the published file holds it


@pytest.mark.slow
@torch.no_grad()
def test_htsat_equals_the_published_one(network, reference, wav):
    assert relative_error(network.frames(wav), reference["frames"]) < FROM_WAVEFORM
    assert relative_error(network.embed_audio(wav, 32000), reference["frames"].mean(1)) < FROM_WAVEFORM


@pytest.mark.slow
@torch.no_grad()
def test_bart_equals_the_published_one(network, reference, wav):
    for frames, bound in ((reference["frames"], STORED), (network.frames(wav), FROM_WAVEFORM)):
        hidden = network.hidden(frames)
        assert hidden.shape == (1, 1024, 768)
        assert relative_error(hidden[:, ::16], reference["encoder_hidden_every_16th"]) < bound
        said = network.bart(decoder_input_ids=reference["decoder_input_ids"], encoder_outputs=(hidden,))
        assert relative_error(said.logits[..., ::50], reference["logits_every_50th"]) < bound


@pytest.mark.slow
def test_beam_and_greedy_search_give_the_published_tokens(network, reference, wav):
    embedding, ids = network.describe(wav, 32000)
    assert torch.equal(ids, reference["beam3_ids"])
    assert relative_error(embedding, reference["frames"].mean(1)) < FROM_WAVEFORM
    assert torch.equal(network.generate(wav, 32000, beam=1), reference["greedy_ids"])


@pytest.mark.slow
def test_it_has_the_published_size_and_settings(network):
    assert count_parameters(network) == 170_252_695  # 171 million by others' count
    config = network.bart.config
    assert (config.activation_function, config.scale_embedding) == ("gelu", False)
    assert not any(module.training for module in network.modules())


@pytest.fixture
def constants():
    """The published names and shapes, every tensor one number that is repeated in no memory."""
    return {name: torch.tensor(0.01).expand(shape) for name, shape in shapes().items()}


def refusal(state_dict):
    with pytest.raises(CheckpointError) as caught:
        load_published(NAME, state_dict=state_dict)
    return str(caught.value)


def test_renamed_missing_surplus_and_misshaped_weights_are_named(constants):
    constants["decoder.model.layers.0"] = constants.pop("decoder.model.encoder.layers.0.fc1.bias")
    del constants["encoder.audio_enc.head.weight"]
    constants["enc_to_dec_proj.bias"] = torch.zeros(5)
    message = refusal(constants)
    assert "the state dict for 'wavcaps-htsat-bart' does not fit WavcapsHtsatBart; nothing was loaded" in message
    assert "2 missing: encoder.audio_enc.head.weight, decoder.model.encoder.layers.0.fc1.bias" in message
    assert "1 surplus: decoder.model.layers.0" in message
    assert "1 of another shape: enc_to_dec_proj.bias is (5,), should be (768,)" in message


def test_one_tensor_under_four_names_has_to_be_one(constants):
    constants["decoder.lm_head.weight"] = torch.tensor(0.02).expand(50265, 768)
    message = refusal(constants)
    assert f"1 different, and one tensor in the model: {WORDS} and decoder.lm_head.weight" in message


def test_buffers_that_follow_from_sizes_may_be_there_or_not_and_no_others(constants):
    named = [name for name in constants if any(own in name for own in OWN_VALUES)]
    assert len(named) == 3 + 12 + 5
    for name in named:
        del constants[name]
    constants["encoder.audio_enc.audio_feats_extractor.mel_trans.window"] = torch.zeros(1)
    message = refusal(constants)
    assert "1 surplus: encoder.audio_enc.audio_feats_extractor.mel_trans.window" in message
    assert "missing" not in message
