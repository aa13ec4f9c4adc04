"""A search index keeps up with a folder, loses nothing, and finds what a product with all rows finds."""

import os
import shutil
import sqlite3
import threading
from stat import S_ISDIR

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tests.fakes import write_audio  # noqa: E402
from tests.tiny import saved_clap  # noqa: E402
from tests.unit.search.index_rows import of_rows  # noqa: E402
from tinyclap.audio.io import read_channels  # noqa: E402
from tinyclap.errors import AudioError, CheckpointError, ConfigError  # noqa: E402
from tinyclap.search import database  # noqa: E402
from tinyclap.search.database import DATABASE, Database, Recording  # noqa: E402
from tinyclap.search.index import SearchIndex  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(n_threads=1)


@pytest.fixture
def other_model(tmp_path):
    """A model of a space in which scores are cosines, computed by torch."""
    return tinyclap.from_pretrained(saved_clap(tmp_path / "run"))


@pytest.fixture
def recordings(tmp_path):
    """A folder with nine recordings of other pitches, one of them below another folder."""
    folder = tmp_path / "recordings"
    for index in range(9):
        place = folder / "deep" / "er" if index == 8 else folder
        write_audio(place / f"{index}.wav", 0.3, 16000, pitch_hz=150 * (index + 1), seed=index)
    return folder


def names(index):
    return sorted(os.path.basename(path) for path in index.paths())


def test_cosines_and_scores_are_those_of_the_model(other_model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", other_model, [recordings])
    paths = index.paths()
    rows = other_model.embed(paths)
    found = index.search(other_model, paths[3], k=len(paths))
    assert found[0] == (paths[3], pytest.approx(1.0, abs=1e-3))
    by_sound = dict(found)
    assert [by_sound[path] for path in paths] == pytest.approx((rows @ rows[3]).tolist(), abs=2e-3)
    by_text = dict(index.search(other_model, "rain on a roof", k=len(paths)))
    wanted = other_model.similarity(paths, ["rain on a roof"])[:, 0]
    assert [by_text[path] for path in paths] == pytest.approx(wanted.tolist(), abs=2e-3)
    assert other_model.search(paths[3], tmp_path / "index", k=2) == found[:2]


def test_probabilities_are_kept_as_roots_so_that_a_text_is_an_inner_product(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings], dtype="float32")
    paths = index.paths()
    probabilities = model.embed(paths)
    by_text = dict(index.search(model, model.labels[0], k=9))
    wanted = model.score_rows(probabilities, index.query_row(model, model.labels[0])[0][None])[:, 0]
    assert [by_text[path] for path in paths] == pytest.approx(wanted.tolist(), abs=1e-4)
    roots = np.sqrt(probabilities)
    cosine = float(roots[0] @ roots[5] / np.linalg.norm(roots[0]) / np.linalg.norm(roots[5]))
    assert dict(index.search(model, paths[0], 9))[paths[5]] == pytest.approx(cosine, abs=1e-5)


