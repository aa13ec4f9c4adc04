"""How exact the removal of dimensions is, as a table: of a tiny student with the published head."""

import json
import sys

import numpy as np
import pytest
import torch

from tests import tiny
from tests.conftest import ROOT
from tinyclap.checkpoints.state import save_folder, sha256_of
from tinyclap.models.projection import ClapProjection
from tinyclap.models.student import AudioStudent

sys.path.insert(0, str(ROOT / "recipes"))

import pruning_exactness  # noqa: E402

N_DIMS = 16


@pytest.fixture
def place(tmp_path):
    """A student whose LayerNorm shifts, and a ranking with the moments of its head's input."""
    torch.manual_seed(3)
    plain = tiny.student(embed_dim=N_DIMS)
    head = ClapProjection(plain.encoder.embed_dim, N_DIMS)
    torch.nn.init.normal_(head.layer_norm.bias, std=0.5)
    student = AudioStudent(plain.features, plain.encoder, head, {"window_s": 0.5}).eval()
    save_folder(student, tmp_path / "run" / "student", {"seed": 3})
    digest = sha256_of(tmp_path / "run" / "student" / "model.safetensors")
    rows = np.random.default_rng(3).standard_normal((200, N_DIMS))
    ranking = {"format": 1, "ranking": "mean_abs", "order": list(range(N_DIMS))[::-1], "n_clips": 200, "corpora": []}
    ranking |= {"importance": [1.0] * N_DIMS, "model": {"weights_sha256": digest}}
    (tmp_path / "ranking").mkdir()
    (tmp_path / "ranking" / "ranking.json").write_text(json.dumps(ranking), encoding="utf-8")
    moments = {"pre_norm_mean": rows.mean(axis=0), "pre_norm_second_moment": rows.T @ rows / len(rows)}
    moments |= {"hidden_mean": np.zeros(N_DIMS), "hidden_std": np.ones(N_DIMS)}
    np.savez(tmp_path / "ranking" / "moments.npz", **moments)
    return tmp_path


def run(place, monkeypatch, *words):
    """Run the command; returns the table."""
    command = ["pruning_exactness.py", str(place / "run"), "--ranking", str(place / "ranking")]
    monkeypatch.setattr(sys, "argv", [*command, "--output_folder", str(place / "out"), *words])
    pruning_exactness.main()
    return pruning_exactness.read(place / "out" / "exactness.csv")


def test_removal_is_exact_without_a_shift_and_with_all_rows_and_says_so(place, monkeypatch, capsys):
    table = run(place, monkeypatch, "--keep", str(place / "kept.csv"))
    assert len(table) == 24 and {row["kept"] for row in table} == {"12", "8", "4", "2"}
    for row in table:
        if row["bias"] == "zero" or row["statistic_rows"] == "all":
            assert row["exact"] == "True" and float(row["max_abs"]) < 1e-5
    rough = [row for row in table if row["statistic_rows"] == "0" and row["bias"] == "as trained"]
    assert all(row["exact"] == "False" and float(row["max_abs"]) > 1e-4 for row in rough)
    assert pruning_exactness.read(place / "kept.csv") == table
    assert pruning_exactness.markdown(table) in capsys.readouterr().out


def test_what_is_saved_is_what_the_rows_had(place, monkeypatch):
    row = next(row for row in run(place, monkeypatch) if row["bias"] == "zero" and row["kept"] == "4")
    # 12 rows of the second matrix, and 12 entries of the norm's gain and of its bias
    n_all = int(row["parameters"]) + 12 * N_DIMS + 2 * 12
    assert float(row["saved_parameters"]) == pytest.approx(1 - int(row["parameters"]) / n_all, abs=1e-6)


def test_a_head_without_a_norm_has_nothing_to_compare(place, monkeypatch):
    save_folder(tiny.student(embed_dim=N_DIMS), place / "linear", {})
    command = ["pruning_exactness.py", str(place / "linear"), "--ranking", str(place / "ranking")]
    monkeypatch.setattr(sys, "argv", [*command, "--output_folder", str(place / "out")])
    with pytest.raises(SystemExit, match="every removal is exact"):
        pruning_exactness.main()
