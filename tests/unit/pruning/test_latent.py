"""The ranking of dimensions, where an order is read from, and the axes of PCA: numbers worked by hand."""

import json

import numpy as np
import pytest

from tinyclap.config.kept_dims import read_order
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.pruning.ranking import (
    Moments,
    check_kept,
    order_of,
    principal_basis,
    read_arrays,
    write_arrays,
)
from tinyclap.text.scores import audio_side


def test_moments_of_batches_are_those_of_all_rows():
    rows = np.random.default_rng(0).normal(size=(50, 6)) + 2
    moments = Moments()
    for part in np.split(rows, [7, 8, 30]):
        moments.add(part.astype(np.float64))
    found = moments.result()
    assert moments.n == 50
    np.testing.assert_allclose(found["mean"], rows.mean(axis=0))
    np.testing.assert_allclose(found["mean_abs"], np.abs(rows).mean(axis=0))
    np.testing.assert_allclose(found["std"], rows.std(axis=0))
    np.testing.assert_allclose(found["second_moment"], rows.T @ rows / 50)


def test_no_rows_have_no_moments():
    with pytest.raises(ConfigError, match="no clip was embedded"):
        Moments().result()


def test_the_largest_mean_absolute_activation_comes_first_whatever_its_sign():
    rows = np.array([[0.1, -3.0, 1.0], [-0.1, -3.0, -1.0]])
    moments = Moments()
    moments.add(rows)
    found = moments.result()
    assert order_of(found["mean_abs"]) == [1, 2, 0]
    # by spread the constant dimension is the last
    assert order_of(found["std"]) == [2, 0, 1]


def test_equal_dimensions_keep_their_places():
    assert order_of(np.ones(300)) == list(range(300))


def test_a_score_kind_that_is_unknown_is_refused():
    with pytest.raises(ConfigError, match="choose one of cosine, dot, sqrt_dot"):
        audio_side(np.ones((1, 2)), "euclid")


def test_silence_has_a_finite_direction():
    assert audio_side(np.zeros((1, 4)), "cosine").tolist() == [[0.0] * 4]


def test_an_order_is_read_from_a_ranking_a_student_or_a_run(tmp_path):
    for name, content in {
        "ranking/ranking.json": {"order": [2, 0, 1]},
        "student/config.json": {"latent": {"order": [1, 0]}},
        "run/student/config.json": {"latent": {"order": [0, 1]}},
        # what is left of four dimensions stands in order already
        "pruned/config.json": {"latent": {"order": [3, 1, 0, 2], "kept": [3, 1, 0], "n_dims": 4}},
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(content))
    assert read_order(tmp_path / "ranking") == read_order(tmp_path / "ranking" / "ranking.json") == [2, 0, 1]
    assert read_order(tmp_path / "student") == [1, 0] and read_order(tmp_path / "run") == [0, 1]
    assert read_order(tmp_path / "pruned") == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nothing.txt", "", "neither a ranking nor a student is there; rank its dimensions first"),
        ("config.json", "{}", "holds no order of dimensions.*prune.py"),
        ("ranking.json", '{"order": [0, 0, 1]}', "holds no order"),
        ("ranking.json", '{"order": []}', "holds no order"),
        ("ranking.json", "[1, 2]", "JSON list"),
        ("ranking.json", "{", "not readable as JSON"),
    ],
)
def test_what_holds_no_order_says_how_to_make_one(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_order(tmp_path)


@pytest.mark.parametrize(("order", "kept"), [([0, 1], 1), ([0, 1, 2], 0), ([0, 1, 2], 4), ([0, 1, 2], 1.5)])
def test_dimensions_that_cannot_be_kept_are_refused(order, kept):
    with pytest.raises(ConfigError):
        check_kept(order, kept, 3)


def test_turning_both_towers_leaves_every_score_as_it_was():
    random = np.random.default_rng(1)
    audio, text = random.normal(size=(20, 8)), random.normal(size=(5, 8))
    basis = principal_basis(audio.T @ audio / 20)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-12)
    np.testing.assert_allclose((audio @ basis) @ (text @ basis).T, audio @ text.T, atol=1e-12)
    energies = ((audio @ basis) ** 2).mean(axis=0)
    assert (np.diff(energies) <= 1e-12).all()  # the axis with the most comes first


def test_whitened_clips_have_the_same_energy_along_each_axis():
    audio = np.random.default_rng(2).normal(size=(200, 5)) * [5.0, 1.0, 0.5, 2.0, 3.0]
    second = audio.T @ audio / 200
    white = audio @ principal_basis(second, whiten=True, ridge=0.0)
    np.testing.assert_allclose(white.T @ white / 200, np.eye(5), atol=1e-10)
    # with a ridge, unused directions stay small: one of no energy is divided by the root of the mean eigenvalue
    flat = principal_basis(np.diag([3.0, 1.0, 0.0, 0.0]), whiten=True, ridge=1.0)
    np.testing.assert_allclose(np.abs(flat).max(axis=0), [0.5, 1 / np.sqrt(2), 1.0, 1.0])


def test_arrays_are_written_whole_and_what_is_missing_is_named(tmp_path):
    path = tmp_path / "moments.npz"
    write_arrays(path, mean=np.arange(3.0), kind=np.array("cosine"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["moments.npz"]
    assert str(read_arrays(path, ["mean"])["kind"]) == "cosine"
    with pytest.raises(CheckpointError, match="lacks std, text"):
        read_arrays(path, ["mean", "std", "text"])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_arrays(tmp_path / "none.npz", [])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_arrays(path, [])
