"""Several teachers of one space as one: the mean of their targets, the text side of all, and what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F
from test_tagger import write_tagger

from tests import tiny
from tinyclap.checkpoints.state import save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.phinet import PhiNet
from tinyclap.models.student import AudioStudent
from tinyclap.teachers import CheckpointTeacher, EnsembleTeacher, TaggerTeacher, make_text_side


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A CLAP, and two students of it, of other weights."""
    folder = tmp_path_factory.mktemp("runs")
    text_side = CheckpointTeacher(tiny.saved_clap(folder / "clap")).load().text_side()
    return [folder / "clap", *(tiny.saved_student(folder / f"s{seed}", text_side, seed=seed) for seed in (1, 2))]


@pytest.fixture(scope="module")
def wavs():
    return torch.rand(3, 12_000, generator=torch.Generator().manual_seed(0)) - 0.5


def ensemble(runs, weights=None):
    return EnsembleTeacher([CheckpointTeacher(run) for run in runs], weights)


@pytest.mark.parametrize(("weights", "shares"), [(None, [0.5, 0.5]), ([3, 1], [0.75, 0.25]), ([0.1, 0.1], [0.5, 0.5])])
def test_embeddings_are_the_normalised_weighted_mean_of_normalised_ones(runs, wavs, weights, shares):
    teacher = ensemble(runs[1:], weights).load()
    rows = [CheckpointTeacher(run).load().embed_audio(wavs, 8000) for run in runs[1:]]
    wanted = F.normalize(sum(share * row for share, row in zip(shares, rows, strict=True)), dim=-1)
    torch.testing.assert_close(teacher.targets(wavs, 8000)["clip"], wanted)
    torch.testing.assert_close(teacher.embed_audio([wavs[0]], 8000), wanted[:1], atol=1e-5, rtol=1e-4)


def test_one_teacher_is_an_ensemble_that_changes_nothing(runs, wavs):
    alone = CheckpointTeacher(runs[0]).load()
    torch.testing.assert_close(ensemble(runs[:1]).load().embed_audio(wavs, 8000), alone.embed_audio(wavs, 8000))


def test_a_clap_and_its_students_share_a_space_and_their_text_side_scores_a_student(runs):
    teacher = ensemble(runs).load()
    again = make_text_side(json.loads(json.dumps(teacher.text_side())))
    torch.testing.assert_close(teacher.embed_text(["rain"]), tiny.clap().embed_text(["rain"]))
    torch.testing.assert_close(again.embed_classes([["rain", "a dog"]]), teacher.embed_classes([["rain", "a dog"]]))
    assert (teacher.embed_dim, teacher.score_kind, teacher.sample_rate_hz) == (16, "cosine", 16000)
    assert teacher.columns == ("clip",) and not teacher.training


def test_tags_of_taggers_are_averaged_in_both_spaces(tmp_path):
    files = [write_tagger(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    taggers = [TaggerTeacher(file, width=0.1).load() for file in files]
    teacher, wavs = EnsembleTeacher(taggers, [1, 3]).load(), torch.rand(2, 64_000) - 0.5
    rows = [tagger.targets(wavs, 32000, ["tags"])["tags"] for tagger in taggers]
    found = teacher.targets(wavs, 32000, ["tags", "clip"])
    torch.testing.assert_close(found["tags"], 0.25 * rows[0] + 0.75 * rows[1])
    assert teacher.score_kind == "sqrt_dot" and torch.equal(found["clip"], found["tags"])
    teacher.set_prior([0.5] * 527)
    assert all(tagger.text_side()["prior"] == [0.5] * 527 for tagger in taggers)


def test_who_an_ensemble_is_names_all_its_teachers_and_their_weights(runs):
    teacher = ensemble(runs, [2, 1, 1]).load()
    identity = json.loads(json.dumps(teacher.identity()))
    assert identity["weights"] == [0.5, 0.25, 0.25]
    assert identity["teachers"] == [CheckpointTeacher(run).load().identity() for run in runs]
    assert ensemble(runs, [1, 2, 1]).load().identity() != identity
    assert ensemble(runs[:2]).load().use_precision("bf16").identity()["teachers"][1]["precision"] == "bf16"


def test_teachers_of_other_spaces_are_refused(runs, tmp_path):
    other = tiny.saved_clap(tmp_path / "other", seed=9)
    with pytest.raises(ConfigError, match=r"teacher 2 of the ensemble \(checkpoint\) embeds texts otherwise"):
        ensemble([runs[0], other]).load()
    wide = tiny.saved_student(tmp_path / "wide", {"kind": "tag_space", "labels": ["a", "b"]}, embed_dim=2)
    with pytest.raises(ConfigError, match="has embed_dim 2, the first has 16"):
        ensemble([runs[0], wide]).load()
    files = [write_tagger(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    table = files[1].with_name("class_labels_indices.csv")
    table.write_text(table.read_text().replace("Sound 7", "Another"))
    with pytest.raises(ConfigError, match="has other labels than the first"):
        EnsembleTeacher([TaggerTeacher(file, width=0.1) for file in files]).load()


@pytest.mark.parametrize(
    "weights", [[1.0], [1, 2, 3], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")], [1, "2"], [1, None]]
)
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ConfigError, match="weights"):
        EnsembleTeacher([CheckpointTeacher("a"), CheckpointTeacher("b")], weights)


def test_an_ensemble_of_nobody_and_one_that_is_not_loaded_are_refused(runs, wavs):
    with pytest.raises(ConfigError, match="an ensemble of 0 teachers"):
        EnsembleTeacher([])
    with pytest.raises(CheckpointError, match="call load"):
        ensemble(runs).embed_audio(wavs, 8000)
    encoder = PhiNet(alpha=0.5, n_layers=4, t_zero=2)
    save_folder(AudioStudent(log_mel("clap2022"), encoder), runs[0].parent / "mute")
    with pytest.raises(CheckpointError, match="has no text side"):
        ensemble([runs[0], runs[0].parent / "mute"]).load()
