"""Text towers: padding changes nothing, words are found, sizes are right."""

import pytest
import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.models.text import BertTextTower, WordTextTower
from tinyclap.text.word_ids import words_of

SMALL_BERT = {"vocab_size": 50, "width": 32, "n_layers": 2, "n_heads": 2, "d_feedforward": 64, "max_positions": 20}


def test_words_are_lower_case_runs_of_letters():
    assert words_of("Children's voices, 3 dogs_barking & Café") == [
        "children",
        "s",
        "voices",
        "dogs",
        "barking",
        "café",
    ]
    assert words_of("123 …") == []


def test_texts_become_ids_with_padding_unknown_words_and_a_longest_length():
    tower = WordTextTower(["a", "dog", "barks"], 8, width=8, max_words=3)
    ids, mask = tower.encode(["A dog BARKS loudly", "a zebra", ""])
    assert ids.tolist() == [[2, 3, 4], [2, 1, 0], [1, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert tower.encode([])[0].shape == (0, 1)


@pytest.mark.parametrize("n_layers", [0, 2])
@torch.no_grad()
def test_a_text_is_the_same_alone_and_beside_a_longer_one(n_layers):
    tower = WordTextTower(["a", "dog", "barks", "very", "loudly"], 8, width=16, n_layers=n_layers).eval()
    both = tower(*tower.encode(["a dog", "a dog barks very very loudly"]))
    torch.testing.assert_close(tower(*tower.encode(["a dog"]))[0], both[0], atol=1e-6, rtol=1e-5)


def test_it_rebuilds_from_its_config_with_its_words():
    tower = WordTextTower(["a", "dog"], 8, width=8, n_heads=2)
    again = build(tower.config)
    again.load_state_dict(tower.state_dict())
    assert again.encode(["dog"])[0].tolist() == [[3]]


@torch.no_grad()
def test_bert_reads_the_first_position_and_no_padding():
    tower = BertTextTower(16, **SMALL_BERT).eval()
    ids = torch.tensor([[2, 7, 8, 3, 0, 0]])
    padded = tower(ids, torch.tensor([[1, 1, 1, 1, 0, 0]]))
    torch.testing.assert_close(tower(ids[:, :4], torch.ones(1, 4, dtype=torch.int64)), padded, atol=1e-5, rtol=1e-5)
    hidden = tower.base(input_ids=ids[:, :4]).last_hidden_state[:, 0]
    torch.testing.assert_close(tower.projection(hidden), padded, atol=1e-5, rtol=1e-5)


def test_bert_rebuilds_from_its_config():
    tower = BertTextTower(16, **SMALL_BERT)
    assert build(tower.config).load_state_dict(tower.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": []}, "empty"),
        ({"vocabulary": ["a", "a"]}, "twice"),
        ({"vocabulary": ["a"], "width": 10, "n_heads": 4}, "do not divide"),
    ],
)
def test_towers_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        WordTextTower(embed_dim=8, **arguments)
