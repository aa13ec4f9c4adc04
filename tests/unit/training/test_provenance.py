"""Provenance: commit, machine and versions, as far as they can be known."""

import subprocess

from tinyclap.training.provenance import git_state, provenance


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_and_whether_it_was_changed(tmp_path):
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    git(tmp_path, "init")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-m", "first")
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "b.txt").write_text("untracked", encoding="utf-8")
    assert git_state(tmp_path) == state
    (tmp_path / "a.txt").write_text("two", encoding="utf-8")
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_without_a_checkout_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "installed").mkdir()
    assert git_state(tmp_path / "installed") == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == {"commit": None, "dirty": None}


def test_versions_device_and_date():
    made_by = provenance("cpu")
    where = {"device", "n_threads", "machine", "processor", "n_cpus"}
    assert {"commit", "dirty", "date", "versions", *where} == set(made_by)
    assert made_by["processor"] and made_by["n_cpus"] >= 1
    assert made_by["date"].endswith("+00:00")
    assert {"python", "tinyclap", "torch", "speechbrain", "transformers"} <= set(made_by["versions"])
