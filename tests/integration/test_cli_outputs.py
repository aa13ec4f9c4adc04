"""Results in files: resumed, overwritten, damaged, failed recordings."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_runs import BAD, PATIENCE_S, command, rows_of, tinyclap_says

import tinyclap
from tests.fakes import write_audio

pytest.importorskip("onnxruntime", reason="the shipped models need an engine")


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
