"""``tinyclap search`` as a stranger runs it: index, ask, change, break, kill, go on."""

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
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
    assert "5 added, 0 changed, 0 unchanged" in made.stderr
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
    again = search(folder, "siren", "--index", "ix", "--add", "recordings", "--prune", "--format", "jsonl")
    assert "0 added, 0 changed, 4 unchanged" in again.stderr and "1 removed, 4 left" in again.stderr
    found = [json.loads(line)["file"] for line in again.stdout.splitlines()]
    assert len(found) == 4 and "recordings/b.wav" not in found
    by_list = search(folder, "--index", "ix", "--add", "-", stdin="recordings/c.wav\nrecordings/low.wav\n")
    assert "0 added, 0 changed, 2 unchanged" in by_list.stderr
    assert search(folder, "--index", "ix", "--verify").returncode == 0
    assert rows_of(search(folder, "siren", "--index", "ix/index.sqlite", "-k", 1))[0]["rank"] == "1"
    os.rename(folder / "recordings", folder / "away")
    kept = search(folder, "--index", "ix", "--prune")
    assert kept.returncode == 3 and "recordings" in kept.stderr and "0 removed, 4 left" in kept.stderr
    assert "4 removed, 0 left" in search(folder, "--index", "ix", "--prune", "recordings").stderr


def test_broken_recordings_stop_it_or_are_named_once(folder):
    (folder / "recordings" / "broken.wav").write_bytes(b"no audio at all")
    stopped = search(folder, "--index", "ix", "--add", "recordings")
    assert stopped.returncode == 1
    assert len(stopped.stderr.splitlines()) == 1 and "broken.wav: cannot be read as audio" in stopped.stderr
    left_out = search(folder, "--index", "ix", "--add", "recordings", "--keep-going")
    assert left_out.returncode == 3
    assert "broken.wav" in left_out.stderr and "1 recordings left out" in left_out.stderr
    again = search(folder, "--index", "ix", "--add", "recordings", "--keep-going")
    assert again.returncode == 3
    assert "broken.wav" not in again.stderr and "known from before" in again.stderr
    assert "5 unchanged" in again.stderr
    assert "broken.wav: cannot be read as audio" in search(folder, "--index", "ix", "--skipped").stderr


def test_what_is_wrong_is_said_in_one_line(folder):
    for words, status, part in [
        (["dog", "--index", "nowhere"], 1, "no search index there"),
        (["--index", "ix"], 1, "nothing to do"),
        (["dog"], 2, "--index"),
        (["--index", "recordings", "--add", "recordings"], 1, "not an empty folder"),
        (["--index", "ix", "--add", "nothing"], 1, "nothing there: nothing"),
        (["", "--index", "ix"], 1, "empty"),
    ]:
        process = search(folder, *words)
        assert (process.returncode, process.stdout) == (status, ""), words
        assert part in process.stderr and "Traceback" not in process.stderr
    assert search(folder, "--index", "ix", "--add", "recordings").returncode == 0
    missing = search(folder, "no-such.wav", "--index", "ix")
    assert (missing.returncode, missing.stdout) == (1, "") and "no such file" in missing.stderr


# commits after every eighth recording, so that there are many moments to stop at
UPDATE = (
    "import sys, tinyclap.search.update as u; u._FLUSH_ROWS = 8; from tinyclap.cli.main import main; "
    "sys.exit(main(['search', '--index', 'ix', '--add', *sys.argv[1:], '--workers', '1']))"
)


def started(folder, *words, **options):
    return subprocess.Popen([sys.executable, "-c", UPDATE, *words], cwd=folder, env=ENVIRONMENT, text=True, **options)


def copies(folder, name, n_copies):
    """A folder of copies of one recording."""
    (folder / name).mkdir()
    for index in range(n_copies):
        shutil.copy(folder / "recordings" / "low.wav", folder / name / f"{index:03d}.wav")


@pytest.mark.parametrize("at_least", [0, 8, 100])
def test_a_run_that_was_killed_goes_on_where_it_was(folder, at_least):
    copies(folder, "many", 200)
    with started(folder, "many") as process:
        deadline = time.monotonic() + 100
        while count(folder) < max(at_least, 0) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        while not at_least and not (folder / "ix").exists() and process.poll() is None:
            time.sleep(0.0002)
        process.send_signal(signal.SIGKILL)
    n_kept = count(folder)
    assert at_least <= n_kept < 200 or process.returncode == 0
    resumed = search(folder, "--index", "ix", "--add", "many")
    assert f"{200 - n_kept} added, 0 changed, {n_kept} unchanged, 200 in all" in resumed.stderr
    assert search(folder, "--index", "ix", "--verify").returncode == 0


def test_two_writers_at_once_lose_nothing(folder):
    for name in ("one", "two"):
        copies(folder, name, 60)
    with started(folder, "one", "recordings") as one, started(folder, "two", "recordings") as two:
        assert (one.wait(100), two.wait(100)) == (0, 0)
    found = rows_of(search(folder, "recordings/high.wav", "--index", "ix", "-k", 1000))
    assert len(found) == len({row["file"] for row in found}) == 125
    assert search(folder, "--index", "ix", "--verify").returncode == 0


def test_a_full_disk_is_named_and_what_was_committed_is_kept(folder):
    resource = pytest.importorskip("resource", reason="limits of file sizes are Unix's")
    copies(folder, "many", 200)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    with started(folder, "many", stderr=subprocess.PIPE, preexec_fn=limit) as process:
        stderr = process.stderr.read()
    assert process.returncode == 1 and "ix" in stderr and "Traceback" not in stderr and len(stderr.splitlines()) == 1
    n_kept = count(folder)
    assert 8 <= n_kept < 200
    assert (
        f"{200 - n_kept} added, 0 changed, {n_kept} unchanged"
        in search(folder, "--index", "ix", "--add", "many").stderr
    )


def count(folder):
    """Recordings that are committed at this moment."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / 'ix' / 'index.sqlite'}?mode=rw", uri=True)) as made:
            return made.execute("SELECT count(*) FROM vectors").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
