"""What a command reads and writes: names of recordings from words, rows that survive a kill, one run at a time."""

import io
import json
import os
import subprocess
import sys

import pytest

from tests.fakes import write_audio
from tinyclap.audio.find import find_recordings, listed
from tinyclap.cli.outputs import csv_line, json_line
from tinyclap.cli.row_file import RowFile
from tinyclap.errors import ConfigError

NAMES = [
    "plain.wav",
    "with space.wav",
    'quote".wav',
    "comma,.wav",
    "new\nline.wav",
    "été.wav",
    "\udcff.wav",
    "crlf\r\n.wav",
]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.wav", "a.FLAC.wav", "sub/c.wav", "sub/deep/d.wav", ".hidden.wav", ".git/e.wav"):
        write_audio(tmp_path / name, 0.01)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "sub" / "film.M4A").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_recordings_sorted_without_hidden_ones(tree):
    notes = []
    found = list(find_recordings(["."], note=notes.append))
    assert found == ["./a.FLAC.wav", "./b.wav", "./sub/c.wav", "./sub/deep/d.wav"]
    assert len(notes) == 1
    assert "1 .m4a" in notes[0]


def test_patterns_files_and_folders_mix_and_each_is_given_once(tree):
    assert list(find_recordings(["b.wav", "*.wav", "sub"])) == ["b.wav", "a.FLAC.wav", "sub/c.wav", "sub/deep/d.wav"]
    assert list(find_recordings(["**/*.wav"])) == ["a.FLAC.wav", "b.wav", "sub/c.wav", "sub/deep/d.wav"]
    assert list(find_recordings(["s*"])) == ["sub/c.wav", "sub/deep/d.wav"]


def test_a_file_whose_name_looks_like_a_pattern_or_a_list_is_that_file(tree):
    for name in ("[x].wav", "@y.wav"):
        write_audio(tree / name, 0.01)
    assert list(find_recordings(["[x].wav", "@y.wav"])) == ["[x].wav", "@y.wav"]


def test_lists_name_recordings_that_need_not_be_there(tree):
    (tree / "list.txt").write_bytes(b"b.wav\r\n\nnot there.wav\n\xff.wav")
    assert list(find_recordings(["@list.txt"])) == ["b.wav", "not there.wav", os.fsdecode(b"\xff.wav")]
    assert list(find_recordings(["-", "b.wav"], io.BytesIO(b"b.wav\0new\nline.wav\0"))) == ["b.wav", "new\nline.wav"]


def test_a_long_list_comes_whole_in_whatever_pieces_it_is_read():
    names = [f"{number}.wav" for number in range(20000)]
    for divider in ("\n", "\0"):
        assert list(listed(io.BytesIO(divider.join(names).encode()))) == names


@pytest.mark.parametrize("words", [[], ["nothing.wav"], ["b.wav", "*.mp3"], ["@nothing.txt"]])
def test_a_word_that_names_nothing_is_refused_at_once(tree, words):
    with pytest.raises(ConfigError, match="nothing there|no recordings"):
        find_recordings(words)


def test_a_folder_without_recordings_is_refused(tree):
    (tree / "empty").mkdir()
    with pytest.raises(ConfigError, match="no recordings in this folder"):
        list(find_recordings(["empty"]))


HEAD = csv_line(["file", "label"])
ENCODE = {
    "csv": lambda name, label: csv_line([name, label]),
    "jsonl": lambda name, label: json_line({"file": name, "label": label}),
}


def opened(path, kind):
    rows = RowFile(path, kind, ENCODE[kind], HEAD if kind == "csv" else "")
    rows.lock()
    rows.resume()
    return rows


def write_all(path, kind):
    rows = opened(path, kind)
    for name in NAMES:
        if name not in rows.done:
            rows.write(name, "dog")
    rows.close()
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_cut_anywhere_goes_on_to_the_same_bytes(tmp_path, kind):
    whole = write_all(tmp_path / "whole", kind)
    for n_bytes in range(len(whole) + 1):
        for tail in (b"", bytes(512)):  # a power cut may leave zeros
            (tmp_path / "cut").write_bytes(whole[:n_bytes] + tail)
            assert write_all(tmp_path / "cut", kind) == whole, n_bytes


def test_a_file_of_something_else_is_not_continued(tmp_path):
    for kind, text, said in (
        ("csv", "name,age\nAda,36\n", "other columns"),
        ("jsonl", '{"name": "Ada"}\n', "another kind"),
    ):
        path = tmp_path / f"other.{kind}"
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            opened(path, kind)
        assert path.read_text() == text


def test_one_run_at_a_time_and_the_lock_of_a_killed_one_does_not_stay(tmp_path):
    path = tmp_path / "rows.csv"
    code = "import sys, time; from tinyclap.cli.row_file import RowFile; rows = RowFile(sys.argv[1], 'csv', str); "
    code += "rows.lock(); print('locked', flush=True); time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"locked\n"
    with pytest.raises(ConfigError, match="another run is writing"):
        opened(path, "csv")
    other.kill()
    other.wait()
    other.stdout.close()
    assert write_all(path, "csv").startswith(HEAD.encode())


def test_a_run_without_rows_leaves_no_empty_file(tmp_path):
    rows = opened(tmp_path / "rows.csv", "csv")
    rows.close()
    assert list(tmp_path.iterdir()) == []
    rows = opened(tmp_path / "rows.csv", "csv")
    rows.finish()
    rows.close()
    assert (tmp_path / "rows.csv").read_text() == HEAD


def test_json_lines_bring_every_name_back():
    assert [json.loads(json_line({"file": name}))["file"] for name in NAMES] == NAMES
