"""Scoring captioners: one caption a clip, whole tables, nothing scored without references or weights."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_run import QUIET

from data_prep.audiocaps_prepare import prepare_audiocaps
from tests import fakes
from tests.conftest import ROOT
from tinyclap.brains import CaptionScoreBrain
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.manifest import read_manifest, write_manifest
from tinyclap.data.scoring import collate_clips, make_test_set
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.metrics.captioning import METRICS, cider_d
from tinyclap.teachers.captioning import CaptioningTeacher

pytest.importorskip("aac_metrics", reason="needs the extra: pip install tinyclap[metrics]")
FAST = ["bleu_1", "rouge_l", "vocab"]


class PitchCaptioner(CaptioningTeacher):
    """Says in words how high a tone is and how long."""

    def __init__(self):
        super().__init__("pitch", "pitch.weights")
        self.scale = torch.nn.Parameter(torch.ones(2))
        self.sample_rate_hz, self.embed_dim, self.n_calls = 8000, 1, 0

    def _load(self):
        """Its weights are those of the start."""

    def _targets(self, clips, sample_rate_hz, columns):
        self.n_calls += 1
        pitches = [torch.fft.rfft(clip).abs().argmax().item() * sample_rate_hz / len(clip) for clip in clips]
        seconds = [len(clip) / sample_rate_hz for clip in clips]
        said = [f"A tone of {round(p, -1):.0f}, clip of {s:.1f} s." for p, s in zip(pitches, seconds, strict=True)]
        return {"clip": torch.tensor(pitches)[:, None] * self.scale[:1], "caption": said}

    def _decides(self):
        return {"beam": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """AudioCaps with three clips in each of two parts; one is stereo at another rate, one has no references."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in ("val", "test"):
        root = fakes.audiocaps(folder, split, duration_s=0.4)
    fakes.write_audio(root / "test/te-_0000001.wav", 0.9, rate=16000, channels=2, pitch_hz=600.0)
    part = {"split": ["val", "test"], "subset": "listed"}
    corpora = Corpora([Corpus("audiocaps", root, prepare_audiocaps, test=part)], folder / "manifests")
    corpora.prepare()
    path, root = corpora.manifests("test")[1]
    manifest = read_manifest(path, root)
    items = {item.pop("id"): item for item in manifest.items}
    for name, item in items.items():
        item["wav"] = f"{{data_root}}/{item['wav'].relative_to(root).as_posix()}"
        if name == "te-_0000002":
            del item["captions"]
    write_manifest(path, items, manifest.meta)
    return corpora


def score(corpora, folder, model=None, batch_size=4, **changes):
    """Evaluate as evaluate.py does; returns the Brain."""
    folder.mkdir(exist_ok=True)
    dataset, meta = make_test_set(corpora)
    hparams = {"output_folder": str(folder), "metrics": FAST, "bootstrap_seed": 3, **changes}
    brain = CaptionScoreBrain({"model": model or PitchCaptioner().load()}, hparams, {**QUIET})
    brain.start(meta)
    brain.evaluate(dataset, test_loader_kwargs={"batch_size": batch_size, "collate_fn": collate_clips})
    return brain


