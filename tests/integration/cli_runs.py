"""The command line as a process."""

import csv
import subprocess
import sys

PATIENCE_S = 60
BAD = ("03b.wav", "05b.flac", "sub/empty.wav")


def command(*words):
    return [sys.executable, "-m", "tinyclap.cli.main", *map(str, words)]


def tinyclap_says(*words, status=0, stdin=None):
    """Run a command; returns (standard output, standard error)."""
    done = subprocess.run(command(*words), capture_output=True, input=stdin, timeout=PATIENCE_S, check=False)
    out, err = done.stdout.decode(errors="surrogateescape"), done.stderr.decode()
    assert done.returncode == status, err
    assert "Traceback" not in err
    return out, err


def rows_of(text):
    return list(csv.DictReader(text.splitlines(keepends=True)))
