"""Manifests: one format, written whole or not at all, and checked when read."""

import json
from pathlib import Path

import pytest

from tinyclap.data.manifest import options_hash, read_manifest, write_manifest
from tinyclap.errors import ManifestError

META = {
    "dataset": "toy",
    "version": "1",
    "split": "test",
    "classes": ["siren", "dog"],
    "options": {"folds": [1]},
    "code_version": "7",
}
HEADER = {"duration_s": 1.5, "sample_rate_hz": 8000, "n_channels": 2}


def items():
    return {
        "b": {"wav": "{data_root}/audio/b.wav", **HEADER, "label": "dog", "fold": 1},
        "a": {"wav": "{data_root}/audio/ä b.wav", **HEADER, "captions": ["A dog barks."], "freesound_id": "12"},
    }


def test_what_is_written_is_read_in_the_same_order(tmp_path):
    write_manifest(tmp_path / "new/toy_test.json", items(), {**META, "n_expected": 9})
    manifest = read_manifest(tmp_path / "new/toy_test.json", tmp_path)
    assert [item["id"] for item in manifest.items] == ["b", "a"]
    assert manifest.items[0] == {**items()["b"], "id": "b", "wav": tmp_path / "audio/b.wav"}
    assert manifest.items[1]["wav"] == tmp_path / "audio/ä b.wav"
    assert manifest.meta["classes"] == ["siren", "dog"]
    assert (manifest.meta["n_items"], manifest.meta["n_expected"]) == (2, 9)


def test_the_corpus_may_move(tmp_path, monkeypatch):
    write_manifest(tmp_path / "toy_test.json", items(), META)
    monkeypatch.setenv("HOME", "/somebody")
    assert read_manifest(tmp_path / "toy_test.json", "~/c").items[0]["wav"] == Path("/somebody/c/audio/b.wav")
    monkeypatch.chdir(tmp_path)
    assert read_manifest("toy_test.json", "here").items[0]["wav"] == tmp_path / "here/audio/b.wav"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wav": "/abs/b.wav"}, "wav is '/abs/b.wav', which does not begin with {data_root}/"),
        ({"wav": "{data_root}/../b.wav"}, "leaves the data root"),
        ({"wav": "{data_root}//etc/b.wav"}, "leaves the data root"),
        ({"duration_s": 0.0}, "duration_s is 0.0"),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"sample_rate_hz": 44100.5}, "sample_rate_hz is 44100.5"),
        ({"n_channels": True}, "n_channels is True"),
        ({"label": "cat"}, "label 'cat' is not in _meta.classes"),
        ({"captions": []}, "captions is not a list of at least one"),
        ({"captions": ["Rain.", "  "]}, "a caption is empty"),
    ],
)
def test_an_item_that_is_wrong_is_named_and_nothing_is_written(tmp_path, change, message):
    wrong = items()
    wrong["b"] |= change
    with pytest.raises(ManifestError) as caught:
        write_manifest(tmp_path / "toy_test.json", wrong, META)
    assert "item 'b'" in str(caught.value) and message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_all_problems_are_counted_and_five_are_shown(tmp_path):
    wrong = {str(index): {**items()["b"], "duration_s": -1} for index in range(8)}
    with pytest.raises(ManifestError, match="8 problem") as caught:
        write_manifest(tmp_path / "toy_test.json", wrong, META)
    assert str(caught.value).count("duration_s is -1") == 5 and "3 more" in str(caught.value)


@pytest.mark.parametrize("missing", ["dataset", "version", "split", "classes", "options", "code_version"])
def test_what_a_manifest_is_must_be_said(tmp_path, missing):
    with pytest.raises(ManifestError, match=f"_meta.{missing} is None"):
        write_manifest(tmp_path / "a.json", items(), {key: value for key, value in META.items() if key != missing})


def test_an_empty_manifest_and_a_repeated_class_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="there are no items"):
        write_manifest(tmp_path / "a.json", {}, META)
    with pytest.raises(ManifestError, match="names a class twice"):
        write_manifest(tmp_path / "a.json", items(), {**META, "classes": ["dog", "dog"]})


def test_a_write_that_fails_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "toy_test.json"
    write_manifest(path, items(), META)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_manifest(path, {"a": {**items()["a"], "tags": {1, 2}}}, META)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_is_no_whole_manifest_is_refused(tmp_path):
    path = tmp_path / "toy_test.json"
    with pytest.raises(ManifestError, match="no such file; prepare the corpus"):
        read_manifest(path, tmp_path)
    for text, message in [("{", "not readable as JSON"), ("[1]", "no manifest"), ('{"items": {}}', "no manifest")]:
        path.write_text(text)
        with pytest.raises(ManifestError, match=message):
            read_manifest(path, tmp_path)
    write_manifest(path, items(), META)
    content = json.loads(path.read_text())
    del content["items"]["a"]
    path.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="_meta says 2 items, 1 are there"):
        read_manifest(path, tmp_path)


def test_another_corpus_code_or_option_has_another_hash():
    hashes = {options_hash(*what) for what in (("a", {"b": 1}, "1"), ("a", {"b": 1}, "2"), ("a", {"b": 2}, "1"))}
    assert len(hashes | {options_hash("c", {"b": 1}, "1")}) == 4


def test_the_order_of_options_does_not_matter():
    assert options_hash("toy", {"a": 1, "b": 2}, "1") == options_hash("toy", {"b": 2, "a": 1}, "1")
