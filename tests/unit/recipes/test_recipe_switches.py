"""The switches of the distillation recipes: what they are when nobody turns them, and what they build when one does."""

import pytest

from tests.conftest import ROOT
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet
from tinyclap.training.recipe import load_hparams

RECIPE = ROOT / "hparams" / "distill_phinet.yaml"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Builds the recipe as for one who has Clotho and the published teacher, with changes."""
    monkeypatch.chdir(ROOT)
    given = {"clotho_folder": str(tmp_path), "teacher_weights": "x.pth", "output_folder": str(tmp_path / "run")}
    return lambda **changes: load_hparams(RECIPE, {**given, **changes})


def test_the_student_is_that_of_the_paper_unless_another_is_asked_for(recipe):
    hparams = recipe()
    encoder = hparams["student"].encoder
    assert encoder.config == PhiNet(n_mels=64, t_zero=6, squeeze_excite=False, h_swish=False).config
    assert (hparams["front_end"], hparams["sample_rate_hz"]) == ("clap2022", 44100)
    hparams["first_weights"].load()  # none
    assert hparams["loss_weights"] == {"distill": 1.0, "text": 0.0} and hparams["repeat_by_captions"] is False


def test_the_teacher_s_own_network_as_student_is_as_large_as_the_teacher(recipe):
    student = recipe(encoder="cnn14")["student"]
    assert sum(parameter.numel() for parameter in student.parameters()) == 82_821_568
    assert student.sample_rate_hz == 44100


def test_a_tagger_as_student_hears_through_its_own_front_end_and_begins_with_its_weights(recipe, tmp_path):
    hparams = recipe(encoder="mn", encoder_options={"width": 0.1}, encoder_weights=str(tmp_path / "mn01.pt"))
    student = hparams["student"]
    assert isinstance(student.encoder, MobileNet) and not hasattr(student.encoder, "classifier")
    assert (student.sample_rate_hz, hparams["sample_rate_hz"], student.features.n_mels) == (32000, 32000, 128)
    assert hparams["views"].sample_rate_hz == 32000 and student.embed_dim == 1024
    with pytest.raises(CheckpointError, match="mn01.pt: no such file"):
        hparams["load_weights"][0].load()


def test_the_sizes_of_a_phinet_are_not_given_to_another_network(recipe):
    options = {"channels": [4, 4, 8, 8, 8, 16]}
    config = recipe(encoder="cnn14", encoder_options=options, head="linear", alpha=0.5)["student"].encoder.config
    assert config["channels"] == options["channels"] and "alpha" not in config


def test_an_unknown_encoder_is_refused(recipe):
    with pytest.raises((ConfigError, ValueError), match="encoder 'vit' is unknown; choose one of effb2, phinet, mn"):
        recipe(encoder="vit")


@pytest.mark.parametrize("name", ["esc50", "urbansound8k", "tut17", "soundscapes"])
def test_clips_are_read_our_way_unless_a_public_code_s_is_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {"data_folder": str(tmp_path), "weights": str(tmp_path / "run"), "output_folder": str(tmp_path / "out")}
    path = ROOT / "hparams" / f"{name}.yaml"
    assert load_hparams(path, given)["make_datasets"].keywords["loader"] is None
    loader = load_hparams(path, {**given, "loader": "official"})["make_datasets"].keywords["loader"]
    assert loader.options == {"loader": "official", "loader_seed": 1234}
