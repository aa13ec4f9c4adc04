"""Scores, softmax and L2 normalisation of embeddings: values by hand."""

import numpy as np
import pytest

from tinyclap.errors import ConfigError
from tinyclap.text.scores import audio_side, l2_normalise, ranked, score, softmax_rows


def test_rows_are_normalised_and_zeros_stay():
    np.testing.assert_allclose(l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


@pytest.mark.parametrize("temperature, first", [(1.0, 0.25), (0.5, 0.1)])
def test_probabilities_are_a_softmax_by_temperature(temperature, first):
    np.testing.assert_allclose(softmax_rows(np.log([[1.0, 3.0]]), temperature), [[first, 1 - first]])


@pytest.mark.parametrize("kind, wanted", [("cosine", [[1.0, 0.0]]), ("dot", [[0.25, 0.0]]), ("sqrt_dot", [[0.5, 0.0]])])
def test_each_kind_of_score_has_its_form_of_the_audio_side(kind, wanted):
    rows = np.array([[0.25, 0.0]])
    np.testing.assert_allclose(audio_side(rows, kind), wanted)
    np.testing.assert_allclose(score(rows, np.array([[1.0, 0.0]]), kind), [[wanted[0][0]]])


def test_the_best_names_come_first_and_equal_ones_in_their_order():
    scores, names = np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5]]), ["dog", "rain", "siren"]
    assert ranked(scores, names, 2) == [[("rain", 0.9), ("siren", 0.5)], [("dog", 0.5), ("rain", 0.5)]]
    assert ranked(scores, names, 3, only=["siren", "dog"])[0] == [("siren", 0.5), ("dog", 0.1)]


def test_an_unknown_kind_of_score_is_an_error():
    with pytest.raises(ConfigError, match="unknown"):
        audio_side(np.ones((1, 2)), "euclidean")
