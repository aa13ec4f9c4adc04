"""The recipe with a corpus and weights named is the paper's experiment; without them it is the demonstration."""

import pytest

from tests.conftest import ROOT
from tinyclap.models.projection import ClapProjection
from tinyclap.training.recipe import load_hparams

RECIPE = ROOT / "hparams" / "distill_phinet.yaml"


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """The objects of the recipe as one builds them who has Clotho and the published weights."""
    monkeypatch.chdir(ROOT)
    overrides = {"clotho_folder": str(tmp_path), "teacher_weights": "CLAP_2022"}
    return load_hparams(RECIPE, {**overrides, "output_folder": str(tmp_path / "run")})


def test_the_student_is_the_headline_student(paper):
    assert sum(parameter.numel() for parameter in paper["student"]["model"].parameters()) == 4_434_547
    assert isinstance(paper["student"]["model"].projection, ClapProjection)
    assert (paper["student"]["model"].embed_dim, paper["student"]["model"].sample_rate_hz) == (1024, 44100)


def test_the_schedule_is_that_of_the_official_code(paper):
    keys = ("number_of_epochs", "batch_size", "lr", "clip_duration_s", "seed")
    assert tuple(paper[key] for key in keys) == (100, 64, 0.012, 5.0, 1234)
    assert (paper["teacher"]["model"].kind, str(paper["teacher"]["model"].weights)) == ("msclap2022", "CLAP_2022")


def test_only_the_named_corpora_are_used(paper):
    assert [corpus.name for corpus in paper["corpora"].corpora] == ["clotho"]
