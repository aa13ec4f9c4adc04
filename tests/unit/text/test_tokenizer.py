"""The word-level tokenizer: round trips, the published formats, and what it refuses."""

import json

import pytest

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.text.tokenizer import WordTokenizer, caption_words

WORDS = ["<pad>", "<start>", "dog", "<end>", "a", "<unk>", "barks"]


def test_special_words_may_stand_anywhere_as_in_the_published_vocabulary():
    tokenizer = WordTokenizer(WORDS)
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id) == (0, 1, 3, 5)
    assert tokenizer.encode("A dog, barks loudly!") == [1, 4, 2, 6, 5, 3]
    assert tokenizer.decode([1, 4, 2, 6, 3, 6]) == "a dog barks"


def test_a_long_caption_is_cut_before_its_end_word():
    assert WordTokenizer(WORDS).encode("a " * 60, max_words=20) == [1, *[4] * 20, 3]


def test_words_go_by_frequency_and_then_by_alphabet():
    tokenizer = WordTokenizer.from_captions(["b a a", "c a b", "d"], min_count=1, max_size=7)
    assert tokenizer.words[4:] == ["a", "b", "c"]
    assert WordTokenizer.from_captions(["b a a", "c a b"], min_count=2).words[4:] == ["a", "b"]


def test_no_word_is_lost_to_punctuation_or_typographic_apostrophes():
    assert caption_words("Birds chirp;wind blows. A man’s voice") == [
        "birds",
        "chirp",
        "wind",
        "blows",
        "a",
        "man's",
        "voice",
    ]


@pytest.mark.parametrize(
    "content",
    [
        WORDS,
        {"words": WORDS},
        {word: index for index, word in enumerate(WORDS)},
        {str(index): word for index, word in enumerate(WORDS)},
        {"word2idx": {word: index for index, word in enumerate(WORDS)}},
        {"format": 1, "model": {"type": "Captioner", "tokenizer": {"type": "WordTokenizer", "words": WORDS}}},
        {
            "added_tokens": [{"id": 0, "content": "<pad>"}, {"id": 1, "content": "<start>"}],
            "model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(WORDS)}},
        },
    ],
    ids=["list", "ours", "word to id", "id to word", "word2idx", "a captioner's config", "tokenizer.json"],
)
def test_every_published_format_gives_the_same_words(content, tmp_path):
    (tmp_path / "vocabulary.json").write_text(json.dumps(content), encoding="utf-8")
    assert WordTokenizer.load(tmp_path / "vocabulary.json").words == WORDS


def test_a_run_s_folder_has_the_words_of_its_captioner(tmp_path):
    (tmp_path / "student").mkdir()
    config = {"model": {"tokenizer": {"words": WORDS}}}
    (tmp_path / "student" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert WordTokenizer.load(tmp_path).words == WordTokenizer.load(tmp_path / "student").words == WORDS


def test_what_is_saved_is_what_is_loaded(tmp_path):
    tokenizer = WordTokenizer.from_captions(["Ein Hund bellt", "a dog barks"])
    tokenizer.save(tmp_path / "deep" / "words.json")
    assert WordTokenizer.load(tmp_path / "deep" / "words.json").words == tokenizer.words
    assert build(tokenizer.config).words == tokenizer.words


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x04\x95pickle", "not readable as JSON"),
        (b'{"a": 0, "b": 5}', "each once"),
        (b'{"a": 0, "b": 1}', "lacks <pad>"),
        (b'["<pad>", "<start>", "<end>", "<unk>", "a", "a"]', "twice: a"),
        (b"3", "holds no vocabulary"),
    ],
)
def test_a_bad_vocabulary_is_refused_with_its_reason(content, says, tmp_path):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        WordTokenizer.load(tmp_path / "bad.json")


def test_no_file_and_no_words_are_said():
    with pytest.raises(ConfigError, match="nowhere.json: no such file"):
        WordTokenizer.load("nowhere.json")
    with pytest.raises(ConfigError, match="no word occurs 3 times"):
        WordTokenizer.from_captions(["a b"], min_count=3)
