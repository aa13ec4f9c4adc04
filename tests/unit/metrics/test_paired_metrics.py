"""Two models on the same clips: McNemar's test by hand, and the paired bootstrap."""

import numpy as np
import pytest

from tinyclap.errors import ConfigError
from tinyclap.metrics.classification import bootstrap_interval, mcnemar, paired_difference


def answers(n_both, n_first, n_second, n_neither):
    """Two arrays with these numbers of clips right by both, by one alone and by neither."""
    first = np.repeat([True, True, False, False], [n_both, n_first, n_second, n_neither])
    return first, np.repeat([True, False, True, False], [n_both, n_first, n_second, n_neither])


def test_mcnemar_is_the_binomial_test_of_the_clips_on_which_they_differ():
    # 1 against 8: P(X <= 1 | 9, 1/2) = 10 / 512, P(X < 1) = 1 / 512, P(X = 1) = 9 / 512
    found = mcnemar(*answers(50, 1, 8, 3))
    assert (found["n_first_only"], found["n_second_only"]) == (1, 8)
    assert found["exact_p"] == pytest.approx(20 / 512)
    assert found["mid_p"] == pytest.approx((2 * 1 + 9) / 512)


def test_mcnemar_does_not_care_which_comes_first_nor_for_the_clips_on_which_they_agree():
    first, second = answers(50, 3, 12, 3)
    one, other = mcnemar(first, second), mcnemar(second, first)
    assert (one["exact_p"], one["mid_p"]) == (other["exact_p"], other["mid_p"])
    assert mcnemar(*answers(0, 3, 12, 0))["exact_p"] == one["exact_p"]


@pytest.mark.parametrize("n", [0, 1, 7])
def test_equal_numbers_are_no_evidence(n):
    found = mcnemar(*answers(5, n, n, 5))
    assert (found["exact_p"], found["mid_p"]) == (1.0, 1.0)


def test_mcnemar_stays_exact_with_many_clips():
    # 4366 against 4366 - 264 of 8732 - 264 clips: z = 264 / sqrt(8468) = 2.869, so p is 0.0041 by the normal law
    found = mcnemar(*answers(0, 4366, 4102, 0))
    assert found["exact_p"] == pytest.approx(0.00423, abs=1e-4)
    assert found["mid_p"] < found["exact_p"]
    assert mcnemar(*answers(0, 8732, 0, 0))["exact_p"] == 0.0, "2 to the power of -8731 is below what a float holds"


def test_the_paired_interval_is_narrower_than_two_intervals_where_models_err_alike():
    first, second = answers(600, 10, 30, 360)
    difference, (low, high) = paired_difference(first, second)
    # sd of the differences: sqrt(0.04 - 0.02 ** 2) = 0.199; / sqrt(1000) * 1.96 = 0.0123
    assert difference == pytest.approx(0.02)
    assert (low, high) == (pytest.approx(0.02 - 0.0123, abs=2e-3), pytest.approx(0.02 + 0.0123, abs=2e-3))
    one, other = bootstrap_interval(first), bootstrap_interval(second)
    assert high - low < 0.5 * min(one[1] - one[0], other[1] - other[0])


def test_a_model_does_not_differ_from_itself():
    first, _ = answers(10, 10, 0, 10)
    assert paired_difference(first, first) == (0.0, (0.0, 0.0))


def test_recordings_are_drawn_whole():
    # Ten recordings of ten clips, on each of which one of the models alone is right throughout: ten observations.
    first = np.repeat([True, False] * 5, 10)
    recordings = np.repeat(np.arange(10), 10)
    _, (low, high) = paired_difference(first, ~first)
    _, (group_low, group_high) = paired_difference(first, ~first, recordings)
    assert (group_high - group_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.2)


@pytest.mark.parametrize("compare", [mcnemar, paired_difference])
@pytest.mark.parametrize("sides", [([1, 0], [1]), ([], []), ([[1]], [[1]])])
def test_scores_of_other_clips_are_refused(compare, sides):
    with pytest.raises(ConfigError, match="not of the same clips"):
        compare(*sides)
