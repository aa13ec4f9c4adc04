"""The table of recipes/real_audio/loss_sweep.sh: heard and held-out classes, paired differences, seeds."""

import json
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "recipes" / "real_audio"))

import loss_sweep_report

CLIPS = [(f"5-{number}-A-0", "dog" if number < 4 else "cow") for number in range(8)]  # dog is trained on, cow held out


def write_scores(folder, n_right):
    """predictions.csv in which the first `n_right` clips of each class are right."""
    folder.mkdir(parents=True)
    other = {"dog": "cow", "cow": "dog"}
    rows = [[clip, label, label if k % 4 < n_right else other[label]] for k, (clip, label) in enumerate(CLIPS)]
    lines = [f"{clip},5,{label},{answer},{int(label == answer)},0,0" for clip, label, answer in rows]
    head = "id,fold,label,prediction,correct,score:dog,score:cow"
    (folder / "predictions.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps({"commit": "c", "dirty": False}), encoding="utf-8")


def write_run(folder, n_right):
    write_scores(folder / "esc50", n_right)
    (folder / "history.jsonl").write_text(json.dumps({"valid": {"cosine": 0.5}}) + "\n", encoding="utf-8")


@pytest.fixture
def trained(tmp_path):
    path = tmp_path / "esc50.csv"
    path.write_text("filename,category\na.wav,dog\n", encoding="utf-8")
    return str(path)


def test_losses_stand_beside_the_cosine_in_pairs(tmp_path, trained, capsys):
    for loss, seed, n_right in (("cosine", 1, 1), ("cosine", 2, 2), ("affinity", 1, 3), ("affinity", 2, 4)):
        write_run(tmp_path / loss / str(seed), n_right)
    write_scores(tmp_path / "teacher", 4)
    assert loss_sweep_report.main([str(tmp_path), trained]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "held-out classes, % (n = 4)" in lines[0] and "trained classes, % (n = 4)" in lines[0]
    assert lines[2].startswith("| the teacher | | 100.0 [100.0, 100.0] |")
    cosine, affinity = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:])
    assert cosine[:2] == ["cosine", "2"] and cosine[2].startswith("37.5 [") and cosine[3] == ""
    assert affinity[:2] == ["affinity", "2"] and affinity[2].startswith("87.5 [")
    assert affinity[3].startswith("+50.0 [")
    assert cosine[4] == affinity[4] == "17.7"  # of 25 and 50 %, of 75 and 100 %
    rows = [json.loads(line) for line in (tmp_path / "loss_sweep.jsonl").read_text("utf-8").splitlines()]
    assert [(row["loss"], row["seed"], row["held_out"]) for row in rows][0] == ("affinity", 1, 0.75)


def test_a_folder_without_a_finished_run_is_refused(tmp_path, trained):
    with pytest.raises(SystemExit, match="no finished run"):
        loss_sweep_report.main([str(tmp_path), trained])
