"""The command line as a shell sees it: what is written where, and the exit statuses that scripts rely on."""

import csv
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinyclap
from tests.fakes import write_audio
from tinyclap.cli.main import COMMANDS, part_of
from tinyclap.cli.main import parser as command_line
from tinyclap.config.shipped import DEFAULT_CAPTIONER, shipped_names

pytest.importorskip("onnxruntime", reason="the shipped models need an engine")

PATIENCE_S = 60
BAD = ("03b.wav", "05b.flac", "sub/empty.wav")


def command(*words):
    return [sys.executable, "-m", "tinyclap.cli.main", *map(str, words)]


def test_without_a_command_it_says_what_there_is():
    done = subprocess.run([sys.executable, "-m", "tinyclap"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert all(f"\n    {command}" in done.stderr for command in COMMANDS)


def tinyclap_says(*words, status=0, stdin=None):
    """Run a command; returns (standard output, standard error)."""
    done = subprocess.run(command(*words), capture_output=True, input=stdin, timeout=PATIENCE_S, check=False)
    out, err = done.stdout.decode(errors="surrogateescape"), done.stderr.decode()
    assert done.returncode == status, err
    assert "Traceback" not in err
    return out, err


def rows_of(text):
    return list(csv.DictReader(text.splitlines(keepends=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fifteen recordings, with names that scripts trip over, and three that are broken."""
    root = tmp_path_factory.mktemp("cli") / "recordings"
    for index in range(12):
        kind = {"rate": (8000, 44100, 16000)[index % 3], "channels": 1 + index % 2}
        write_audio(root / f"{index:02d}.wav", 0.5 + index % 3, pitch_hz=150 * (index + 1), seed=index, **kind)
    for index, name in enumerate(('é, "quoted".wav', "new\nline.wav", "with space.flac")):
        write_audio(root / "sub" / name, 0.7, 16000, seed=20 + index)
    for name, content in zip(BAD, (b"RIFF", b"<html>404</html>", b""), strict=True):
        (root / name).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def good(folder):
    """Without the broken ones, in the order of the folder."""
    names = sorted(name for name in os.listdir(folder) if name.endswith("wav") and name not in BAD)
    below = sorted(name for name in os.listdir(folder / "sub") if f"sub/{name}" not in BAD)
    return [str(folder / name) for name in names] + [str(folder / "sub" / name) for name in below]


def test_one_recording_and_three_words(folder):
    out, err = tinyclap_says("classify", folder / "00.wav", "--labels", "airplane,dog,rain", "--format", "table")
    lines = out.splitlines()
    assert lines[0] == str(folder / "00.wav")
    assert {line.split("  ")[-1] for line in lines[1:]} == {"airplane", "dog", "rain"}
    assert err == ""


def test_the_command_line_says_what_python_says(folder, good):
    model = tinyclap.from_pretrained()
    names = model.labels[:4]
    out, _ = tinyclap_says("classify", *good[:3], "--labels", ",".join(names), "--all", "--scores")
    told = np.array([[float(row[name]) for name in names] for row in rows_of(out)])
    assert np.abs(told - model.scores(good[:3], names)).max() < 1e-5
    out, _ = tinyclap_says("embed", *good[:3])
    told = np.array([[float(cell) for cell in list(row.values())[1:]] for row in rows_of(out)], np.float32)
    assert np.array_equal(told, model.embed(good[:3]))


def test_a_bad_file_ends_the_command_and_what_was_done_is_kept(folder, tmp_path):
    target = tmp_path / "sounds.csv"
    _, err = tinyclap_says("classify", folder, "--top", 1, "--out", target, status=1)
    assert err.splitlines()[-1].startswith(f"tinyclap classify: {folder / BAD[0]}: ")
    assert [row["file"] for row in rows_of(target.read_text())] == [
        str(folder / f"{index:02d}.wav") for index in range(4)
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bad_files_are_left_out_and_named_once(folder, good, tmp_path, kind):
    target = tmp_path / f"sounds.{kind}"
    out, err = tinyclap_says("classify", folder, "--keep-going", "--out", target, status=3)
    assert out == ""
    text = target.read_text(encoding="utf-8")
    rows = rows_of(text) if kind == "csv" else [json.loads(line) for line in text.splitlines()]
    assert [row["file"] for row in rows] == good
    assert all(err.count(f"left out: {folder / name}: ") == 1 for name in BAD)
    named = rows_of((tmp_path / f"sounds.{kind}.errors.csv").read_text())
    assert {row["file"] for row in named} == {str(folder / name) for name in BAD}


def test_going_on_does_nothing_twice_and_does_not_name_broken_files_again(folder, tmp_path):
    target, words = tmp_path / "sounds.csv", ("classify", folder, "--keep-going", "--top", 1)
    tinyclap_says(*words, "--out", target, status=3)
    whole = target.read_bytes()
    _, err = tinyclap_says(*words, "--out", target, status=1)
    assert "--resume" in err
    target.write_bytes(whole[: len(whole) // 2])
    respelled = [word.replace("--keep-going", "--keep_going") for word in map(str, words)]
    _, err = tinyclap_says(*respelled, "--out", target, "--resume", status=3)
    assert target.read_bytes() == whole
    assert "left out:" not in err
    _, err = tinyclap_says(*words, "--out", target, "--resume", "--retry", status=3)
    assert err.count("left out:") == len(BAD)
    _, err = tinyclap_says("classify", folder, "--labels", "a,b", "--out", target, "--resume", "--keep-going", status=1)
    assert "other settings" in err
    assert "labels" in err
    assert target.read_bytes() == whole
    tinyclap_says(*words, "--labels", "dog,rain", "--out", target, "--overwrite", status=3)
    assert target.read_bytes() != whole


def test_a_killed_command_goes_on_to_the_same_bytes(tmp_path):
    for index in range(150):
        write_audio(tmp_path / "many" / f"{index:03d}.wav", 2.0, 16000, seed=index)
    words = ("classify", tmp_path / "many", "--top", 1, "--quiet", "--out")
    tinyclap_says(*words, tmp_path / "whole.csv")
    target = tmp_path / "cut.csv"
    process = subprocess.Popen(command(*words, target), stderr=subprocess.PIPE)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and (not target.exists() or target.read_bytes().count(b"\n") < 10):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_S) == -signal.SIGKILL
    process.stderr.close()
    assert 10 <= target.read_bytes().count(b"\n") < 151
    tinyclap_says(*words, target, "--resume")
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_full_disk_is_said_in_a_line_and_what_was_done_is_kept(good, tmp_path):
    resource = pytest.importorskip("resource", reason="needs limits of a process")
    words = command("embed", *good, "--out", tmp_path / "rows.csv", "--quiet")
    limit = 20_000  # bytes of a file: a few rows
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    tinyclap_says(*words[3:], "--resume")
    tinyclap_says("embed", *good, "--out", tmp_path / "whole.csv")
    assert (tmp_path / "rows.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command("embed", good[0]), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_lists_and_sound_on_standard_input(folder, good):
    names = b"\0".join(os.fsencode(path) for path in good[-3:])
    out, _ = tinyclap_says("classify", "-", "--top", 1, "--format", "jsonl", stdin=names)
    assert [json.loads(line)["file"] for line in out.splitlines()] == good[-3:]
    sound = (folder / "00.wav").read_bytes()
    out, _ = tinyclap_says("classify", "--stdin-audio", "--top", 1, stdin=sound)
    by_name, _ = tinyclap_says("classify", folder / "00.wav", "--top", 1)
    assert rows_of(out)[0] == {**rows_of(by_name)[0], "file": "<stdin>"}
    _, err = tinyclap_says("classify", "--stdin-audio", stdin=sound[:1000], status=1)
    assert "<stdin>: is cut short" in err


def test_vectors_in_arrays(folder, good, tmp_path):
    tinyclap_says("embed", folder, "--keep-going", "--out", tmp_path / "rows.npz", status=3)
    with np.load(tmp_path / "rows.npz", allow_pickle=False) as content:
        assert np.array_equal(content["embeddings"], tinyclap.from_pretrained().embed(good))
        assert content["files"].tolist() == good
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["rows.npz", "rows.npz.errors.csv", "rows.npz.settings.json"]


OUTPUTS = ("rows.npz", "rows.parquet", "rows.csv", "rows.jsonl")


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_run_in_two_parts_writes_the_same_bytes_and_a_cut_file_is_refused_or_completed(good, tmp_path, name):
    pytest.importorskip("pyarrow", reason="Parquet is an extra")
    tinyclap_says("embed", *good[:4], "--out", tmp_path / name)
    (tmp_path / "parts").mkdir()
    target = tmp_path / "parts" / name
    tinyclap_says("embed", *good[:2], "--out", target)
    tinyclap_says("embed", *good[:4], "--out", target, "--resume")
    whole = (tmp_path / name).read_bytes()
    assert target.read_bytes() == whole
    target.write_bytes(whole[: len(whole) * 2 // 3])
    refused = name in OUTPUTS[:2]
    _, err = tinyclap_says("embed", *good[:4], "--out", target, "--resume", status=int(refused))
    assert str(target) in err and len(err.splitlines()) == 1 if refused else target.read_bytes() == whole


def test_embeddings_and_labels_in_parquet(good, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra")
    tinyclap_says("embed", *good[:3], "--out", tmp_path / "rows.parquet")
    table = parquet.read_table(tmp_path / "rows.parquet")
    assert table["file"].to_pylist() == good[:3]
    assert np.array_equal(np.array(table["embedding"].to_pylist()), tinyclap.from_pretrained().embed(good[:3]))
    words = ("classify", *good[:3], "--labels", "dog,rain", "--top", 1)
    tinyclap_says(*words, "--out", tmp_path / "labels.parquet")
    by_csv = rows_of(tinyclap_says(*words)[0])
    of_parquet = parquet.read_table(tmp_path / "labels.parquet").to_pylist()
    assert [{key: str(value) for key, value in row.items()} for row in of_parquet] == by_csv


@pytest.mark.parametrize("name", OUTPUTS)
def test_overwrite_that_cannot_begin_leaves_everything_as_it_was(good, tmp_path, name):
    pytest.importorskip("pyarrow", reason="Parquet is an extra")
    target = tmp_path / name
    tinyclap_says("embed", good[0], "--out", target)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for words in (["nothing.wav"], [good[0], "--model", "no-such"], [tmp_path / "broken.wav"], [f"@{tmp_path}/no"]):
        tinyclap_says("embed", *words, "--out", target, "--overwrite", status=1)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, words
    tinyclap_says("embed", good[1], "--out", target, "--overwrite")
    assert target.read_bytes() != before[name]


def test_what_cannot_be_an_output_is_refused_before_any_work(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("list.csv", f"{good[0]}\n"),
        ("labels.csv", "dog\nrain\n"),
        ("a.csv.errors.csv", f"{good[0]}\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for words, said in (
        (["@list.csv", "--out", "list.csv"], "also an input"),
        (["@a.csv.errors.csv", "--out", "a.csv"], "also an input"),
        ([good[0], "--labels", "labels.csv", "--out", "labels.csv"], "also an input"),
        ([good[0], "--out", "folder.csv"], "a folder"),
        ([good[0], "--out", "pipe.csv"], "not a regular file"),
        ([good[0], "--out", "gone/a.csv"], "no folder gone"),
        ([good[0], "--out", "-"], "standard output"),
        (["-", "-"], "- is given twice"),
    ):
        overwrite = ["--overwrite"] if "--out" in words else []
        _, err = tinyclap_says("classify", *words, *overwrite, status=1)
        assert said in err and len(err.splitlines()) == 1
    assert (tmp_path / "list.csv").read_text() == f"{good[0]}\n"
    assert (tmp_path / "labels.csv").read_text() == "dog\nrain\n"


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


@pytest.mark.skipif(DEFAULT_CAPTIONER not in shipped_names(), reason="no captioner comes with this checkout")
def test_captions_in_the_form_of_dcase(folder, good):
    out, _ = tinyclap_says("caption", *good[:2])
    assert all(row["caption"] for row in rows_of(out))
    dcase, _ = tinyclap_says("caption", *good[:2], "--dcase")
    assert [list(row.values()) for row in rows_of(dcase)] == [
        [os.path.basename(row["file"]), row["caption"]] for row in rows_of(out)
    ]
    assert dcase.startswith("file_name,caption_predicted\n")


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


def test_every_command_has_help_with_examples():
    out, _ = tinyclap_says("--help")
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\b", out, re.MULTILINE)
        module = importlib.import_module(f"tinyclap.cli.{name}_command")
        assert f"tinyclap {name}" in module.EXAMPLES
        assert len(module.DESCRIPTION) > 20


def test_help_and_the_commands_load_no_torch(folder):
    code = "import sys; from tinyclap.cli.main import main; s = main(sys.argv[1:]); heavy = {'torch', 'transformers', "
    code += "'pandas', 'scipy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy; sys.exit(s)"
    for words in (["classify", folder / "00.wav"], ["embed", folder / "00.wav"], ["completion", "bash"]):
        done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    code = "import sys; import tinyclap.cli.main; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def completed(script, *words):
    """What bash offers for the last word."""
    told = '. {}; COMP_WORDS=({}); COMP_CWORD={}; _shtab_tinyclap; echo "${{COMPREPLY[@]}}"'.format(
        script, " ".join(f"'{word}'" for word in ("tinyclap", *words)), len(words)
    )
    return subprocess.run(["bash", "-c", told], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_choices_and_files(tmp_path, monkeypatch):
    script = tmp_path / "completion.bash"
    script.write_text(tinyclap_says("completion", "bash")[0])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recording.wav").write_bytes(b"")
    assert set(COMMANDS) <= set(completed(script, ""))
    assert completed(script, "cl") == ["classify"]
    assert completed(script, "classify", "--keep") == ["--keep-going"]
    assert completed(script, "classify", "--format", "") == ["table", "csv", "jsonl"]
    assert completed(script, "classify", "rec") == ["recording.wav"]
    made = command_line(None)
    for name in COMMANDS:
        options = {word for action in part_of(made, name)._actions for word in action.option_strings[:1]}
        assert options <= {*completed(script, name, "-"), *completed(script, name, "--")}, name


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_accept_their_scripts(tmp_path, shell):
    script = tmp_path / f"completion.{shell}"
    script.write_text(tinyclap_says("completion", shell)[0])
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n", script], check=True)
