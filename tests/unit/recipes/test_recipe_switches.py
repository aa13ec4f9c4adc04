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
    given = {"clotho_folder": str(tmp_path), "teacher_weights": "download", "output_folder": str(tmp_path / "run")}
    return lambda **changes: load_hparams(RECIPE, {**given, **changes})


def test_the_student_is_that_of_the_paper_unless_another_is_asked_for(recipe):
    hparams = recipe()
    encoder = hparams["student"]["encoder"]
    assert encoder.config == PhiNet(n_mels=64, t_zero=6, squeeze_excite=False, h_swish=False).config
    assert (hparams["student"]["front_end"], hparams["sample_rate_hz"]) == ("clap2022", 44100)
    hparams["student"]["first_weights"].load()  # none
    weights = {name: term["weight"] for name, term in hparams["terms"].items()}
    assert weights == {"distill": 1.0, "text": 0.0} and hparams["repeat_by_captions"] is False


def test_the_teacher_s_own_network_as_student_is_as_large_as_the_teacher(recipe):
    student = recipe(student="cnn14")["student"]["model"]
    assert sum(parameter.numel() for parameter in student.parameters()) == 82_821_568
    assert student.sample_rate_hz == 44100


def test_a_tagger_as_student_hears_through_its_own_front_end_and_begins_with_its_weights(recipe, tmp_path):
    (tmp_path / "mn01.pt").touch()
    hparams = recipe(student="mn", width=0.1, encoder_weights=str(tmp_path / "mn01.pt"))
    student = hparams["student"]["model"]
    assert isinstance(student.encoder, MobileNet) and not hasattr(student.encoder, "classifier")
    assert (student.sample_rate_hz, hparams["sample_rate_hz"], student.features.n_mels) == (32000, 32000, 128)
    assert hparams["views"].sample_rate_hz == 32000 and student.embed_dim == 1024
    with pytest.raises(CheckpointError, match="mn01.pt: the file is empty"):
        hparams["load_weights"][0].load()


def test_the_sizes_of_a_phinet_are_not_given_to_another_network(recipe):
    widths = [4, 4, 8, 8, 8, 16]
    config = recipe(student="cnn14", block_widths=widths, head="linear")["student"]["encoder"].config
    assert config["channels"] == widths and "alpha" not in config
    with pytest.raises(ConfigError, match="alpha"):
        recipe(student="cnn14", alpha=0.5)


def test_an_unknown_student_is_refused(recipe):
    with pytest.raises(ConfigError, match="choose one of .*cnn14.*mn.*phinet"):
        recipe(student="vit")


@pytest.mark.parametrize("name", ["esc50", "urbansound8k", "tut17", "soundscapes"])
def test_clips_are_read_our_way_unless_a_public_code_s_is_asked_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {"data_folder": str(tmp_path), "weights": "msclap2022", "output_folder": str(tmp_path / "out")}
    path = ROOT / "hparams" / f"{name}.yaml"
    assert load_hparams(path, given)["make_datasets"].keywords["loader"].kind == "ours"
    loader = load_hparams(path, {**given, "loader": "official"})["make_datasets"].keywords["loader"]
    assert (loader.kind, loader.seed) == ("official", 1234)