def test_a_clip_of_two_channels_is_one_query(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    samples, rate_hz = read_channels(recordings / "3.wav")
    found = index.search(model, np.concatenate([samples, samples]), 1, rate_hz)
    assert found == [(str(recordings / "3.wav"), pytest.approx(1.0, abs=1e-3))]


def test_an_update_embeds_what_is_new_or_changed_and_removes_nothing(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    write_audio(recordings / "new.wav", 0.3, 16000, pitch_hz=3000)
    write_audio(recordings / "2.wav", 0.4, 16000, pitch_hz=2000)
    (recordings / "0.wav").unlink()
    assert index.add(model, [str(recordings)]) == (1, 1, 7, 0, [])
    assert index.add(model, [str(recordings)]) == (0, 0, 9, 0, [])
    assert len(index) == 10 and {"0.wav", "new.wav"} <= set(names(index))
    best = index.search(model, recordings / "2.wav", 2)
    assert best[0] == (str(recordings / "2.wav"), pytest.approx(1.0, abs=1e-3))
    assert index.prune() == (1, {})
    assert len(index) == 9 and "0.wav" not in names(index)
    assert [path for path, _ in index.search(model, recordings / "new.wav", 99)].count(str(recordings / "2.wav")) == 1


def test_recordings_of_other_folders_stay(model, recordings, tmp_path):
    write_audio(tmp_path / "other" / "9.wav", 0.3, 16000)
    SearchIndex.build(tmp_path / "index", model, [recordings])
    index = SearchIndex.build(tmp_path / "index", model, [tmp_path / "other"])
    assert len(index) == 10 and index.prune() == (0, {})


def test_a_folder_that_is_not_there_keeps_its_recordings_until_it_is_named(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    os.rename(recordings, tmp_path / "away")
    assert index.prune() == (0, {f"{recordings}{os.sep}": 9})
    assert index.prune([recordings]) == (9, {}) and len(index) == 0
    assert index.search(model, "siren") == []


def test_an_empty_mount_point_keeps_its_recordings(model, recordings, tmp_path, monkeypatch):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    shutil.rmtree(recordings / "deep")
    stat = os.stat

    def of_another_device(path, **options):
        facts = list(stat(path, **options))
        return os.stat_result([*facts[:2], facts[2] + S_ISDIR(facts[0]), *facts[3:]])

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", of_another_device)
        assert index.prune() == (0, {str(recordings): 1})
    assert index.prune() == (1, {})


def test_an_unreadable_folder_keeps_its_recordings(model, recordings, tmp_path, monkeypatch):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    lstat, closed = os.lstat, str(recordings / "deep" / "er")

    def refusing(path, **options):
        if str(path).startswith(closed):
            raise PermissionError(13, "Permission denied", path)
        return lstat(path, **options)

    (recordings / "deep" / "er" / "8.wav").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", refusing)
        assert index.prune() == (0, {closed: 1})
    assert index.prune() == (1, {})


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_done(model, recordings, tmp_path, monkeypatch):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    write_audio(recordings / "new.wav", 0.3, 16000)
    scandir, closed, told = os.scandir, str(recordings / "deep"), []

    def refusing(path):
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(AudioError, match="deep"):
        index.add(model, [str(recordings)])
    assert len(index) == 10 and "8.wav" in names(index)
    report = index.add(model, [str(recordings)], "skip", tell=told.append)
    assert report.n_unchanged == 9 and [error.source for error in report.skipped] == [closed] and len(told) == 1


def test_a_recording_that_cannot_be_looked_at_keeps_its_embedding(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    os.rename(recordings / "0.wav", tmp_path / "0.wav")
    report = index.add(model, ["@" + str(listing(tmp_path, recordings / "0.wav"))], "skip")
    assert len(report.skipped) == 1 and len(index) == 9 and index.skipped() == {}
    os.rename(tmp_path / "0.wav", recordings / "0.wav")
    assert index.add(model, [str(recordings)]) == (0, 0, 9, 0, [])


def listing(folder, *paths):
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder / "list.txt"


def test_a_broken_recording_is_kept_with_its_problem_and_tried_again_when_it_has_changed(model, recordings, tmp_path):
    (recordings / "bad.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match="bad.wav"):
        SearchIndex.build(tmp_path / "index", model, [recordings])
    index, told = SearchIndex.open(tmp_path / "index"), []
    first = index.add(model, [str(recordings)], "skip", tell=told.append)
    second = index.add(model, [str(recordings)], "skip", tell=told.append)
    assert (len(first.skipped), first.n_known_skipped, len(told)) == (1, 0, 1)
    assert second == (0, 0, 9, 1, [])
    assert list(index.skipped()) == [str(recordings / "bad.wav")] and "audio" in index.skipped()[told[0].source]
    write_audio(recordings / "bad.wav", 0.3, 16000)
    assert index.add(model, [str(recordings)], "skip") == (1, 0, 9, 0, []) and index.skipped() == {}


def test_a_recording_that_broke_is_not_found_any_more(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    (recordings / "0.wav").write_bytes(b"no audio")
    index.add(model, [str(recordings)], "skip")
    assert len(index) == 8 and list(index.skipped()) == [str(recordings / "0.wav")]


def test_what_was_done_before_a_broken_recording_is_kept(model, recordings, tmp_path):
    (recordings / "5.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError):
        SearchIndex.build(tmp_path / "index", model, [recordings])
    # a folder's own recordings come before those below it
    assert names(SearchIndex.open(tmp_path / "index")) == [f"{index}.wav" for index in range(5)]


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are Unicode there")
def test_names_that_are_no_utf8_are_indexed_and_found(model, recordings, tmp_path):
    odd = os.fsdecode(os.fsencode(recordings) + b"/caf\xe9 \n'\xff.wav")
    os.rename(recordings / "3.wav", odd)
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    assert index.search(model, odd, 1)[0][0] == odd
    os.unlink(odd)
    assert index.prune() == (1, {})


def test_an_open_index_follows_what_another_one_writes(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    write_audio(recordings / "new.wav", 0.3, 16000, pitch_hz=3000)
    SearchIndex.build(tmp_path / "index", model, [recordings])
    assert index.search(model, recordings / "new.wav", 1)[0][0].endswith("new.wav")


def test_writers_at_once_lose_nothing(tmp_path):
    of_rows(tmp_path, np.eye(4, dtype=np.float32))

    def write(writer):
        for batch in range(20):
            path = f"/data/{writer}/{batch}.wav"
            entries = [(Recording(path, "/data", "1", 1, 1), np.ones(4)), (Recording("/both", "/", "1", 1, 1), "why")]
            Database.open(tmp_path).write(entries)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    [writer.start() for writer in writers], [writer.join() for writer in writers]
    index = SearchIndex.open(tmp_path)
    assert len(index) == len(set(index.paths())) == 84 and index.skipped() == {"/both": "why"}
    index.verify()


def test_a_writer_that_waits_too_long_says_so(tmp_path, monkeypatch):
    of_rows(tmp_path, np.eye(4, dtype=np.float32))
    monkeypatch.setattr(database, "_WAIT_S", 0.01)
    with sqlite3.connect(tmp_path / DATABASE, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="another process"):
            Database.open(tmp_path).write([(Recording("/a", "/", "1", 1, 1), np.ones(4))])
        other.execute("COMMIT")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="another process has it locked for 0 s"):
            Database.open(tmp_path)
    other.close()


def test_an_index_of_another_model_is_refused(model, other_model, recordings, tmp_path):
    SearchIndex.build(tmp_path / "index", model, [recordings])
    with pytest.raises(ConfigError, match="is an index of .*sha256"):
        SearchIndex.open(tmp_path / "index").search(other_model, recordings / "1.wav")
    with pytest.raises(ConfigError, match="is an index of"):
        SearchIndex.build(tmp_path / "index", other_model, [recordings])


def test_a_folder_with_something_else_is_not_written_to(model, recordings, tmp_path):
    before = sorted(os.listdir(recordings))
    with pytest.raises(ConfigError, match="not an empty folder"):
        SearchIndex.build(recordings, model, [recordings])
    assert sorted(os.listdir(recordings)) == before


def test_there_is_no_index(tmp_path):
    with pytest.raises(CheckpointError, match="no search index"):
        SearchIndex.open(tmp_path)


@pytest.mark.parametrize("query", ["", " \n"])
def test_an_empty_query_is_an_error(model, recordings, tmp_path, query):
    index = SearchIndex.build(tmp_path / "index", model, [recordings / "0.wav"])
    with pytest.raises(ConfigError, match="empty"):
        index.search(model, query)


def test_a_query_that_reads_like_a_recording_but_is_none_is_an_error(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    for query, why in (
        ("nothing.wav", "no such file"),
        (str(tmp_path), "a folder or a device"),
        (os.devnull, "device"),
    ):
        with pytest.raises(AudioError, match=why):
            index.search(model, query)


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: SearchIndex.open(None),
        lambda folder: SearchIndex.open(3),
        lambda folder: SearchIndex.open(""),
        lambda folder: SearchIndex.build(folder / "new", None, None),
        lambda folder: SearchIndex.build(folder / "new", None, [None]),
    ],
)
def test_paths_that_are_none_are_refused(call, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ConfigError, match="path"):
        call(tmp_path)


def test_one_source_is_a_path_and_no_list_of_letters(tmp_path):
    with pytest.raises(ConfigError, match="nothing there: .*none.wav"):
        SearchIndex.build(tmp_path / "new", None, str(tmp_path / "none.wav"))
