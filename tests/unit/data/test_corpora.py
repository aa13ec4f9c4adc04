"""A run uses the corpora whose folders were named, and no others."""

import pytest

from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.errors import ConfigError, ManifestError


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


def test_no_corpus_at_all_is_one_line_that_names_the_keys(prepare, tmp_path):
    absent = [Corpus(name, None, prepare) for name in ("clotho", "macs", "audio_folder", "macs")]
    with pytest.raises(ConfigError, match="^no corpus .* of: --clotho_folder, --macs_folder, --audio_folder$"):
        Corpora(absent, tmp_path)
    assert Corpora(absent, tmp_path, may_be_empty=True).manifests("train") == []


def test_a_refused_corpus_leaves_every_manifest_as_it_was(tmp_path):
    def write(data_folder, manifest_folder, split):
        (manifest_folder / f"one_{split}.json").write_text("new")

    def refuse(**_):
        raise ManifestError("broken")

    parts = {"train": {"split": "train"}, "valid": {"split": ["a", "b"]}}
    corpora = Corpora([Corpus("one", "/1", write, **parts), Corpus("two", "/2", refuse, **parts)], tmp_path)
    (tmp_path / "one_train.json").write_text("old")
    (tmp_path / "two_train.json").write_text("another's")
    with pytest.raises(ManifestError, match="broken"):
        corpora.prepare()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "one_train.json": "old",
        "two_train.json": "another's",
    }


def test_a_part_without_a_split_has_no_manifest_and_is_refused(prepare):
    with pytest.raises(ConfigError, match="corpus esc50: its valid part has no split"):
        Corpus("esc50", "/corpora/esc50", prepare, valid={"folds": [1]})
