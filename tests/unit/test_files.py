"""Files are written whole or not at all, and a broken one is named."""

import os
import stat

import pytest

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import atomic_folder, atomic_path, model_folder, read_json, sha256_of, write_json, write_text


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "earlier")
    with pytest.raises(RuntimeError), atomic_path(path) as part:
        part.write_text("new")
        raise RuntimeError
    assert path.read_text() == "earlier" and os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_and_a_missing_folder_name_the_file_itself(tmp_path):
    with pytest.raises(OSError, match=r"a\.txt") as caught, atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"none/a\.txt"):
        write_text(tmp_path / "none/a.txt", "a")


def test_a_write_is_flushed_before_the_rename(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_json(tmp_path / "a.json", {"a": 1})
    assert calls == ["fsync", "replace", "fsync"]


def test_a_write_keeps_links_and_usual_permissions(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "a\udcff")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"a\xff"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_device_is_written_itself():
    write_text(os.devnull, "a")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{\0}\0", b"[1]", b"[" * 100_000, b"null"])
def test_what_is_no_table_of_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.json"):
        read_json(path, error=ConfigError)
    with pytest.raises(CheckpointError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_a_folder_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    target, replace = tmp_path / "model", os.replace
    with atomic_folder(target) as part:
        (part / "a").write_text("earlier")
    with pytest.raises(RuntimeError), atomic_folder(target) as part:
        (part / "a").write_text("new")
        raise RuntimeError

    def fails_once(source, place):
        if os.fspath(source).endswith(".part"):
            raise OSError("the disk has an error")
        replace(source, place)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(OSError), atomic_folder(target) as part:
        (part / "a").write_text("new")
    assert (target / "a").read_text() == "earlier" and os.listdir(tmp_path) == ["model"]


def test_a_model_folder_is_itself_or_the_student_of_a_run(tmp_path):
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        model_folder(tmp_path)
    (tmp_path / "student").mkdir()
    write_json(tmp_path / "student" / "config.json", {})
    assert model_folder(tmp_path) == tmp_path / "student" and model_folder(tmp_path / "student").name == "student"
    assert len(sha256_of(tmp_path / "student" / "config.json")) == 64
