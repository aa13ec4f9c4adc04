"""tools/curves.py: pictures of runs, and errors in one line."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("matplotlib", reason="needs the extra: pip install tinyclap[plots]")


def a_run(folder, n_epochs=3, **terms):
    """The folder of a run of some epochs."""
    folder.mkdir()
    for epoch in range(1, n_epochs + 1):
        stats = {"loss": 1 / epoch, **{name: value / epoch for name, value in terms.items()}}
        record = {"epoch": epoch, "lr": 0.1 / epoch, "train": stats, "valid": {**stats, "cosine": 0.1 * epoch}}
        with open(folder / "history.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    return folder


def curves(*words):
    """Run the script."""
    command = [sys.executable, str(ROOT / "tools/curves.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_runs_of_other_lengths_and_terms_are_drawn_together(tmp_path):
    runs = [a_run(tmp_path / "a", 1), a_run(tmp_path / "b", 4, distill=2.0, frame_hint=1.0)]
    for name, start in (("c.png", b"\x89PNG"), ("c.svg", b"<?xml")):
        done = curves(*runs, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_bytes().startswith(start)
    drawn = (tmp_path / "c.svg").read_text("utf-8")
    assert all(f"<!-- {name} -->" in drawn for name in ("loss", "distill", "frame_hint", "cosine", "learning rate"))
    assert all(f"<!-- {label} -->" in drawn for label in ("a", "b", "training", "validation", "best epoch"))


def test_runs_are_told_by_what_differs_and_a_term_that_is_the_loss_is_not_drawn_twice(tmp_path):
    runs = [tmp_path / kind / "phinet" / "1234" for kind in ("cosine", "affinity")]
    for run in runs:
        run.parent.mkdir(parents=True)
        a_run(run, distill=1.0)
    assert curves(*runs, "--output", tmp_path / "c.svg").returncode == 0
    drawn = (tmp_path / "c.svg").read_text("utf-8")
    assert "<!-- cosine -->" in drawn and "<!-- affinity -->" in drawn and "phinet" not in drawn
    assert "<!-- distill -->" not in drawn and "<!-- loss -->" in drawn


@pytest.mark.parametrize(
    ("content", "output", "says"),
    [
        (None, "c.png", "history.jsonl: No such file or directory; give the output_folder"),
        ("", "c.png", "no epoch has ended yet"),
        ('{"epoch": 1, "lr"', "c.png", "no epoch has ended yet"),
        ('{"a": 1}', "c.png", "not the history of a training run"),
        ('[{"epoch": 1}', "c.png", "not the history of a training run"),
        ('{"epoch": 1, "lr": 1}', "c.gif", "give a name that ends in .png, .svg, .pdf"),
        ('{"epoch": 1, "lr": 1}', "none/c.png", "there is no such folder"),
        ('{"epoch": 1, "lr": 1}', "c.png", "not the history of a training run"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(tmp_path, content, output, says):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "history.jsonl").write_text(content + "\n", "utf-8")
    done = curves(tmp_path / "run", "--output", tmp_path / output)
    assert done.returncode == 1 and says in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("c.*"))
