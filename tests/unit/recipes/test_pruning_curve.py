"""recipes/pruning_curve.py as a user runs it, on a space in which what each dimension does is known."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tinyclap.pruning.ranking import Moments, order_of, write_arrays
from tinyclap.text.scores import audio_side

sys.path.insert(0, str(ROOT / "recipes"))

import pruning_curve

N_DIMS = 8


def saved_model(folder, seed=0, n=60):
    """A ranking's folder and a score's, of clips near their class in six of eight dimensions."""
    random = np.random.default_rng(seed)
    text = audio_side(random.normal(size=(4, N_DIMS)) * ([1.0] * 6 + [0.01] * 2), "cosine")
    labels = random.integers(4, size=n)
    audio = audio_side(text[labels] + 0.35 * random.normal(size=(n, N_DIMS)), "cosine")
    moments = Moments()
    moments.add(audio)
    (folder / "ranking").mkdir(parents=True)
    (folder / "scores").mkdir()
    write_arrays(folder / "ranking" / "moments.npz", **moments.result())
    record = {"order": order_of(moments.result()["mean_abs"]), "ranking": "mean_abs", "n_clips": n, "corpora": [],
              "model": {"kind": "checkpoint", "weights": "w", "weights_sha256": None}}  # fmt: skip
    (folder / "ranking" / "ranking.json").write_text(json.dumps(record))
    write_arrays(folder / "scores" / "embeddings.npz", audio=audio.astype(np.float32), text=text.astype(np.float32),
                 labels=labels, ids=np.arange(n).astype(str), folds=np.array(["5"] * n),
                 groups=(np.arange(n) // 3).astype(str), score_kind=np.array("cosine"))  # fmt: skip
    correct = (audio @ text.T).argmax(axis=1) == labels
    metrics = {"dataset": "esc50", "value": float(correct.mean()), "per_fold": {"5": {}}, "kept_dims": N_DIMS,
               "n_dims": N_DIMS, "options": {"subset": "listed"}, "interval_95": [0.0, 1.0], "commit": "c",
               "date": "d", "model": {"kind": "checkpoint", "weights": "w"}}  # fmt: skip
    (folder / "scores" / "metrics.json").write_text(json.dumps(metrics))
    return correct.mean()


def words_for(folder, *words):
    places = {"--ranking": folder / "ranking", "--scores": folder / "scores", "--output_folder": folder / "out"}
    return [*(str(word) for pair in places.items() for word in pair), "--model", "small", *words]


def run(folder, *words):
    """The script in this process, as its own would run it."""
    pruning_curve.main(words_for(folder, *words))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    full = saved_model(folder)
    words = words_for(folder, "--fractions", "1.0", "0.5", "0.25", "--seed", "7", "--merge", str(folder / "kept.csv"))
    command = [sys.executable, "recipes/pruning_curve.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, full, done


def test_every_method_has_a_row_a_fraction(made):
    folder, full, _ = made
    rows = rows_of(folder / "out" / "curve.csv")
    assert [(row["method"], row["kept"]) for row in rows] == [
        (method, kept) for method in ("plain", "variance", "random", "pca", "whitening") for kept in ("8", "4", "2")
    ]
    assert {(row["model"], row["benchmark"], row["seed"], row["n_items"]) for row in rows} == {
        ("small", "esc50 fold 5", "7", "60")
    }
    assert {row["full_accuracy"] for row in rows} == {f"{full:.6f}"}
    for row in rows:
        assert float(row["low"]) <= float(row["accuracy"]) <= float(row["high"])
        if row["kept"] == "8" and row["method"] != "whitening":
            assert row["accuracy"] == row["full_accuracy"]


def test_the_summary_says_where_accuracy_falls(made):
    folder, full, done = made
    summary = json.loads((folder / "out" / "pruning_summary.json").read_text())
    found = summary["benchmarks"]["esc50 fold 5"]
    assert found["full_accuracy"] == pytest.approx(full) and found["n_dims"] == N_DIMS
    falls = found["methods"]["plain"]["falls"]
    assert 1 <= falls["5"]["kept"] <= falls["1"]["kept"] <= N_DIMS
    assert falls["5"]["kept_fraction"] == falls["5"]["kept"] / N_DIMS
    low, high = falls["5"]["interval_95"]
    assert low <= falls["5"]["kept"] <= high
    assert "esc50 fold 5" in done.stdout and "kept at -5" in done.stdout


def test_a_kept_table_gets_new_rows_in_the_place_of_old_ones(made):
    folder, _, _ = made
    kept = folder / "kept.csv"
    before = rows_of(kept)
    run(folder, "--fractions", "1.0", "--methods", "plain", "nested", "--seed", "7", "--merge", str(kept))
    after = rows_of(kept)
    assert [row for row in after if row["method"] == "plain"] == [
        row for row in before if row["method"] == "plain" and row["kept"] == "8"
    ]
    assert len([row for row in after if row["method"] == "nested"]) == 1
    assert [row for row in after if row["method"] == "pca"] == [row for row in before if row["method"] == "pca"]
    text = kept.read_text()
    run(folder, "--fractions", "1.0", "--methods", "plain", "nested", "--seed", "7", "--merge", str(kept))
    assert kept.read_text() == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept_dims": 4}, "was scored with 4 of 8 dimensions"),
        ({"value": 0.01}, "its embeddings give"),
        ({"model": {"kind": "checkpoint", "weights": "v"}}, "the ranking is of checkpoint .*/w; rank this model"),
    ],
)
def test_scores_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, change, message):
    saved_model(tmp_path)
    path = tmp_path / "scores" / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(SystemExit, match=message):
        run(tmp_path, "--methods", "plain")
    assert not (tmp_path / "out").exists()


def test_one_benchmark_twice_and_another_table_are_refused(tmp_path):
    saved_model(tmp_path)
    scores, copied = str(tmp_path / "scores"), str(tmp_path / "scores again")
    shutil.copytree(scores, copied)
    with pytest.raises(SystemExit, match="esc50 fold 5 was given twice"):
        run(tmp_path, "--methods", "plain", "--scores", scores, copied)
    # the same folder twice is one benchmark: rows of the tables that share a score give it so
    run(tmp_path, "--methods", "plain", "--scores", scores, scores)
    once = (tmp_path / "out" / "curve.csv").read_bytes()
    run(tmp_path, "--methods", "plain", "--scores", scores)
    assert (tmp_path / "out" / "curve.csv").read_bytes() == once
    (tmp_path / "kept.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match="is another table: its columns are a, b"):
        run(tmp_path, "--methods", "plain", "--merge", str(tmp_path / "kept.csv"))
    assert (tmp_path / "kept.csv").read_text() == "a,b\n1,2\n"


def test_a_nested_student_is_followed_in_the_order_of_its_training(tmp_path):
    saved_model(tmp_path)
    run(tmp_path, "--methods", "plain", "nested", "--order", str(tmp_path / "ranking"))
    rows = rows_of(tmp_path / "out" / "curve.csv")
    by_method = {
        method: [(row["kept"], row["accuracy"]) for row in rows if row["method"] == method]
        for method in ("plain", "nested")
    }
    assert by_method["plain"] == by_method["nested"] and len(by_method["plain"]) > 4


def test_what_is_missing_is_named(tmp_path):
    saved_model(tmp_path)
    (tmp_path / "scores" / "embeddings.npz").unlink()
    with pytest.raises(SystemExit, match="no embeddings.npz; run evaluate.py … --save_embeddings True"):
        run(tmp_path)
    (tmp_path / "ranking" / "moments.npz").unlink()
    with pytest.raises(SystemExit, match="CheckpointError: .*moments.npz: cannot be read"):
        run(tmp_path)
