"""prune.py from a ranking that evaluate.py wrote to scores that are those of masking, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
import prune
from tests import fakes, tiny
from tinyclap.checkpoints.state import load_student, save_folder
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics.cost import complexity
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower
from tinyclap.pruning.ranking import MOMENTS

HPARAMS = Path(__file__).resolve().parents[2] / "hparams"
N_DIMS = 16


class Place:
    """A tiny ESC-50, a CLAP with the published head, whose bias is not zero, and its ranking."""

    def __init__(self, folder):
        self.folder = folder
        self.corpus = fakes.esc50(folder, folds=(1, 2), n_per_fold=2)
        save_folder(self._clap(), folder / "clap" / "student", {"seed": 5})
        self.rankings = {"clap": self.rank(folder / "clap")}

    @staticmethod
    def _clap():
        plain = tiny.student(embed_dim=N_DIMS)
        torch.manual_seed(5)
        head = ClapProjection(plain.encoder.embed_dim, N_DIMS)
        torch.nn.init.normal_(head.layer_norm.bias, std=0.5)
        audio = AudioStudent(plain.features, plain.encoder, head, {"window_s": 1.0})
        return Clap(audio, WordTextTower(None, N_DIMS, width=16, n_layers=1, n_buckets=64)).eval()

    def rank(self, run):
        ranking = self.folder / f"{run.name}_ranking"
        self._evaluate("rank_latent.yaml", run, ranking, "--esc50_folder", self.corpus, "--corpus_subset", "listed")
        return ranking

    def score(self, run, name, *more):
        """Scores of every clip with every class, (n, N)."""
        output = self.folder / "scores" / name
        self._evaluate("esc50.yaml", run, output, "--data_folder", self.corpus, "--subset", "listed", *more)
        with open(output / "predictions.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return np.array([[float(row[key]) for key in row if key.startswith("score:")] for row in rows])

    @staticmethod
    def _evaluate(recipe, run, output, *more):
        words = [HPARAMS / recipe, "--weights", run, "--output_folder", output, "--device", "cpu", *more]
        evaluate.main([str(word) for word in words])

    def prune(self, target, *more, run="clap", ranking="clap"):
        """Run prune.py; returns the target's folder and its pruning.json."""
        words = [self.folder / run, "--ranking", self.rankings[ranking], "--target", self.folder / target, *more]
        assert prune.main([str(word) for word in words]) == 0
        return self.folder / target, json.loads((self.folder / target / "pruning.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("prune"))


def test_removed_rows_score_as_masked_ones_and_say_what_they_cost(place, capsys):
    folder, report = place.prune("exact", "--dim", "4", "--statistic_rows", "all", "--check_audio", place.corpus)
    shown = capsys.readouterr().out
    masked = place.score(place.folder / "clap", "masked", "--ranking", place.rankings["clap"], "--kept_dims", "4")
    assert np.abs(place.score(folder, "removed") - masked).max() < 2e-5
    assert report["exact"] and report["difference"]["max_abs"] < 1e-5
    assert report["difference"]["clips"] == "ESC-50-master" and report["difference"]["n_windows"] == 12
    student, config = load_student(folder)
    assert config["latent"]["kept"] == config["latent"]["order"][:4] and config["latent"]["n_dims"] == N_DIMS
    assert config["latent"]["ranking"] == "mean_abs" and config["latent"]["n_clips"] == 12 and config["seed"] == 5
    assert report["after"] == complexity(student) and student.embed_dim == 4
    assert f"{report['after']['n_parameters']:,}" in shown and "exact" in shown


def test_directions_of_the_ranking_cost_less_and_come_near(place):
    reports = {rows: place.prune(f"rows{rows}", "--dim", "4", "--statistic_rows", rows)[1] for rows in ("0", "6", "12")}
    errors = [report["difference"]["max_abs"] for report in reports.values()]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5
    sizes = [report["after"]["n_parameters"] for report in reports.values()]
    assert sizes[0] < sizes[1] and sizes[0] < reports["0"]["before"]["n_parameters"]
    assert [report["exact"] for report in reports.values()] == [False, False, True]
    assert reports["6"]["how"].startswith("approximated: the LayerNorm's scale by 6 directions")
    hint = "--statistic_rows all is exact and needs no more"  # 6 rows of W1 and W2 each, in the place of 12 of W2
    assert hint in reports["6"]["how"] and hint not in reports["0"]["how"]


def test_the_order_alone_makes_every_dim_load(place):
    folder, report = place.prune("ordered")
    assert report["kept_dims"] == N_DIMS and report["difference"]["max_abs"] == 0
    masked = place.score(place.folder / "clap", "masked7", "--ranking", folder, "--kept_dims", "7")
    given = place.score(folder, "dim7", "--dim", "7")
    assert np.abs(given - masked).max() < 2e-5


def test_a_share_hidden_units_and_folding_together(place):
    student = place.folder / "clap_audio"
    model, config = load_student(place.folder / "clap")
    save_folder(model.audio, student, {"text_side": {"kind": "checkpoint", "weights": str(place.folder / "clap")}})
    place.rankings["clap_audio"] = place.rank(student)
    folder, report = place.prune(
        "small", "--kept_fraction", "0.25", "--hidden_fraction", "0.5", "--statistic_rows", "2", "--fold",
        run="clap_audio", ranking="clap_audio",
    )  # fmt: skip
    small, config = load_student(folder)
    assert small.folded and small.embed_dim == 4 and small.projection.n_hidden < N_DIMS
    assert report["n_hidden"] == small.projection.n_hidden and not report["exact"] and report["folded"]
    assert 0 < report["difference"]["max_abs"] < 1 and report["difference"]["cosine_mean"] > 0.5
    assert place.score(folder, "small").shape == (12, 3)
    with pytest.raises(ConfigError, match="has 4 of 16 dimensions left already"):
        place.prune("smaller", "--dim", "2", run="small", ranking="clap_audio")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dim", "17"], "--dim is from 1 to 16, not 17"),
        (["--dim", "4", "--kept_fraction", "0.5"], "not both"),
        (["--kept_fraction", "0"], r"in \(0, 1\], not 0"),
        (["--hidden_fraction", "0.5"], "goes with --dim"),
        (["--dim", "4", "--statistic_rows", "few"], "a number or all, not few"),
        (["--dim", "4", "--fold"], "a Clap does not fold"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nothing_is_written(place, words, message):
    with pytest.raises(ConfigError, match=message):
        place.prune("refused", *words)
    assert not (place.folder / "refused").exists()


def test_rankings_that_do_not_fit_are_refused(place, tmp_path):
    other = tiny.saved_clap(place.folder / "other")
    with pytest.raises(ConfigError, match="ranks other weights"):
        place.prune("refused", run=other.name)
    with pytest.raises(CheckpointError, match="no ranking.json"):
        prune.main([str(place.folder / "clap"), "--ranking", str(tmp_path), "--target", str(tmp_path / "x")])
    for target in ("clap", "clap/student"):
        with pytest.raises(ConfigError, match="holds the model that is to be pruned"):
            place.prune(target)
    (tmp_path / "ranking.json").write_text((place.rankings["clap"] / "ranking.json").read_text())
    assert (place.rankings["clap"] / MOMENTS).is_file() and not (tmp_path / MOMENTS).exists()
    words = [str(place.folder / "clap"), "--ranking", str(tmp_path), "--target", str(tmp_path / "x"), "--dim", "4"]
    with pytest.raises(ConfigError, match="needs pre_norm_second_moment"):
        prune.main([*words, "--statistic_rows", "3"])
    assert prune.main([*words, "--statistic_rows", "all"]) == 0
