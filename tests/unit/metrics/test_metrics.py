"""Accuracies and their intervals."""

import numpy as np
import pytest

from tinyclap.metrics.classification import accuracy, accuracy_by, bootstrap_interval


def test_accuracy_is_the_share_of_equal_entries():
    assert accuracy([0, 1, 2, 1], np.array([0, 1, 1, 1])) == 0.75


def test_the_bootstrap_agrees_with_the_binomial_interval():
    # p = 0.7, n = 1000: the normal approximation gives 0.7 ± 1.96 √(0.7 · 0.3 / 1000) = 0.7 ± 0.0284.
    low, high = bootstrap_interval(np.arange(1000) < 700)
    assert low == pytest.approx(0.7 - 0.0284, abs=0.004)
    assert high == pytest.approx(0.7 + 0.0284, abs=0.004)


def test_the_bootstrap_repeats_itself_and_follows_its_seed():
    correct = np.random.default_rng(0).random(500) < 0.5
    few = {"n_resamples": 50}
    assert bootstrap_interval(correct, seed=1, **few) == bootstrap_interval(correct, seed=1, **few)
    assert bootstrap_interval(correct, seed=1, **few) != bootstrap_interval(correct, seed=2, **few)


def test_certainty_has_no_width():
    assert bootstrap_interval([True] * 20) == (1.0, 1.0)
    assert bootstrap_interval([False] * 20) == (0.0, 0.0)


def test_a_lower_level_is_a_narrower_interval():
    correct = np.arange(100) < 60
    low, high = bootstrap_interval(correct, level=0.5)
    wide_low, wide_high = bootstrap_interval(correct, level=0.99)
    assert wide_low < low < 0.6 < high < wide_high


def test_slices_of_one_recording_count_as_one():
    # Each recording's ten slices are all right or all wrong: there are 20 independent observations, not 200, so the
    # interval is √10 times as wide.
    correct = np.repeat(np.arange(20) < 10, 10)
    groups = np.repeat([f"recording {index}" for index in range(20)], 10)
    low, high = bootstrap_interval(correct)
    group_low, group_high = bootstrap_interval(correct, groups)
    assert (group_high - group_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_groups_of_one_are_no_groups():
    correct = np.arange(30) < 12
    assert bootstrap_interval(correct, [f"{index:02d}" for index in range(30)]) == bootstrap_interval(correct)


def test_accuracy_by_key_is_sorted_and_counts():
    by_fold = accuracy_by([5, 1, 1, 5, 5], [True, False, True, True, False])
    assert list(by_fold) == [1, 5]
    assert by_fold[1] == {"accuracy": 0.5, "n": 2}
    assert by_fold[5] == {"accuracy": pytest.approx(2 / 3), "n": 3}
    assert list(accuracy_by(["rain", "dog"], [True, False])) == ["dog", "rain"]
