"""The ranking of a model over its training clips, as evaluate.py writes it, against embeddings that are made here."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_run import QUIET

from data_prep.esc50_prepare import prepare_esc50
from tests import fakes, tiny
from tinyclap.audio.io import read_audio
from tinyclap.brains import LatentRankingBrain
from tinyclap.checkpoints.state import save_folder
from tinyclap.config.kept_dims import read_order
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.scoring import collate_clips, make_training_clips
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower
from tinyclap.pruning.ranking import order_of
from tinyclap.teachers import make_teacher


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Eight clips of several lengths, and a CLAP whose two towers end in the published head, as a run's folder."""
    folder = tmp_path_factory.mktemp("ranking")
    root = fakes.esc50(folder, folds=(1, 2), n_per_fold=4, duration_s=0.5)
    for index, path in enumerate(sorted((root / "audio").iterdir())):
        fakes.write_audio(path, 0.4 + 0.5 * index % 1.9, pitch_hz=200.0 + 90 * index)
    part = {"split": "train", "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, prepare_esc50, train=part)], folder / "manifests")
    corpora.prepare()
    plain = tiny.student(embed_dim=12)
    torch.manual_seed(5)
    audio = AudioStudent(plain.features, plain.encoder, ClapProjection(plain.encoder.embed_dim, 12), {"window_s": 1.0})
    torch.nn.init.normal_(audio.projection.layer_norm.weight, std=1.0)
    text = WordTextTower(None, 12, width=16, n_layers=1, n_buckets=64)
    save_folder(Clap(audio, text).eval(), folder / "run" / "student", {"seed": 1})
    return folder, corpora


def rank(corpora, folder, model, n_clips=None, **changes):
    folder.mkdir(exist_ok=True)
    clips, meta = make_training_clips(corpora, n_clips)
    hparams = {"output_folder": str(folder), "statistic": "mean_abs", "projection_class": ClapProjection,
               "bootstrap_seed": 1, **changes}  # fmt: skip
    brain = LatentRankingBrain({"model": model}, hparams, {**QUIET})
    brain.start(meta)
    brain.evaluate(clips, test_loader_kwargs={"batch_size": 3, "collate_fn": collate_clips})
    return brain


@pytest.fixture(scope="module")
def ranked(place):
    """What was written, and the clips' own embeddings."""
    folder, corpora = place
    model = make_teacher("checkpoint", weights=str(folder / "run")).load()
    brain = rank(corpora, folder / "out", model)
    record = json.loads((folder / "out" / "ranking.json").read_text())
    with np.load(folder / "out" / "moments.npz") as archive:
        moments = dict(archive)
    clips = [read_audio(path) for path in sorted((folder / "ESC-50-master" / "audio").iterdir())]
    return brain, record, moments, [(torch.from_numpy(wav), rate) for wav, rate in clips]


def test_the_order_is_that_of_the_mean_absolute_entries_of_whole_clips(ranked, place):
    brain, record, moments, clips = ranked
    rows = torch.cat([brain.modules.model.embed_audio([wav], rate) for wav, rate in clips]).double().numpy()
    assert record["n_clips"] == len(clips) >= 8 and moments["mean"].shape == (12,)
    np.testing.assert_allclose(record["importance"], np.abs(rows).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(moments["mean_abs"], record["importance"])
    np.testing.assert_allclose(moments["second_moment"], rows.T @ rows / len(rows), atol=1e-5)
    assert np.trace(moments["second_moment"]) == pytest.approx(1.0, abs=1e-5)  # unit rows
    assert record["order"] == order_of(record["importance"]) == read_order(place[0] / "out")


def test_the_record_says_what_was_ranked_and_on_what(ranked, place):
    brain, record, _, _ = ranked
    config = json.loads((place[0] / "run" / "student" / "config.json").read_text())
    assert record["model"]["weights_sha256"] == config["weights_sha256"] and record["model"]["kind"] == "checkpoint"
    assert record["ranking"] == "mean_abs" and record["normalised"] is True and record["format"] == 1
    assert record["corpora"] == place[1].describe()
    assert brain.results["n_items"] == record["n_clips"] and 0 < brain.results["value"] < 1
    assert "12 dimensions ranked over" in brain.summary()


def test_the_head_s_own_moments_are_of_what_went_through_it(ranked):
    brain, _, moments, clips = ranked
    student = brain.modules.model.model.audio
    hidden, before = [], []

    def see(windows):
        first = student.projection.linear1(student.encoder(student.features(windows)).clip)
        hidden.append(F.gelu(first))
        before.append(first + student.projection.linear2(hidden[-1]))
        return before[-1]

    for wav, rate in clips:
        student.embed_windows(see, [wav], rate)
    hidden, before = torch.cat(hidden).double().numpy(), torch.cat(before).double().numpy()
    assert len(before) > len(clips)  # a clip longer than a window has several
    np.testing.assert_allclose(moments["pre_norm_mean"], before.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(moments["pre_norm_second_moment"], before.T @ before / len(before), atol=1e-5)
    np.testing.assert_allclose(moments["hidden_mean"], hidden.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(moments["hidden_std"], hidden.std(axis=0), atol=1e-5)
    head = student.projection
    assert not head.linear1._forward_hooks and not head.layer_norm._forward_pre_hooks


def test_a_head_of_another_kind_has_no_inside_moments(place, tmp_path):
    tiny.saved_clap(tmp_path / "run")
    rank(place[1], tmp_path / "out", make_teacher("checkpoint", weights=str(tmp_path / "run")).load(), n_clips=3)
    with np.load(tmp_path / "out" / "moments.npz") as archive:
        assert set(archive.files) == {"mean", "mean_abs", "std", "second_moment"}


def test_a_part_of_the_clips_is_always_the_same_part(place):
    few, meta = make_training_clips(place[1], 3)
    more, _ = make_training_clips(place[1], 5)
    names = [few[index]["id"] for index in range(len(few))]
    assert len(names) == 3 and set(names) < {more[index]["id"] for index in range(5)}
    assert meta["options"] == {"n_clips": 3} and meta["dataset"] == "esc50"
    with pytest.raises(ConfigError, match="n_clips is 0"):
        make_training_clips(place[1], 0)


def test_by_variance_the_order_is_another(place, tmp_path):
    model = make_teacher("checkpoint", weights=str(place[0] / "run")).load()
    rank(place[1], tmp_path / "out", model, statistic="variance")
    record = json.loads((tmp_path / "out" / "ranking.json").read_text())
    with np.load(tmp_path / "out" / "moments.npz") as archive:
        assert record["order"] == order_of(archive["std"]) and record["ranking"] == "variance"


def test_nothing_is_ranked_without_weights_or_by_an_unknown_statistic(place, tmp_path):
    model = make_teacher("checkpoint", weights=str(place[0] / "run"))
    with pytest.raises(CheckpointError, match="weights were not loaded"):
        rank(place[1], tmp_path / "a", model)
    with pytest.raises(ConfigError, match="choose one of mean_abs, variance"):
        rank(place[1], tmp_path / "b", model.load(), statistic="median")
    assert not list(tmp_path.glob("*/ranking.json"))
