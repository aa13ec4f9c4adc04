"""Zero-shot scoring: class names embedded once, nothing scored without weights, the order of clips is no matter."""

import csv
import json

import numpy as np
import pytest
import torch
from small_run import QUIET

from data_prep import esc50_prepare
from tests import fakes
from tinyclap.brains import ZeroShotBrain
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.scoring import collate_clips, make_test_set
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.teachers.base import FrozenTeacher


class PitchModel(FrozenTeacher):
    """Hears the pitch of the fake corpus' tones: one dimension a class."""

    def __init__(self, pitches_hz):
        super().__init__("pitch")
        self.pitches_hz, self.n_text_calls = pitches_hz, 0
        self.embed_dim = len(pitches_hz)

    def _load(self):
        """It has no weights."""

    def embed_audio(self, wavs, sample_rate_hz):
        """Magnitude of each class's pitch: (B, N)."""
        self._require_loaded()
        return torch.stack([self._heard(wav, sample_rate_hz) for wav in wavs])

    def _heard(self, wav, sample_rate_hz):
        time_s = torch.arange(len(wav)) / sample_rate_hz
        phases = 2 * torch.pi * torch.tensor(list(self.pitches_hz.values()))[:, None] * time_s
        return torch.hypot(phases.sin() @ wav, phases.cos() @ wav)

    def embed_text(self, texts):
        """One-hot by the class that a text ends with: (N, N)."""
        self.n_text_calls += 1
        names = list(self.pitches_hz)
        return torch.eye(len(names))[[names.index(text.split()[-1]) for text in texts]]