def rows_of(folder, name="predictions.csv"):
    with open(folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    return score(corpus, folder), folder


def test_every_clip_has_one_caption_of_its_whole_length_and_rate(scored):
    rows = {row["id"]: row for row in rows_of(scored[1])}
    assert len(rows) == 6 and not list(scored[1].glob("*.part"))
    assert rows["te-_0000001"]["caption_predicted"] == "A tone of 600, clip of 0.9 s."
    others = [row["caption_predicted"] for name, row in rows.items() if name != "te-_0000001"]
    assert all(caption.endswith("clip of 0.4 s.") for caption in others)


def test_the_submission_has_the_columns_of_dcase(scored):
    rows = rows_of(scored[1], "submission.csv")
    assert list(rows[0]) == ["file_name", "caption_predicted"]
    assert [row["file_name"] for row in rows] == [f"{part}-_000000{n}.wav" for part in ("va", "te") for n in range(3)]


def test_a_clip_without_references_is_listed_and_not_scored(scored):
    brain, folder = scored
    last = rows_of(folder)[-1]
    assert last["caption_predicted"] and last["cider_d"] == last["bleu_1"] == last["caption_1"] == ""
    results = brain.results
    assert (results["n_clips"], results["n_items"], results["n_without_references"]) == (6, 5, 1)
    assert results["references_per_clip"] == {"mean": 5.0, "least": 5, "most": 5}


def test_the_value_is_the_cider_d_of_the_rows(scored):
    brain, folder = scored
    rows = [row for row in rows_of(folder) if row["caption_1"]]
    references = [[row[f"caption_{number}"] for number in range(1, 6)] for row in rows]
    value = cider_d([row["caption_predicted"] for row in rows], references)
    assert brain.results["metric"] == "cider_d" and brain.results["value"] == pytest.approx(value, abs=1e-12)
    assert np.mean([float(row["cider_d"]) for row in rows]) == pytest.approx(value, abs=1e-5)
    low, high = brain.results["interval_95"]
    assert low <= value <= high and brain.results["metrics"]["cider_d"]["interval_95"] == [low, high]


def test_the_results_say_what_was_asked_and_what_it_cost(scored):
    brain, _ = scored
    results = json.loads(json.dumps(brain.results))
    assert list(results["metrics"]) == ["cider_d", *FAST] and results["captioner"] == {"kind": "pitch", "beam": 1}
    assert "caption_words" in results["tokenizer"] and "references" in results["idf"]
    assert results["words_per_caption"] == 9 and results["n_empty_captions"] == 0
    assert brain.complexity() == {"n_parameters": 2, "n_macs": 0, "macs_clip_s": 10.0, "macs_words": 9}
    assert brain.meta["split"] == "val+test"
    assert brain.summary().startswith("5 of 6 clips scored: cider_d 0.")


def test_the_batch_changes_nothing(scored, corpus, tmp_path):
    score(corpus, tmp_path, batch_size=1)
    for name in ("predictions.csv", "submission.csv"):
        assert (tmp_path / name).read_text("utf-8") == (scored[1] / name).read_text("utf-8")


def test_all_metrics_are_asked_for_by_default_and_missing_ones_are_named(corpus, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))
    results = score(corpus, tmp_path, metrics=None).results
    assert set(results["metrics"]) == set(METRICS)
    assert results["metrics"]["spice"]["value"] is None and "needs" in results["metrics"]["spice"]["missing"]
    assert "no spice: it needs" in caplog.text
    assert {row["spice"] for row in rows_of(tmp_path)} == {""}


def test_a_corpus_without_references_is_captioned(tmp_path):
    fakes.write_audio(tmp_path / "a.wav", 0.3)
    item = {"wav": "{data_root}/a.wav", "duration_s": 0.3, "sample_rate_hz": 8000, "n_channels": 1}
    meta = {"dataset": "toy", "version": "1", "split": "test", "classes": [], "options": {}, "code_version": "1"}
    write_manifest(tmp_path / "toy_test.json", {"a": item}, meta)
    corpora = Corpora([Corpus("toy", tmp_path, lambda **_: None, test={"split": "test"})], tmp_path)
    brain = score(corpora, tmp_path / "scores")
    assert brain.results["value"] is None and brain.results["n_clips"] == 1
    assert brain.results["metrics"]["bleu_1"] == {"value": None, "missing": "no clip has a reference"}
    assert rows_of(tmp_path / "scores", "submission.csv")[0]["file_name"] == "a.wav"
    assert brain.summary() == "0 of 1 clips scored: missing: cider_d, bleu_1, rouge_l, vocab"


def test_a_model_without_weights_is_refused_before_anything_is_written(corpus, tmp_path):
    with pytest.raises(CheckpointError, match="weights were not loaded"):
        score(corpus, tmp_path, PitchCaptioner())
    assert not (tmp_path / "predictions.csv").exists()


def test_metrics_that_are_none_are_refused_before_a_clip_is_captioned(corpus, tmp_path):
    model = PitchCaptioner().load()
    with pytest.raises(ConfigError, match="metrics rouge: unknown; choose among bleu_1"):
        score(corpus, tmp_path, model, metrics=["rouge"])
    assert model.n_calls == 0
    with pytest.raises(ConfigError, match="CaptionScoreBrain needs the YAML keys: metrics, bootstrap_seed"):
        CaptionScoreBrain({"model": model}, {"output_folder": "x"}, {**QUIET})


def test_captions_of_several_systems_stand_beside_the_references(scored, corpus, tmp_path):
    other = tmp_path / scored[1].name
    score(corpus, other)
    lines = (other / "predictions.csv").read_text("utf-8").splitlines(keepends=True)
    (other / "predictions.csv").write_text("".join([lines[0], *reversed(lines[2:])]), "utf-8")  # one clip less
    script = [sys.executable, str(ROOT / "recipes/side_by_side.py"), "--n_clips", "3", "--output"]
    pages = []
    for name, folders in (("a.md", (scored[1], other)), ("b.md", (other, scored[1]))):
        rows = [word for folder in folders for word in ("--row", f"tone={folder}")]
        done = subprocess.run([*script, str(tmp_path / name), *rows], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pages.append((tmp_path / name).read_text("utf-8"))
    assert pages[0] == pages[1]  # which clips are shown is decided by their names, not by an order or a score
    assert pages[0].count("* tone: **A tone of") == 6 and pages[0].count("* person: A dog barks") == 15
    refused = subprocess.run([*script, "x.md", "--row", f"a={tmp_path}"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "run evaluate.py first" in refused.stderr
