"""The vocabulary of a run comes from its training captions, before the model is built."""

import json

import pytest

from data_prep.clotho_prepare import prepare_clotho
from data_prep.esc50_prepare import prepare_esc50
from tests import fakes
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.vocabulary import Vocabulary
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer


@pytest.fixture
def corpora(tmp_path):
    """A prepared corpus with captions in a training and a validation part."""
    for split in ("development", "validation"):
        fakes.clotho(tmp_path / "clotho", split=split)
    parts = {
        "train": {"split": "development", "subset": "listed"},
        "valid": {"split": "validation", "subset": "listed"},
    }
    corpora = Corpora([Corpus("clotho", tmp_path / "clotho", prepare_clotho, **parts)], tmp_path / "manifests")
    corpora.prepare()
    return corpora


def test_words_come_from_the_training_part_and_nowhere_else(corpora, tmp_path):
    path = tmp_path / "run" / "vocabulary.json"
    Vocabulary(corpora, path).prepare()
    tokenizer = WordTokenizer.load(path)
    items = json.loads((tmp_path / "manifests" / "clotho_development.json").read_text())["items"].values()
    captions = [caption for item in items for caption in item["captions"]]
    assert WordTokenizer.from_captions(captions).words == tokenizer.words


def test_a_given_file_or_run_takes_the_place_of_the_words(corpora, tmp_path):
    given = WordTokenizer.from_captions(["quite other words"])
    given.save(tmp_path / "given" / "vocabulary.json")
    for number, source in enumerate((tmp_path / "given" / "vocabulary.json", tmp_path / "given")):
        Vocabulary(corpora, tmp_path / f"{number}.json", given=source).prepare()
        assert WordTokenizer.load(tmp_path / f"{number}.json").words == given.words
    with pytest.raises(ConfigError, match="nowhere"):
        Vocabulary(corpora, tmp_path / "run.json", given=tmp_path / "nowhere.json").prepare()
    assert not (tmp_path / "run.json").exists()


def test_making_one_reads_and_writes_nothing(tmp_path):
    Vocabulary(None, tmp_path / "run" / "vocabulary.json", given="nowhere")
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_keeps_its_words(corpora, tmp_path):
    path = tmp_path / "vocabulary.json"
    Vocabulary(corpora, path).prepare()
    before = path.read_bytes()
    Vocabulary(corpora, path).prepare()
    WordTokenizer.from_captions(["other words"]).save(tmp_path / "other.json")
    for options in ({"given": tmp_path / "other.json"}, {"min_count": 8}):
        with pytest.raises(ConfigError, match="the ids of a run's words must not change"):
            Vocabulary(corpora, path, **options).prepare()
    assert path.read_bytes() == before


def test_a_corpus_without_captions_is_refused(tmp_path):
    root = fakes.esc50(tmp_path / "esc50", folds=(1,), n_per_fold=2)
    part = {"split": "train", "folds": [1], "subset": "listed"}
    corpora = Corpora([Corpus("esc50", root, prepare_esc50, train=part)], tmp_path / "manifests")
    corpora.prepare()
    with pytest.raises(ManifestError, match="none of the training clips has a caption"):
        Vocabulary(corpora, tmp_path / "vocabulary.json").prepare()
