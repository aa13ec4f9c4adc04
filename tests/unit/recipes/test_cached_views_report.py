"""The table of recipes/real_audio/cached_views.sh, from runs as train.py and evaluate.py leave them."""

import json
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes" / "real_audio"))

import cached_views_report


def write_run(folder, views, **scores):
    """A run over `views` views a clip; options are noted as typed."""
    folder.mkdir(parents=True)
    options = {"n_views": str(views), "seed": "1234", "number_of_epochs": str(32 // views)}
    (folder / "run.json").write_text(json.dumps({"overrides": options}), encoding="utf-8")
    (folder / "history.jsonl").write_text(json.dumps({"valid": {"loss": 1.25, "cosine": 0.7}}) + "\n", encoding="utf-8")
    for name, value in scores.items():
        metrics = {"value": value, "interval_95": [value - 0.1, value + 0.1], "n_items": 20}
        (folder / name).mkdir()
        text = json.dumps({**metrics, "commit": "c", "dirty": False})
        (folder / name / "metrics.json").write_text(text, encoding="utf-8")


def test_finished_runs_are_listed_by_their_number_of_views(tmp_path, capsys):
    for views in (16, 4, 32):
        write_run(tmp_path / f"{views}_1234", views, esc50=0.5, us8k=0.25)
    write_run(tmp_path / "1_1234", 1, esc50=0.5)  # not finished
    assert cached_views_report.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    cells = "1234 | 1.250 | 50.0 [40.0, 60.0] (20) | 25.0 [15.0, 35.0] (20) |"
    first = ["| 4 | 8 ×", "| 16 | 2 ×", "| all new, as on the fly | 1 ×"]
    assert lines == [f"{words} | {cells}" for words in first]
    assert [row["views"] for row in cached_views_report.read_table(tmp_path / "cached_views.csv")] == ["4", "16", "32"]


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"no finished run; run recipes/real_audio/cached_views.sh first"):
        cached_views_report.main([str(tmp_path)])
