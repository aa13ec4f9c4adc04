"""Errors of the user, closed and full streams, and Ctrl-C: one line and an exit status."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from cli_runs import PATIENCE_S, command, tinyclap_says

pytest.importorskip("onnxruntime", reason="the shipped models need an engine")


def test_ctrl_c_ends_with_130_and_keeps_what_was_done(folder, tmp_path):
    words = ("classify", "-", "--top", 1, "--quiet", "--out", tmp_path / "sounds.csv")
    process = subprocess.Popen(command(*words), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    # more than it reads ahead; it then waits for the next line, so the signal never comes after its end
    process.stdin.write(b"".join(os.fsencode(folder / f"{index % 12:02d}.wav\n") for index in range(48)))
    process.stdin.flush()
    until = time.monotonic() + PATIENCE_S
    path = tmp_path / "sounds.csv"
    while time.monotonic() < until and not (path.exists() and path.read_bytes().count(b"\n") >= 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert path.read_text().startswith("file,label,") and path.read_bytes().count(b"\n") >= 4


def test_a_reader_that_has_enough_ends_the_command_quietly(good):
    process = subprocess.Popen(command("embed", *good), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 0
    err = process.stderr.read()
    process.stderr.close()
    assert b"Traceback" not in err
    assert b"Broken" not in err


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("words", "redirect", "said"),
    [
        ("classify -", "<&-", "standard input is closed"),
        ("classify --stdin-audio", "<&-", "standard input is closed"),
        ("classify {good}", ">&-", "Bad file descriptor"),
        ("inspect --no-macs", ">&-", "Bad file descriptor"),
        ("inspect --no-macs", ">/dev/full", "No space left"),
        ("classify --help", ">/dev/full", "No space left"),
    ],
)
def test_closed_and_full_streams_are_said_in_a_line(good, words, redirect, said):
    shell = f'exec "$0" "$@" {redirect}'
    words = command(*words.format(good=good[0]).split())
    done = subprocess.run(["sh", "-c", shell, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_terminal_of_few_characters_gets_help_tables_and_errors(good, tmp_path):
    shutil.copy(good[0], tmp_path / "日本.wav")
    few = {**os.environ, "PYTHONIOENCODING": "cp437", "PYTHONUTF8": "0"}
    for words, status in (
        (["listen", "--help"], 0),
        (["classify", tmp_path / "日本.wav", "--labels", "été,rain", "--format", "table"], 0),
        (["classify", tmp_path / "無.wav"], 1),
    ):
        done = subprocess.run(command(*words), capture_output=True, env=few, check=False)
        assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr
    out = subprocess.run(
        command("classify", tmp_path / "日本.wav", "--labels", "été,rain"), capture_output=True, env=few
    )
    assert "日本.wav" in out.stdout.decode()  # CSV is UTF-8


def test_ctrl_c_within_an_import_is_no_missing_library(good):
    code = """if True:
        import os, signal, sys
        import tinyclap.inference.pretrained as pretrained
        from tinyclap.cli.main import main
        from tinyclap.errors import ConfigError
        def opens(*words, **options):
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):
                    pass
            except BaseException as error:
                raise ConfigError("onnxruntime is not installed") from error
        pretrained.from_pretrained = opens
        sys.argv = ["tinyclap", "classify", sys.argv[1]]
        sys.exit(main())
    """
    done = subprocess.run([sys.executable, "-c", code, good[0]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "stopped")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("classify",), 1, "no recordings"),
        (("classify", "nothing.wav"), 1, "nothing there: nothing.wav"),
        (("classify", "{folder}", "--model", "no-such"), 1, "no model 'no-such'"),
        (("classify", "{folder}", "--out", "rows.txt"), 1, "ends in none of .csv, .jsonl"),
        (("classify", "{folder}", "--resume"), 1, "belong to --out"),
        (("embed", "{folder}", "--out", "no/folder/rows.npz"), 1, "there is no folder"),
        (("caption", "{folder}", "--model", "tinyclap-phinet-m"), 1, "does not caption"),
        (("classify", "{folder}", "--format", "xml"), 2, "invalid choice"),
        (("nonsense",), 2, "invalid choice"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(folder, words, status, said):
    out, err = tinyclap_says(*(word.format(folder=folder) for word in words), status=status)
    assert said in err
    assert out == ""
    assert len(err.splitlines()) == 1


NUMBERS = ("--top 0", "--top 1.5", "--workers 0", "--threads 0", "--threads -1", "--threads 100000", "--threads x")
NUMBERS += ("--dim nan", "--dim ²", "--n_threads 2", "--batch 0")


@pytest.mark.parametrize("words", [f"classify a.wav {words}" for words in NUMBERS])
def test_wrong_numbers_and_options_are_refused_in_a_line(words):
    _, err = tinyclap_says(*words.split(), status=2)
    assert words.split()[2] in err and len(err.splitlines()) == 1
