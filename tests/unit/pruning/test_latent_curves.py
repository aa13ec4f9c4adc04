"""Accuracy by kept dimensions: against scores worked out one by one, and where it has fallen."""

import numpy as np
import pytest
import torch

from tinyclap.errors import ConfigError
from tinyclap.pruning.curves import (
    Scored,
    curve_points,
    fall_interval,
    hits_by_kept,
    kept_at_fall,
    method_hits,
    read_scored,
)
from tinyclap.pruning.ranking import Moments, order_of, write_arrays
from tinyclap.teachers.base import score
from tinyclap.text.scores import audio_side


@pytest.fixture(scope="module")
def space():
    """Forty clips near their classes' texts, in a space of twelve dimensions of which four say nothing."""
    random = np.random.default_rng(0)
    text = random.normal(size=(6, 12)) * ([1.0] * 8 + [0.0] * 4)
    labels = random.integers(6, size=40)
    audio = text[labels] + random.normal(size=(40, 12)) * 0.9
    groups = np.array([f"r{index // 2}" for index in range(40)])
    kind = "cosine"
    scored = Scored(audio_side(audio, kind), text / np.linalg.norm(text, axis=1, keepdims=True), labels, groups, kind)
    moments = Moments()
    moments.add(scored.audio)
    return scored, moments.result()


@pytest.mark.parametrize("kind", ["cosine", "dot", "sqrt_dot"])
def test_a_prefix_scores_as_the_model_scores_what_is_left(kind):
    random = np.random.default_rng(3)
    audio, text = random.random((30, 7)), random.random((5, 7))
    labels = random.integers(5, size=30)
    hits = hits_by_kept(audio_side(audio, kind), text, labels, kind == "cosine")
    for kept in range(1 if kind != "cosine" else 2, 8):  # all cosines of one dimension are 1
        left = audio_side(audio, "cosine") if kind == "cosine" else audio
        scores = score(torch.from_numpy(left[:, :kept]), torch.from_numpy(text[:, :kept]), kind)
        assert hits[:, kept - 1].tolist() == (scores.argmax(dim=1).numpy() == labels).tolist()


def test_the_plain_ranking_masks_by_mean_absolute_activation(space):
    scored, moments = space
    order = order_of(moments["mean_abs"])
    expected = hits_by_kept(scored.audio[:, order], scored.text[:, order], scored.labels)
    assert (method_hits(scored, moments, "plain") == expected).all()
    assert (method_hits(scored, moments, "nested", order) == expected).all()
    plain_prefix = hits_by_kept(scored.audio, scored.text, scored.labels)
    assert (method_hits(scored, moments, "nested") == plain_prefix).all()


@pytest.mark.parametrize("method", ["plain", "variance", "random", "pca", "nested"])
def test_all_dimensions_together_are_the_whole_model(space, method):
    scored, moments = space
    whole = (scored.audio @ scored.text.T).argmax(axis=1) == scored.labels
    assert (method_hits(scored, moments, method)[:, -1] == whole).all() and 0.3 < whole.mean() < 1


def test_few_axes_of_pca_keep_more_than_few_dimensions_at_random(space):
    scored, moments = space
    pca, random = (method_hits(scored, moments, method).mean(axis=0) for method in ("pca", "random"))
    assert pca[3] > random[3]


def test_random_orders_are_averaged_and_repeat(space):
    scored, moments = space
    hits = method_hits(scored, moments, "random")
    assert (hits == method_hits(scored, moments, "random")).all()
    assert set(np.unique((hits * 5).round(9))) <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0} and len(np.unique(hits)) > 2


def test_whitening_is_the_product_with_the_inverse_of_the_second_moment(space):
    scored, moments = space
    ridge = 0.5 * np.trace(moments["second_moment"]) / 12 * np.eye(12)
    inverse = np.linalg.inv(moments["second_moment"] + ridge)
    lengths = np.sqrt(np.einsum("nd,de,ne->n", scored.text, inverse, scored.text))
    expected = (scored.audio @ inverse @ scored.text.T / lengths).argmax(axis=1) == scored.labels
    assert (method_hits(scored, moments, "whitening", ridge=0.5)[:, -1] == expected).all()


def test_what_is_of_another_model_or_unknown_is_refused(space):
    scored, moments = space
    with pytest.raises(ConfigError, match="choose one of plain, variance"):
        method_hits(scored, moments, "best")
    with pytest.raises(ConfigError, match="another model's"):
        method_hits(scored, {"mean_abs": np.ones(5)}, "plain")
    with pytest.raises(ConfigError, match="another model's"):
        method_hits(scored, moments, "nested", [0, 1])


def test_points_are_of_what_is_really_kept(space):
    points = curve_points(method_hits(*space, "plain"), [0.5, 1.0, 0.51, 0.001])
    assert [point["kept"] for point in points] == [12, 6, 1]
    assert [point["kept_fraction"] for point in points] == [1.0, 0.5, 1 / 12]
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in points)
    with pytest.raises(ConfigError, match=r"\[0.0, 1.5\] are outside"):
        curve_points(np.ones((2, 2)), [0.0, 1.5, 1.0])


def test_the_fall_is_where_every_larger_number_is_still_good():
    # with 3 of 5 dimensions accuracy dips by 6 points, so 4 are needed for 5 points, though 2 happen to do
    accuracies = [0.10, 0.80, 0.74, 0.78, 0.80]
    assert int(kept_at_fall(accuracies, 0.80, 5)) == 4
    assert int(kept_at_fall(accuracies, 0.80, 1)) == 5
    assert int(kept_at_fall(accuracies, 0.80, 7)) == 2
    assert int(kept_at_fall(accuracies, 0.80, 90)) == 1
    assert int(kept_at_fall([0.5, 0.6], 0.9, 5)) == 3  # all of them together have fallen
    assert kept_at_fall([accuracies, [0.8] * 5], [0.8, 0.8], 5).tolist() == [4, 1]


def test_a_loss_of_just_so_many_points_is_no_fall():
    assert int(kept_at_fall([0.75, 0.80], 0.80, 5)) == 1


def test_the_interval_of_the_fall_holds_it_and_is_a_point_without_doubt(space):
    hits = method_hits(*space, "plain")
    low, high = fall_interval(hits, hits[:, -1], 5)
    assert 1 <= low <= int(kept_at_fall(hits.mean(axis=0), hits[:, -1].mean(), 5)) <= high <= 13
    assert low < high
    # every clip is right from the third dimension on
    sure = np.repeat([[0, 0, 1, 1]], 30, axis=0)
    assert fall_interval(sure, sure[:, -1], 5) == (3, 3)
    # two recordings, one right with one dimension and one with four: draws of the first alone keep one
    both = np.array([[1, 1, 1, 1]] * 10 + [[0, 0, 0, 1]] * 10)
    groups = ["a"] * 10 + ["b"] * 10
    assert fall_interval(both, both[:, -1], 5, groups) == (1, 4)
    assert fall_interval(both, both[:, -1], 5) == (4, 4)


def test_a_dump_is_read_in_the_form_that_is_scored(tmp_path):
    write_arrays(tmp_path / "embeddings.npz", audio=np.array([[0.25, 0.0]], np.float32), text=np.eye(2),
                 labels=np.array([0]), groups=np.array(["a"]), score_kind=np.array("sqrt_dot"))  # fmt: skip
    scored = read_scored(tmp_path / "embeddings.npz")
    assert scored.audio.tolist() == [[0.5, 0.0]] and scored.score_kind == "sqrt_dot"
