"""Finding recordings: links, closed folders, patterns, lists, and what is left out by name."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinyclap.audio.find import SUFFIXES, find_recordings, listed
from tinyclap.errors import AudioError, ConfigError

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and names")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A function that makes empty files; the working folder is the tree's."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            Path(name).touch()

    return make


def found(*words, stdin=None):
    notes, closed = [], []
    paths = list(find_recordings(list(words), stdin, notes.append, closed.append))
    return paths, notes, [error.source for error in closed]


@posix
def test_links_to_folders_outside_are_followed_once(tree):
    tree("all/a.wav", "disk/b.wav", "disk/deep/c.wav")
    os.symlink("../disk", "all/more")
    os.symlink("../disk", "all/once_more")
    paths, notes, _ = found("all")
    assert paths == ["all/a.wav", "all/more/b.wav", "all/more/deep/c.wav"]
    assert len(notes) == 1 and "all/once_more: not followed" in notes[0]


@posix
@pytest.mark.parametrize("target", [".", "..", "../..", "sub", "/"])
def test_loops_of_links_end_and_are_named(tree, target):
    tree("top/all/a.wav", "top/all/sub/b.wav")
    os.symlink(target, "top/all/loop")
    for words in (["top/all"], ["top/all/**/*.wav"], ["top/all/**"]):
        paths, notes, _ = found(*words)
        assert paths == ["top/all/a.wav", "top/all/sub/b.wav"]
        assert "top/all/loop" in notes[0]


@posix
def test_links_to_each_other_and_to_nothing(tree):
    tree("x/a.wav", "y/b.wav")
    os.symlink("../y", "x/to_y")
    os.symlink("../x", "y/to_x")
    os.symlink("nowhere", "x/gone.wav")
    assert found("x")[0] == ["x/a.wav", "x/gone.wav", "x/to_y/b.wav"]


def test_a_folder_that_cannot_be_read_is_told_or_raised(tree, monkeypatch):
    tree("all/a.wav", "all/closed/b.wav", "all/open/c.wav")
    real = os.scandir

    def scandir(place="."):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    for word in ("all", "all/**/*.wav", "all/**"):
        assert found(word) == (["all/a.wav", "all/open/c.wav"], [], [os.path.join("all", "closed")])
        with pytest.raises(AudioError, match="closed: this folder cannot be read .Permission denied"):
            list(find_recordings([word]))
    assert found("all/closed") == ([], [], ["all/closed"])


def test_every_kind_of_sound_is_taken_or_counted(tree):
    unread = "wv ape mov m4a amr wma mkv dsf tta 3gp ac3 mka m4b spx webm".split()
    tree(
        *(f"all/x{suffix}" for suffix in SUFFIXES), *(f"all/x.{kind}" for kind in unread), "all/notes.txt", "all/A.WAV"
    )
    paths, notes, _ = found("all")
    assert {os.path.splitext(path)[1] for path in paths} == {*SUFFIXES, ".WAV"}
    assert all(f"1 .{kind}" in notes[0] for kind in unread) and ".txt" not in notes[0]


def test_hidden_files_and_folders_are_left_out(tree):
    tree("all/a.wav", "all/._a.wav", "all/.Trashes/b.wav", ".x/c.wav")
    for word in ("all", "all/**/*.wav", "all/*", "**/a.wav"):
        assert found(word)[0] == ["all/a.wav"]
    assert found(".x/*.wav")[0] == [".x/c.wav"] and found(".*/*.wav")[0] == [".x/c.wav"]


@pytest.mark.parametrize("folder", ["take [2024]", "[a-c]", "what?", "a*", "x[1"])
@pytest.mark.parametrize("pattern", ["*.wav", "?.wav", "[a]*.wav", "**/*.wav", "**", "b/../a.wav*"])
@posix
def test_patterns_below_folders_that_look_like_patterns(tree, folder, pattern):
    tree(f"{folder}/a.wav", f"{folder}/b/.keep", "ab/other.wav")
    assert found(f"{folder}/{pattern}")[0] == [f"{folder}/a.wav" if "b/.." not in pattern else f"{folder}/b/../a.wav"]
    absolute = os.path.abspath(folder)
    assert found(f"{absolute}/{pattern}")[0][0].startswith(absolute)


def test_patterns_at_any_depth(tree):
    tree("a.wav", "x/a.wav", "x/y/a.wav", "x/y/b.flac", "z/y/a.wav")
    assert found("**/*.wav")[0] == ["a.wav", "x/a.wav", "x/y/a.wav", "z/y/a.wav"]
    assert found("**/y/*.wav")[0] == ["x/y/a.wav", "z/y/a.wav"]
    assert found("x/**/y/*")[0] == ["x/y/a.wav", "x/y/b.flac"]
    assert found("./x/*")[0] == ["./x/a.wav", "./x/y/a.wav", "./x/y/b.flac"]


BOM = "﻿"


@pytest.mark.parametrize(
    "content",
    [
        b"a.wav\nb \xc3\xa9.wav\n",
        f"{BOM}a.wav\r\nb é.wav\r\n".encode(),
        f"{BOM}a.wav\r\nb é.wav".encode("utf-16-le"),
        f"{BOM}a.wav\nb é.wav\n".encode("utf-16-be"),
        f"{BOM}a.wav\0b é.wav\0".encode(),
        b"\n\na.wav\n\r\nb \xc3\xa9.wav\n\n",
    ],
)
def test_lists_from_any_system_give_the_same_names(content):
    assert list(listed(io.BytesIO(content))) == ["a.wav", "b é.wav"]


@posix
def test_names_that_are_no_utf8_are_found(tree):
    tree("all/ok.wav")
    Path(os.fsdecode(b"all/caf\xe9.wav")).touch()
    assert sorted(map(os.fsencode, found("all")[0])) == [b"all/caf\xe9.wav", b"all/ok.wav"]


@posix
def test_pipes_in_a_folder_are_not_waited_for(tree):
    tree("all/a.wav")
    os.mkfifo("all/pipe.wav")
    assert found("all")[0] == ["all/a.wav"]


@pytest.mark.parametrize("word", ["x" * 5000, "x" * 300 + "/*.wav", "@" + "x" * 300, "a\0b", "nothing/**/*.wav"])
def test_words_that_name_nothing_are_one_short_line(tree, word):
    with pytest.raises(ConfigError, match="nothing there") as caught:
        find_recordings([word])
    assert len(str(caught.value)) < 200


def test_a_list_on_closed_standard_input_is_refused():
    code = "from tinyclap.audio.find import find_recordings\nfind_recordings(['-'])"
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "ConfigError: standard input is closed" in done.stderr
