"""``tinyclap search`` as a stranger runs it: index, ask, change, break, kill, go on."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tests.conftest import ROOT  # noqa: E402
from tests.fakes import write_audio  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def search(folder, *words, stdin=None):
    """Run the command in a folder; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "tinyclap.cli.main", "search", *map(str, words)],
        cwd=folder,
        env=ENVIRONMENT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows_of(process):
    return list(csv.DictReader(process.stdout.splitlines()))


@pytest.fixture
def folder(tmp_path):
    """A working folder with five recordings, one of an awkward name."""
    for index, name in enumerate(["low", "high", "één, twee", "b", "c"]):
        write_audio(tmp_path / "recordings" / f"{name}.wav", 0.3, 16000, pitch_hz=200 * 2**index, seed=index)
    return tmp_path


def test_a_folder_is_indexed_asked_and_brought_up_to_date(folder):
    made = search(folder, "--index", "ix", "--add", "recordings")
    assert (made.returncode, made.stdout) == (0, "")
    assert "5 added, 0 changed, 0 removed, 0 as they were" in made.stderr
    asked = search(folder, "recordings/één, twee.wav", "siren", "--index", "ix", "-k", 2)
    assert (asked.returncode, asked.stderr) == (0, "")
    rows = rows_of(asked)
    assert [(row["rank"], row["query"]) for row in rows] == [
        ("1", "recordings/één, twee.wav"),
        ("2", "recordings/één, twee.wav"),
        ("1", "siren"),
        ("2", "siren"),
    ]
    assert rows[0]["file"] == "recordings/één, twee.wav" and float(rows[0]["score"]) == pytest.approx(1, abs=1e-3)
    (folder / "recordings" / "b.wav").unlink()
    again = search(folder, "siren", "--index", "ix", "--add", "recordings", "--format", "jsonl")
    assert "0 added, 0 changed, 1 removed, 4 as they were" in again.stderr
    found = [json.loads(line)["file"] for line in again.stdout.splitlines()]
    assert len(found) == 4 and "recordings/b.wav" not in found
    by_list = search(folder, "--index", "ix", "--add", "-", stdin="recordings/c.wav\nrecordings/low.wav\n")
    assert "0 added, 0 changed, 0 removed, 2 as they were" in by_list.stderr
    assert search(folder, "--index", "ix", "--verify").returncode == 0


def test_broken_recordings_stop_it_or_are_named_once(folder):
    (folder / "recordings" / "broken.wav").write_bytes(b"no audio at all")
    stopped = search(folder, "--index", "ix", "--add", "recordings")
    assert stopped.returncode == 1
    assert len(stopped.stderr.splitlines()) == 1 and "broken.wav: cannot be read as audio" in stopped.stderr
    left_out = search(folder, "--index", "ix", "--add", "recordings", "--keep-going")
    assert left_out.returncode == 3
    assert "broken.wav" in left_out.stderr and "1 broken recordings left out" in left_out.stderr
    again = search(folder, "--index", "ix", "--add", "recordings", "--keep-going")
    assert again.returncode == 3
    assert "broken.wav" not in again.stderr and "known from before" in again.stderr
    assert "5 as they were" in again.stderr


def test_what_is_wrong_is_said_in_one_line(folder):
    for words, status, part in [
        (["dog", "--index", "nowhere"], 1, "no search index there"),
        (["--index", "ix"], 1, "nothing to do"),
        (["dog"], 2, "--index"),
        (["--index", "recordings", "--add", "recordings"], 1, "not an empty folder"),
        (["--index", "ix", "--add", "nothing"], 1, "nothing there: nothing"),
    ]:
        process = search(folder, *words)
        assert (process.returncode, process.stdout) == (status, ""), words
        assert part in process.stderr and "Traceback" not in process.stderr
    assert search(folder, "--index", "ix", "--add", "recordings").returncode == 0
    missing = search(folder, "no-such.wav", "--index", "ix")
    assert (missing.returncode, missing.stdout) == (1, "") and "no such file" in missing.stderr


def test_a_run_that_was_killed_goes_on_where_it_was(folder):
    for index in range(300):
        shutil.copy(folder / "recordings" / "low.wav", folder / "recordings" / f"{index:03d}.wav")
    # flushed after every eighth recording, so that the kill falls between two of many
    start = "import sys, tinyclap.search.update as u; u._FLUSH_ROWS = 8; from tinyclap.cli.main import main; main(%r)"
    command = [sys.executable, "-c", start % ["search", "--index", "ix", "--add", "recordings", "--workers", "1"]]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT) as process:
        deadline = time.monotonic() + 100
        while count(folder) < 16 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    n_kept = count(folder)
    assert 16 <= n_kept < 305
    resumed = search(folder, "--index", "ix", "--add", "recordings")
    assert f"{305 - n_kept} added, 0 changed, 0 removed, {n_kept} as they were" in resumed.stderr
    found = rows_of(search(folder, "recordings/high.wav", "--index", "ix", "-k", 1000))
    assert len(found) == len({row["file"] for row in found}) == 305
    assert search(folder, "--index", "ix", "--verify").returncode == 0


def count(folder):
    """Rows that the index names at this moment."""
    try:
        state = json.loads((folder / "ix" / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    return sum(shard["n"] for shard in state["shards"])
