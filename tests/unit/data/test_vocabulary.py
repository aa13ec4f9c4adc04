"""The vocabulary of a run comes from its training captions, before the model is built."""

import json

import pytest

from data_prep.clotho_prepare import prepare_clotho
from data_prep.esc50_prepare import prepare_esc50
from tests import fakes
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.vocabulary import ensure_vocabulary
from tinyclap.errors import ManifestError


def test_words_come_from_the_training_part_and_nowhere_else(tmp_path):
    for split in ("development", "validation"):
        fakes.clotho(tmp_path / "clotho", split=split)
    parts = {
        "train": {"split": "development", "subset": "listed"},
        "valid": {"split": "validation", "subset": "listed"},
    }
    corpora = Corpora([Corpus("clotho", tmp_path / "clotho", prepare_clotho, **parts)], tmp_path / "manifests")
    tokenizer = ensure_vocabulary(corpora, tmp_path / "run" / "vocabulary.json")
    items = json.loads((tmp_path / "manifests" / "clotho_development.json").read_text())["items"].values()
    assert not any(tokenizer.unknown_words(caption) for item in items for caption in item["captions"])
    assert json.loads((tmp_path / "run" / "vocabulary.json").read_text())["words"] == tokenizer.words
    given = ensure_vocabulary(corpora, tmp_path / "other.json", given=tmp_path / "run" / "vocabulary.json")
    assert given.words == tokenizer.words and not (tmp_path / "other.json").exists()


def test_a_corpus_without_captions_is_refused(tmp_path):
    root = fakes.esc50(tmp_path / "esc50", folds=(1,), n_per_fold=2)
    part = {"split": "train", "folds": [1], "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, prepare_esc50, train=part)], tmp_path / "manifests")
    with pytest.raises(ManifestError, match="none of the 6 training clips has a caption"):
        ensure_vocabulary(corpora, tmp_path / "vocabulary.json")
