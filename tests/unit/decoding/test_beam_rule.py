"""The rule of the beam search says what the published one does: worked by hand, without a tensor."""

import math
import subprocess
import sys

import pytest

from tinyclap.decoding.rule import BeamRule
from tinyclap.errors import ConfigError

END = 0


def test_beams_go_on_and_ended_ones_are_stored_with_their_mean():
    rule = BeamRule(n_clips=1, end_id=END, beam=2, max_words=3, n_best=2)
    # Places are beam * V + word, V = 4: words 3 and 2 first.
    assert rule.follow([[-0.5, -0.7]], [[3, 2]], 4) == ([0], [[0, 0]], [[3, 2]], [[0.0, 0.0]])
    # Beam 1 (word 2) ends with -0.9; beam 0 (word 3) goes on with 1.
    assert rule.follow([[-0.9, -1.1]], [[4 + END, 1]], 4) == ([0], [[1, 0]], [[END, 1]], [[1000.0, 0.0]])
    # The third word is the last, so both are stored: more than two captions are there, the best two count.
    assert rule.follow([[-1.4, -1.8]], [[4 + 3, 4 + 1]], 4) is None
    found = rule.found()
    assert found.ids == [[[2, END, END], [3, 1, 3]]] and found.n_words == [[2, 3]]
    assert found.scores == [[pytest.approx(-0.45), pytest.approx(-1.4 / 3)]]


def test_a_clip_that_is_done_leaves_and_the_others_keep_their_rows():
    rule = BeamRule(n_clips=2, end_id=END, beam=1, max_words=5)
    step = rule.follow([[-0.1], [-0.2]], [[END], [2]], 4)
    assert (step.staying, step.rows, step.last_ids) == ([1], [[1]], [[2]])
    step = rule.follow([[-0.3]], [[1]], 4)
    assert (step.staying, step.rows, step.last_ids) == ([0], [[0]], [[1]])
    assert rule.follow([[-0.6]], [[END]], 4) is None
    assert rule.found().ids == [[[END] * 5], [[2, 1, END, END, END]]]
    assert rule.found().scores == [[-0.1], [pytest.approx(-0.2)]]


def test_the_earlier_of_two_equal_captions_wins():
    rule = BeamRule(n_clips=1, end_id=END, beam=2, max_words=1, n_best=2)
    rule.follow([[-0.5, -0.5]], [[2, 1]], 3)
    assert rule.found().ids == [[[2], [1]]]


def test_words_are_taken_away_until_there_are_enough_of_them():
    rule = BeamRule(n_clips=1, end_id=END, beam=1, max_words=3, min_words=1, forbidden_ids=(2,))
    assert rule.banned_ids(4) == [2, END]
    rule.follow([[-1.0]], [[3]], 4)
    assert rule.banned_ids(4) == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam=0"),
        ({"beam": 1.5}, "beam=1.5: give whole numbers"),
        ({"beam": "3"}, "beam='3'"),
        ({"beam": True, "max_words": None}, "beam=True, max_words=None"),
        ({"min_words": float("nan")}, "min_words=nan"),
        ({"n_best": 4}, r"n_best=4 is not in \[1, beam=3\]"),
        ({"min_words": 20}, "min_words=20"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BeamRule(1, END, **options)
    with pytest.raises(ConfigError, match="beam=3 is more than the 2 words"):
        BeamRule(1, END, beam=3).banned_ids(2)


def test_scores_that_are_nothing_stay_nothing():
    rule = BeamRule(n_clips=1, end_id=END, beam=2, max_words=2)
    rule.follow([[-0.5, -math.inf]], [[3, 1]], 4)
    rule.follow([[-0.7, -math.inf]], [[1, 4]], 4)
    assert rule.found().ids == [[[3, 1]]]


def test_it_needs_neither_torch_nor_numpy():
    code = "import sys, tinyclap.decoding.rule; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
