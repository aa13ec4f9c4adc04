"""A run uses the corpora whose folders were named, and no others."""

import pytest

from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.errors import ConfigError


@pytest.fixture
def calls():
    return []


@pytest.fixture
def prepare(calls):
    return lambda **options: calls.append(options)


def test_a_corpus_without_a_folder_is_left_out(prepare, calls, tmp_path):
    named = Corpus("clotho", "/corpora/clotho", prepare, train={"split": "development"}, valid={"split": "validation"})
    absent = Corpus("macs", None, prepare, train={"split": "train"})
    corpora = Corpora([absent, named], tmp_path)
    corpora.prepare()
    assert [(call["data_folder"], call["split"]) for call in calls] == [
        ("/corpora/clotho", "development"),
        ("/corpora/clotho", "validation"),
    ]
    assert corpora.manifests("train") == [(tmp_path / "clotho_development.json", "/corpora/clotho")]
    assert corpora.manifests("valid") == [(tmp_path / "clotho_validation.json", "/corpora/clotho")]
    assert corpora.manifests("test") == []


def test_a_part_s_options_reach_its_preparation(prepare, calls, tmp_path):
    part = {"split": "train", "folds": [1, 2], "subset": "listed"}
    Corpora([Corpus("esc50", "/corpora/esc50", prepare, train=part)], tmp_path).prepare()
    assert calls == [{"data_folder": "/corpora/esc50", "manifest_folder": tmp_path, **part}]


def test_the_record_holds_names_and_parts_and_no_path_of_this_machine(prepare, tmp_path):
    corpora = Corpora([Corpus("esc50", tmp_path / "esc50", prepare, train={"split": "train"})], tmp_path)
    assert corpora.describe() == [{"name": "esc50", "parts": {"train": {"split": "train"}}}]


def test_no_corpus_at_all_is_an_error_that_lists_them(prepare, tmp_path):
    with pytest.raises(ConfigError, match="at least one of: clotho, macs"):
        Corpora([Corpus("clotho", None, prepare), Corpus("macs", None, prepare)], tmp_path)


def test_a_part_without_a_split_has_no_manifest_and_is_refused(prepare):
    with pytest.raises(ConfigError, match="corpus esc50: its valid part has no split"):
        Corpus("esc50", "/corpora/esc50", prepare, valid={"folds": [1]})
