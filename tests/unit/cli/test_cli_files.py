"""What a command reads and writes: names of recordings from words, rows that survive a kill, arrays that grow."""

import io
import json
import os

import numpy as np
import pytest

from tests.fakes import write_audio
from tinyclap.audio.find import find_recordings, listed
from tinyclap.cli.array_file import ArrayFile
from tinyclap.cli.finished_rows import cut_to_whole_rows
from tinyclap.cli.outputs import FileRows, Form, csv_line, json_line, open_rows
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
FORM = Form(["file", "label"], lambda result: [result], lambda result: {"label": result}, lambda name, result: name)


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


def write_all(path, kind):
    rows = FileRows(path, FORM, kind)
    for name in NAMES:
        rows.write(name, "dog")
    rows.close()
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_cut_anywhere_goes_on_to_the_same_bytes(tmp_path, kind):
    whole = write_all(tmp_path / "whole", kind)
    for n_bytes in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:n_bytes])
        rows = FileRows(path, FORM, kind)
        assert list(rows.done - set(NAMES)) == []
        for name in NAMES:
            if name not in rows.done:
                rows.write(name, "dog")
        rows.close()
        assert path.read_bytes() == whole, n_bytes


def test_only_what_is_half_written_is_cut_off(tmp_path):
    path = tmp_path / "rows.csv"
    whole = csv_line(["file", "label"]) + csv_line(["a.wav", "dog"])
    path.write_text(whole + '"new\nli')
    assert cut_to_whole_rows(path, "csv") == {"a.wav"}
    assert path.read_text() == whole
    assert cut_to_whole_rows(tmp_path / "missing", "csv") == set()


def test_a_file_of_something_else_is_not_continued(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("name,age\nAda,36\n")
    with pytest.raises(ConfigError, match="other columns"):
        FileRows(other, FORM, "csv")
    lines = tmp_path / "other.jsonl"
    lines.write_text('{"name": "Ada"}\n')
    with pytest.raises(ConfigError, match="none of this command's"):
        FileRows(lines, FORM, "jsonl")
    assert other.read_text() == "name,age\nAda,36\n"


def test_json_lines_bring_every_name_back():
    assert [json.loads(json_line({"file": name}))["file"] for name in NAMES] == NAMES


def open_array(path, n_columns=3):
    numbers = Form(["file"], list, dict, str, n_columns)
    return open_rows(path, numbers, path.suffix[1:])


def rows_of(names):
    return [np.arange(3, dtype=np.float32) + index for index, _ in enumerate(names)]


def test_an_array_can_be_read_while_it_grows(tmp_path):
    path = tmp_path / "rows.npy"
    array = open_array(path)
    assert np.load(path).shape == (0, 3)
    for n_rows, (name, row) in enumerate(zip("abc", rows_of("abc"), strict=True), 1):
        array.write(name, row)
        assert np.load(path, mmap_mode="r").shape == (n_rows, 3)
    array.close()
    assert np.array_equal(np.load(path), np.stack(rows_of("abc")))
    assert (tmp_path / "rows.names.csv").read_text() == "file\na\nb\nc\n"


def test_an_array_with_half_a_row_or_a_row_without_its_name_goes_on(tmp_path):
    path = tmp_path / "rows.npy"
    array = open_array(path)
    array.write("a", rows_of("a")[0])
    array.close()
    with open(path, "ab") as file:
        file.write(b"1234567")
    array = open_array(path)
    assert array.done == {"a"}
    array.write("b", rows_of("ab")[1])
    array.close()
    assert np.array_equal(np.load(path), np.stack(rows_of("ab")))
    assert path.stat().st_size == 128 + 2 * 12


def test_an_array_of_other_columns_or_with_names_too_many_is_not_continued(tmp_path):
    path = tmp_path / "rows.npy"
    array = open_array(path)
    array.write("a", rows_of("a")[0])
    array.close()
    with pytest.raises(ConfigError, match="another length"):
        open_array(path, 4)
    with open(tmp_path / "rows.names.csv", "a") as file:
        file.write("b\n")
    with pytest.raises(ConfigError, match="1 rows and .* 2 names"):
        open_array(path)


def test_a_finished_npz_goes_on(tmp_path):
    path = tmp_path / "rows.npz"
    for name, row in zip("ab", rows_of("ab"), strict=True):
        array = open_array(path)
        assert isinstance(array, ArrayFile)
        array.write(name, row)
        array.close()
        array.finish()
    with np.load(path, allow_pickle=False) as content:
        assert content["files"].tolist() == ["a", "b"]
        assert np.array_equal(content["embeddings"], np.stack(rows_of("ab")))
    assert [file.name for file in tmp_path.iterdir()] == ["rows.npz"]
