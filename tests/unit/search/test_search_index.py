"""A search index keeps up with a folder, survives being killed, and finds what a product with all rows finds."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tests.fakes import write_audio  # noqa: E402
from tests.tiny import saved_clap  # noqa: E402
from tinyclap.audio.io import read_channels  # noqa: E402
from tinyclap.errors import AudioError, CheckpointError, ConfigError  # noqa: E402
from tinyclap.search import folder as search_folder  # noqa: E402
from tinyclap.search.folder import INDEX, IndexFolder  # noqa: E402
from tinyclap.search.index import SearchIndex, opened_for_update  # noqa: E402
from tinyclap.search.update import update  # noqa: E402


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


def near(found):
    """Results with scores to five digits: sums of other rows beside them are rounded otherwise."""
    return [(path, round(score, 5)) for path, score in found]


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


def test_an_update_embeds_what_is_new_or_changed_and_forgets_what_is_gone(model, recordings, tmp_path):
    SearchIndex.build(tmp_path / "index", model, [recordings])
    write_audio(recordings / "new.wav", 0.3, 16000, pitch_hz=3000)
    write_audio(recordings / "2.wav", 0.4, 16000, pitch_hz=2000)
    (recordings / "0.wav").unlink()
    with opened_for_update(tmp_path / "index", model) as files:
        paths = sorted(str(path) for path in recordings.rglob("*.wav"))
        report = update(files, model, paths, [recordings])
        again = update(files, model, paths, [recordings])
    assert report == (1, 1, 1, 7, [], 0)
    assert again == (0, 0, 0, 9, [], 0)
    index = SearchIndex.open(tmp_path / "index")
    assert len(index) == 9 and "0.wav" not in names(index) and "new.wav" in names(index)
    best = index.search(model, recordings / "2.wav", 2)
    assert best[0] == (str(recordings / "2.wav"), pytest.approx(1.0, abs=1e-3))
    assert [path for path, _ in index.search(model, recordings / "new.wav", 9)].count(str(recordings / "2.wav")) == 1


def test_recordings_of_other_folders_stay(model, recordings, tmp_path):
    other = write_audio(tmp_path / "other" / "9.wav", 0.3, 16000) is not None and tmp_path / "other"
    SearchIndex.build(tmp_path / "index", model, [recordings])
    index = SearchIndex.build(tmp_path / "index", model, [other])
    assert len(index) == 10


def test_shards_fill_and_compaction_keeps_every_recording_with_its_row(model, recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(search_folder, "SHARD_SIZE", 4)
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    assert [shard["n"] for shard in IndexFolder.open(tmp_path / "index").state["shards"]] == [4, 4, 1]
    before = {path: index.search(model, path, 3) for path in index.paths()}
    with opened_for_update(tmp_path / "index", model) as files:
        files.append(np.zeros(0), [], removed=[1, 4])
        gone = {index.paths()[1], index.paths()[4]}
        files.compact()
    index = SearchIndex.open(tmp_path / "index")
    assert index._files.n_rows == len(index) == 7 and not gone & set(index.paths())
    index.verify()
    for path in index.paths():
        assert near(index.search(model, path, 1)) == near(before[path][:1])
    left = sorted(path.name for path in (tmp_path / "index").glob("rows_*.npy"))
    assert len(left) == 2  # 4 + 3 rows, and nothing of the old ones


def test_a_broken_recording_is_named_once_and_tried_again_when_it_has_changed(model, recordings, tmp_path):
    (recordings / "bad.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match="bad.wav"):
        SearchIndex.build(tmp_path / "index", model, [recordings])
    paths, told = sorted(str(path) for path in recordings.rglob("*.wav")), []
    with opened_for_update(tmp_path / "index", model) as files:
        first = update(files, model, paths, [recordings], "skip", tell=told.append)
        second = update(files, model, paths, [recordings], "skip", tell=told.append)
    assert (len(first.broken), first.n_known_broken, len(told)) == (1, 0, 1)
    assert second == (0, 0, 0, 9, [], 1)
    write_audio(recordings / "bad.wav", 0.3, 16000)
    with opened_for_update(tmp_path / "index", model) as files:
        third = update(files, model, paths, [recordings], "skip")
        assert files.state["broken"] == {}
    assert third == (1, 0, 0, 9, [], 0)


def test_what_was_done_before_a_broken_recording_is_kept(model, recordings, tmp_path):
    (recordings / "5.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError):
        SearchIndex.build(tmp_path / "index", model, [recordings])
    # a folder's own recordings come before those below it
    assert names(SearchIndex.open(tmp_path / "index")) == [f"{index}.wav" for index in range(5)]


def test_files_that_a_killed_run_left_are_not_counted_and_go(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    stray = tmp_path / "index" / "rows_0000099.npy"
    stray.write_bytes(b"half a shard")
    assert len(SearchIndex.open(tmp_path / "index")) == len(index)
    SearchIndex.build(tmp_path / "index", model, [recordings])
    assert not stray.exists() and len(SearchIndex.open(tmp_path / "index")) == 9


def test_an_open_index_goes_on_while_another_process_changes_it(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    write_audio(recordings / "new.wav", 0.3, 16000, pitch_hz=3000)
    SearchIndex.build(tmp_path / "index", model, [recordings])  # replaces the shard that `index` has open
    assert index.search(model, recordings / "new.wav", 1)[0][0].endswith("new.wav")


def test_an_index_of_another_model_is_refused(model, other_model, recordings, tmp_path):
    SearchIndex.build(tmp_path / "index", model, [recordings])
    with pytest.raises(ConfigError, match="is an index of .*sha256"):
        SearchIndex.open(tmp_path / "index").search(other_model, recordings / "1.wav")
    with pytest.raises(ConfigError, match="is an index of"):
        SearchIndex.build(tmp_path / "index", other_model, [recordings])


def test_a_folder_with_something_else_is_not_written_to(model, recordings, tmp_path):
    with pytest.raises(ConfigError, match="not an empty folder"):
        SearchIndex.build(recordings, model, [recordings])
    assert not (recordings / INDEX).exists()


def test_two_writers_do_not_meet(model, recordings, tmp_path):
    pytest.importorskip("fcntl", reason="files are locked on Unix alone")
    SearchIndex.build(tmp_path / "index", model, [recordings])
    with opened_for_update(tmp_path / "index", model):
        with pytest.raises(ConfigError, match="another process"):
            SearchIndex.build(tmp_path / "index", model, [recordings])


def test_damage_is_named(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    rows = next((tmp_path / "index").glob("rows_*.npy"))
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    with pytest.raises(CheckpointError, match=rows.stem):
        index.verify()
    rows.write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match=rows.name):
        SearchIndex.open(tmp_path / "index")
    (tmp_path / "index" / INDEX).write_text(json.dumps({"format": 99}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="format"):
        SearchIndex.open(tmp_path / "index")
    with pytest.raises(CheckpointError, match="no search index"):
        SearchIndex.open(tmp_path)


def test_a_query_that_reads_like_a_recording_but_is_none_is_an_error(model, recordings, tmp_path):
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    with pytest.raises(AudioError, match="no such file"):
        index.search(model, "nothing.wav")


def test_a_graph_finds_the_rows_and_knows_what_came_and_went_since(model, recordings, tmp_path):
    pytest.importorskip("usearch", reason="an extra: pip install 'tinyclap[search]'")
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    exact = {path: near(index.search(model, path, 4)) for path in index.paths()}
    index.build_graph(n_threads=1)
    assert index.has_graph
    assert {path: near(index.search(model, path, 4)) for path in index.paths()} == exact
    write_audio(recordings / "new.wav", 0.3, 16000, pitch_hz=3000)
    (recordings / "4.wav").unlink()
    index = SearchIndex.build(tmp_path / "index", model, [recordings])
    assert index.has_graph
    for path in index.paths():
        assert near(index.search(model, path, 9)) == near(index.search(model, path, 9, exact=True))
        assert str(recordings / "4.wav") not in dict(index.search(model, path, 9))