CLASSES = ("dog", "rooster", "pig")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three classes of tones, two folds; one recording at another rate."""
    folder = tmp_path_factory.mktemp("corpus")
    root = fakes.esc50(folder, classes=CLASSES, folds=(1, 5), n_per_fold=4, duration_s=0.3)
    pitches_hz = {name: fakes._pitch(esc50_prepare.CLASSES.index(name)) for name in CLASSES}
    assert len(set(pitches_hz.values())) == 3
    other = sorted((root / "audio").iterdir())[0]
    target = int(other.stem.split("-")[-1])
    fakes.write_audio(other, 0.3, rate=16000, pitch_hz=fakes._pitch(target))
    esc50_prepare.prepare_esc50(root, folder, subset="listed")
    return root, folder / "esc50_test.json", pitches_hz


def score(corpus, folder, model=None, order=None, **changes):
    root, manifest, pitches_hz = corpus
    part = {"split": "test", "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, esc50_prepare.prepare_esc50, test=part)], manifest.parent)
    dataset, meta = make_test_set(corpora)
    if order is not None:
        dataset = torch.utils.data.Subset(dataset, order)
    model = model or PitchModel(pitches_hz).load()
    folder.mkdir(exist_ok=True)
    hparams = {
        "output_folder": str(folder),
        "prompt_templates": None,
        "prompt_underscores": "space",
        "prompt_slashes": "space",
        "bootstrap_seed": 3,
        "ranking": None,
        "kept_dims": None,
        "save_embeddings": False,
        **changes,
    }
    brain = ZeroShotBrain({"model": model}, hparams, {**QUIET})
    brain.start(meta if set(meta["classes"]) == set(CLASSES) else {**meta, "classes": list(CLASSES)})
    brain.evaluate(dataset, test_loader_kwargs={"batch_size": 5, "collate_fn": collate_clips})
    return brain


def test_every_clip_is_scored_against_class_names_that_are_embedded_once(corpus, tmp_path):
    brain = score(corpus, tmp_path)
    results = brain.results
    assert results["value"] == 1.0 and results["n_items"] == 24 and results["n_classes"] == 3
    assert brain.modules.model.n_text_calls == 1
    assert sorted(prompt for of_class in results["prompts"] for prompt in of_class) == sorted(
        f"this is the sound of {name}" for name in CLASSES
    )
    assert results["per_fold"] == {1: {"accuracy": 1.0, "n": 12}, 5: {"accuracy": 1.0, "n": 12}}
    assert {name: entry["n"] for name, entry in results["per_class"].items()} == dict.fromkeys(CLASSES, 8)
    json.dumps(results)  # what metrics.json gets
    assert brain.summary() == "zero-shot top-1 accuracy 100.00 % (95 % interval 100.00 to 100.00, n = 24, 3 classes)"


def test_clips_without_a_fold_are_scored_beside_those_of_folds(corpus, tmp_path):
    root, manifest, pitches_hz = corpus
    prepared = json.loads(manifest.read_text(encoding="utf-8"))
    mixed = tmp_path / "mixed" / manifest.name
    mixed.parent.mkdir()
    for place, item in enumerate(prepared["items"].values()):
        if place % 3:  # as the evaluation part of TUT 2017, which has no folds, beside the development part
            del item["fold"]
    mixed.write_text(json.dumps(prepared), encoding="utf-8")
    results = score((root, mixed, pitches_hz), tmp_path / "scores").results
    assert results["value"] == 1.0 and results["n_items"] == 24
    assert sum(fold["n"] for fold in results["per_fold"].values()) == 8


def test_predictions_hold_every_score(corpus, tmp_path):
    deaf = PitchModel({**corpus[2], "pig": corpus[2]["dog"] * 1.001}).load()  # takes every pig for something else
    brain = score(corpus, tmp_path, deaf)
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and not list(tmp_path.glob("*.part"))
    assert np.mean([int(row["correct"]) for row in rows]) == pytest.approx(brain.results["value"])
    assert brain.results["per_class"]["pig"]["accuracy"] < 1
    low, high = brain.results["interval_95"]
    assert low < brain.results["value"] < high
    for row in rows:
        scores = {name: float(row[f"score:{name}"]) for name in brain.classes}
        assert max(scores, key=scores.get) == row["prediction"]
        assert int(row["correct"]) == (row["prediction"] == row["label"])


def test_the_order_of_the_clips_changes_nothing(corpus, tmp_path):
    first = score(corpus, tmp_path / "a")
    order = np.random.default_rng(0).permutation(24)
    second = score(corpus, tmp_path / "b", order=order)
    for key in ("value", "per_class", "per_fold", "n_recordings"):
        assert first.results[key] == second.results[key]
    lines = [sorted((tmp_path / name / "predictions.csv").read_text().splitlines()) for name in "ab"]
    assert lines[0] == lines[1]


def test_a_model_without_weights_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(CheckpointError, match="weights were not loaded"):
        score(corpus, tmp_path, PitchModel(corpus[2]))
    assert not (tmp_path / "predictions.csv").exists()


def test_prompts_of_the_recipe_replace_the_model_s(corpus, tmp_path):
    results = score(corpus, tmp_path, prompt_templates=["{}", "the sound of {}"]).results
    assert ["dog", "the sound of dog"] in results["prompts"] and results["value"] == 1.0


def test_missing_keys_are_named():
    with pytest.raises(ConfigError, match="prompt_slashes, bootstrap_seed, ranking, kept_dims, save_embeddings"):
        ZeroShotBrain({"model": torch.nn.Identity()}, {"output_folder": "x"}, {**QUIET})


def test_with_fewer_dimensions_the_classes_that_lose_theirs_are_no_longer_heard(corpus, tmp_path):
    ranking = tmp_path / "ranking.json"
    order = [list(corpus[2]).index(name) for name in ("dog", "pig", "rooster")]
    ranking.write_text(json.dumps({"order": order}))
    whole = score(corpus, tmp_path / "a", ranking=str(ranking), kept_dims=3).results
    assert whole["value"] == 1.0 and (whole["n_dims"], whole["kept_dims"]) == (3, 3)
    fewer = score(corpus, tmp_path / "b", ranking=str(ranking), kept_dims=2).results
    accuracies = {name: entry["accuracy"] for name, entry in fewer["per_class"].items()}
    assert accuracies == {"dog": 1.0, "pig": 1.0, "rooster": 0.0} and fewer["kept_dims"] == 2


def test_what_is_left_of_both_sides_is_normalised_again(corpus, tmp_path):
    ranking = tmp_path / "ranking.json"
    ranking.write_text(json.dumps({"order": [1, 0, 2]}))
    brain = score(corpus, tmp_path / "a", ranking=str(ranking), kept_dims=1)
    scores = torch.cat(brain.scores)
    # one dimension is left: a cosine is 1 or, where the class has nothing in it, 0
    assert set(scores.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kept_dims": 2}, "ranking and kept_dims go together"),
        ({"ranking": "{ranking}"}, "ranking and kept_dims go together"),
        ({"ranking": "{ranking}", "kept_dims": 0}, "keep from 1 to 3"),
        ({"ranking": "{ranking}", "kept_dims": 4}, "keep from 1 to 3"),
        ({"ranking": "{other}", "kept_dims": 2}, "a ranking of 4 dimensions for embeddings of 3"),
    ],
)
def test_an_order_that_cannot_be_applied_is_refused(corpus, tmp_path, changes, message):
    files = {"ranking": [0, 1, 2], "other": [0, 1, 2, 3]}
    for name, order in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"order": order}))
    paths = {name: str(tmp_path / f"{name}.json") for name in files}
    changes = {key: value.format(**paths) if isinstance(value, str) else value for key, value in changes.items()}
    with pytest.raises(ConfigError, match=message):
        score(corpus, tmp_path / "out", **changes)


def test_saved_embeddings_give_the_same_scores_again(corpus, tmp_path):
    brain = score(corpus, tmp_path / "a", save_embeddings=True)
    with np.load(tmp_path / "a" / "embeddings.npz") as archive:
        saved = dict(archive)
    again = brain.modules.model.score(torch.from_numpy(saved["audio"]), torch.from_numpy(saved["text"]))
    torch.testing.assert_close(again, torch.cat(brain.scores))
    assert saved["audio"].shape == (24, 3) and saved["audio"].dtype == saved["text"].dtype == np.float32
    assert [brain.classes[index] for index in saved["labels"]] == [item["label"] for item in brain.items]
    assert saved["ids"].tolist() == [item["id"] for item in brain.items]
    assert set(saved["folds"].tolist()) == {"1", "5"} and len(saved["groups"]) == 24
    assert str(saved["score_kind"]) == "cosine"
    score(corpus, tmp_path / "b")
    assert not (tmp_path / "b" / "embeddings.npz").exists()
