"""A model's card: front matter that the hub can read, scores with their n, and every part's licence."""

import importlib
import json
import re

import pytest

from tinyclap.errors import ConfigError
from tinyclap.inference.model_card import CORPORA, licences_of, model_card, read_metrics, result_of

METRICS = {
    "dataset": "esc50",
    "metric": "zero-shot top-1 accuracy",
    "value": 0.875,
    "interval_95": [0.75, 1.0],
    "n_items": 8,
    "n_classes": 4,
    "options": {"folds": [5], "place": "/home/somebody"},
    "model": {"weights": "/home/somebody/run"},
    "commit": "abc",
}
SAVED = {
    "format": 1,
    "model": {"type": "AudioStudent"},
    "weights_sha256": "0" * 64,
    "seed": 7,
    "teacher": "msclap2022",
    "text_side": {"kind": "msclap2022"},
    "corpora": [{"name": "esc50"}, {"name": "soundscapes"}, {"name": "esc50"}],
}


def front_matter(card):
    yaml = pytest.importorskip("yaml", reason="to read the front matter as the hub does")
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])


def test_front_matter_says_what_the_hub_asks():
    front = front_matter(model_card(SAVED, [METRICS], "me/tiny"))
    assert front["library_name"] == "tinyclap" and front["pipeline_tag"] == "zero-shot-audio-classification"
    assert front["license"] == "other" and front["datasets"] == ["esc50", "soundscapes"]
    result = front["model-index"][0]["results"][0]
    assert result["metrics"][0]["value"] == 0.875 and result["metrics"][0]["args"]["n_items"] == 8
    assert result["metrics"][0]["args"]["interval_95"] == [0.75, 1.0]
    assert result["dataset"] == {"type": "esc50", "name": "esc50 fold 5", "split": "test"}


def test_the_hub_library_reads_the_scores():
    repocard = pytest.importorskip(
        "huggingface_hub.repocard", reason="the hub is an extra: pip install 'tinyclap[hub]'"
    )
    data = repocard.ModelCard(model_card(SAVED, [METRICS], "me/tiny")).data
    assert [(each.dataset_name, each.metric_value) for each in data.eval_results] == [("esc50 fold 5", 0.875)]


def test_words_that_yaml_takes_for_others_stay_words():
    named = {**SAVED, "card": {"license": "no", "base_model": "a: b", "summary": "x", "datasets": ["null", "7"]}}
    front = front_matter(model_card(named))
    assert (front["license"], front["base_model"], front["datasets"]) == ("no", "a: b", ["null", "7"])


def test_no_folder_of_a_machine_is_told():
    card = model_card(SAVED, [METRICS], "me/tiny")
    assert "somebody" not in card and "/home" not in json.dumps(result_of(METRICS))
    assert "| esc50 fold 5 | zero-shot top-1 accuracy | 0.8750 | 0.7500 … 1.0000 | 8 |" in card


def test_licences_name_code_teacher_text_side_and_data():
    chain = dict(licences_of(SAVED))
    assert chain["teacher: Microsoft CLAP 2022"] == chain["text side: text tower of Microsoft CLAP 2022"] == "MS-PL"
    assert chain["data: esc50"].startswith("CC BY-NC")
    free = {**SAVED, "corpora": [{"name": "soundscapes"}]}
    assert front_matter(model_card(free))["license"] == "apache-2.0"
    assert front_matter(model_card({**free, "teacher": "somebody's"}))["license"] == "other"
    assert ("data", "not stated") in licences_of({**SAVED, "corpora": []})


def test_licences_of_corpora_are_those_that_their_preparations_state():
    assert len(CORPORA) >= 8
    for name, licence in CORPORA.items():
        source = importlib.import_module(f"data_prep.{name}_prepare").__file__
        with open(source, encoding="utf-8") as text:
            assert f'licence="{licence}"' in text.read(), name


def test_a_captioner_is_shown_as_one():
    card = model_card({"kind": "captioner", "sample_rate_hz": 32000}, [], "captioner")
    assert "model.caption('dog.wav')" in card and "pipeline_tag" not in card
    assert "describes sounds in words" in card


def test_metrics_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="lack value, n_items"):
        model_card(SAVED, [{"dataset": "a", "metric": "b"}])
    with pytest.raises(ConfigError, match="missing.json: no such file"):
        read_metrics([tmp_path / "missing.json"])
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS), "utf-8")
    assert read_metrics(tmp_path / "metrics.json") == [METRICS] == read_metrics(str(tmp_path / "metrics.json"))
