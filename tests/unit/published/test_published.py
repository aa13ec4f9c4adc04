"""Published weights load strictly, whole, and name what is wrong with them."""

import copy

import pytest
import torch
from published_reference import STUDENTS, msclap_shapes, student_state_dict

from tinyclap import load_published
from tinyclap.checkpoints.state import strict_load
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.published.networks import MsClap2022
from tinyclap.published.table import PUBLISHED
from tinyclap.published.tokenizers import BERT, hub_tokenizer

SMALL = "phinet_alpha_0.75_beta_0.75_t0_4_N_5"


@pytest.fixture(scope="module")
def weights():
    return student_state_dict(SMALL)


@pytest.fixture(scope="module")
def empty_clap():
    """CLAP 2022 without memory: names and shapes are all that these tests look at."""
    with torch.device("meta"):
        return MsClap2022()


def load_small(weights):
    return load_published("tinyclap-student", state_dict=weights, **STUDENTS[SMALL])


def test_a_missing_key_raises_and_is_named_as_published(weights):
    weights = {key: value for key, value in weights.items() if key != "base.pn_block.bias"}
    with pytest.raises(CheckpointError, match=r"1 missing: base\.pn_block\.bias"):
        load_small(weights)


def test_a_surplus_key_raises_and_is_named(weights):
    with pytest.raises(CheckpointError, match=r"1 surplus: base\.other\.weight"):
        load_small({**weights, "base.other.weight": torch.zeros(1)})


def test_a_renamed_key_raises_and_both_names_are_given(weights):
    weights = dict(weights)
    weights["projection.lin1.weight"] = weights.pop("projection.linear1.weight")
    with pytest.raises(CheckpointError) as caught:
        load_small(weights)
    assert "1 missing: projection.linear1.weight" in str(caught.value)
    assert "1 surplus: projection.lin1.weight" in str(caught.value)


def test_weights_of_another_width_raise_with_both_shapes(weights):
    with pytest.raises(CheckpointError, match=r"1\.weight is \(36, 1, 1, 1\), should be \(48, 1, 1, 1\)"):
        load_published("tinyclap-student", state_dict=weights, alpha=1.0, beta=0.75, t_zero=4, n_layers=5)


def test_nothing_is_loaded_when_one_key_is_wrong(weights):
    network = load_small(weights)
    before = copy.deepcopy(network.state_dict())
    changed = {key: value + 1 for key, value in weights.items() if key != "base.bn0.bias"}
    with pytest.raises(CheckpointError):
        strict_load(network, changed, network.published_name)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_names_of_the_published_clap_file_map_one_to_one(empty_clap):
    ours = {empty_clap.published_name(name): list(tensor.shape) for name, tensor in empty_clap.state_dict().items()}
    assert ours == msclap_shapes()


def test_the_clap_file_may_hold_its_front_end_and_logit_scale_and_nothing_else(empty_clap):
    known = {
        "logit_scale": [],
        "audio_encoder.base.spectrogram_extractor.stft.conv_real.weight": [513, 1, 1024],
        "audio_encoder.base.logmel_extractor.melW": [513, 64],
        "caption_encoder.base.embeddings.position_ids": [1, 512],
    }

    def load(shapes):
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        return strict_load(empty_clap, weights, empty_clap.published_name, empty_clap.allowed_extra)

    load({**msclap_shapes(), **known})
    for other in ("caption_encoder.base.embeddings.position_idx", "audio_encoder.base.fc2.weight", "logit_scales"):
        with pytest.raises(CheckpointError, match=f"1 surplus: {other}"):
            load({**msclap_shapes(), **known, other: [1]})


def test_a_published_file_of_torch_save_loads_by_path(weights, tmp_path):
    path = tmp_path / "student_model.ckpt"
    torch.save(weights, path)
    network = load_published("tinyclap-student", path=path, **STUDENTS[SMALL])
    assert torch.equal(network.audio.encoder.pn_block.bias, weights["base.pn_block.bias"])
    assert not network.training


def test_embeddings_are_unit_rows_for_clips_of_any_length_alone_and_in_a_batch(weights):
    network = load_small(weights)
    torch.manual_seed(0)
    clips = [torch.rand(n_samples) - 0.5 for n_samples in (400, 30_000, 100_000)]
    rows = network.embed_audio(clips, 16000)
    assert rows.shape == (3, 1024)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(network.embed_audio(clip, 16000)[0], row, atol=2e-5, rtol=0)


def test_a_text_needs_a_tokenizer_and_the_error_says_which(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.*bert-base-uncased"):
        hub_tokenizer(tmp_path / "nowhere", BERT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "clap"}, "no published network 'clap'; there are msclap2022"),
        ({"name": "efficientat-mn", "widht": 0.4, "state_dict": {}}, "takes width; not widht"),
        ({"name": "efficientat-mn"}, "either as state_dict or as path"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        load_published(**arguments)


def test_every_row_of_the_table_has_a_class_that_maps_names():
    for name, row in PUBLISHED.items():
        network = row.network_class()
        assert row.arguments is None or callable(network.published_name), name
        assert not row.encoder or (network.encoder_name("x.y") and network.not_encoder), name
    encoders = [row.encoder for row in PUBLISHED.values() if row.encoder]
    assert len(set(encoders)) == len(encoders), "one file for a kind of encoder"


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if row.arguments is not None])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_that_is_not_there_is_said_with_its_source(tmp_path, name, is_folder):
    path = tmp_path if is_folder else tmp_path / "nowhere.pt"
    with pytest.raises(CheckpointError) as caught:
        load_published(name, path=path)
    assert str(path) in str(caught.value) and PUBLISHED[name].source in str(caught.value)
    assert "\n" not in str(caught.value)
