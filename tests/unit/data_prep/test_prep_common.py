"""What the preparations share: one error with everything, nothing done twice, usable from a command line."""

import doctest
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import (
    audiocaps_prepare,
    cli,
    clotho_prepare,
    common,
    esc50_prepare,
    fsd50k_prepare,
    macs_prepare,
    signals,
    soundscapes_captions,
    soundscapes_prepare,
    soundscapes_synthesis,
    tut17_prepare,
    urbansound8k_prepare,
)
from tests import fakes
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError, DataLayoutError

ROOT = Path(__file__).resolve().parents[3]
PREPARE = {
    "audiocaps": audiocaps_prepare.prepare_audiocaps,
    "clotho": clotho_prepare.prepare_clotho,
    "esc50": esc50_prepare.prepare_esc50,
    "fsd50k": fsd50k_prepare.prepare_fsd50k,
    "macs": macs_prepare.prepare_macs,
    "soundscapes": soundscapes_prepare.prepare_soundscapes,
    "tut17": tut17_prepare.prepare_tut17,
    "urbansound8k": urbansound8k_prepare.prepare_urbansound8k,
}
# corpus -> a builder of its tiny tree, and options that accept it
TINY = {
    "audiocaps": (fakes.audiocaps, {"subset": "listed"}),
    "clotho": (fakes.clotho, {"subset": "listed"}),
    "esc50": (fakes.esc50, {"subset": "listed"}),
    "fsd50k": (fakes.fsd50k, {"subset": "listed"}),
    "macs": (fakes.macs, {"subset": "listed"}),
    "tut17": (fakes.tut17, {"subset": "listed"}),
    "urbansound8k": (fakes.urbansound8k, {"subset": "listed", "folds": [1, 2]}),
}


@pytest.fixture(params=sorted(TINY))
def tiny(request, tmp_path):
    """(prepare, folder of the corpus, options, the manifest that it writes)."""
    build, options = TINY[request.param]
    root = build(tmp_path)
    prepare = PREPARE[request.param]
    manifests = tmp_path / "manifests"
    split = cli.parser_for(prepare).get_default("split")
    return (
        lambda **more: prepare(root, manifests, **(options | more)),
        root,
        manifests / f"{request.param}_{split}.json",
    )


def test_second_run_says_unchanged_and_writes_nothing(tiny, caplog):
    prepare, _, manifest = tiny
    caplog.set_level(logging.INFO, "data_prep")
    prepare()
    assert "clips" in caplog.text
    before = manifest.stat()
    caplog.clear()
    prepare()
    assert "unchanged" in caplog.text
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert list(manifest.parent.iterdir()) == [manifest]


def test_every_recording_of_a_manifest_is_where_it_says(tiny):
    prepare, root, manifest = tiny
    prepare()
    items = read_manifest(manifest, root).items
    assert items and all(item["wav"].is_file() for item in items)
    assert len({item["id"] for item in items}) == len({item["wav"] for item in items}) == len(items)


def test_other_options_write_the_manifest_anew(tiny):
    prepare, root, manifest = tiny
    prepare()
    first = read_manifest(manifest, root).meta["options_hash"]
    prepare(check_audio=False)
    assert read_manifest(manifest, root).meta["options_hash"] != first


@pytest.mark.parametrize("damage", ["{", "[]", '{"_meta": {}, "items": {}}', "lost item", "other code"])
def test_a_manifest_that_is_not_whole_or_of_other_code_is_written_anew(tiny, damage):
    prepare, _, manifest = tiny
    prepare()
    whole = manifest.read_text("utf-8")
    content = json.loads(whole)
    if damage == "lost item":
        content["items"].popitem()
    if damage == "other code":
        content["_meta"]["options_hash"] = "0" * 16
    manifest.write_text(damage if damage[0] in "{[" else json.dumps(content))
    prepare()
    assert manifest.read_text("utf-8") == whole


def test_a_recording_that_vanishes_after_preparing_is_noticed(tiny):
    prepare, root, manifest = tiny
    prepare()
    gone = read_manifest(manifest, root).items[0]["wav"]
    gone.unlink()
    if root.name == "AudioCaps":
        prepare()
        assert gone not in [item["wav"] for item in read_manifest(manifest, root).items]
        return
    with pytest.raises(DataLayoutError, match="missing: ") as caught:
        prepare()
    assert gone.name in str(caught.value)


def test_an_empty_and_a_cut_recording_are_refused_or_left_out_and_counted(tiny):
    prepare, root, manifest = tiny
    prepare()
    items = read_manifest(manifest, root).items
    items[0]["wav"].write_bytes(b"")
    whole = items[1]["wav"].read_bytes()
    items[1]["wav"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataLayoutError) as caught:
        prepare()
    assert len(caught.value.problems) == 2
    assert f"unusable: {items[0]['wav'].name} the file is empty" in str(caught.value)
    assert f"unusable: {items[1]['wav'].name} is cut short" in str(caught.value)
    prepare(check_audio=False)
    meta, left = read_manifest(manifest, root)
    assert meta["n_unreadable"] == 2 and len(left) == len(items) - 2


def test_a_wrong_folder_names_what_is_missing_the_tree_and_the_page(tiny, tmp_path):
    _, root, manifest = tiny
    prepare = PREPARE[manifest.name.split("_")[0]]
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/holiday.jpg").touch()
    with pytest.raises(DataLayoutError) as caught:
        prepare(tmp_path / "wrong", tmp_path)
    text = str(caught.value)
    assert "missing: " in text and "holiday.jpg" in text and "Expected:" in text and "Get it from: https://" in text
    with pytest.raises(DataLayoutError, match="the folder does not exist"):
        prepare(tmp_path / "nowhere", tmp_path)


def test_the_corpus_may_be_given_by_the_folder_above_it(tmp_path):
    root = fakes.esc50(tmp_path)
    esc50_prepare.prepare_esc50(tmp_path, tmp_path / "m", subset="listed")
    item = read_manifest(tmp_path / "m/esc50_test.json", tmp_path).items[0]
    assert item["wav"].parent == root / "audio"


def test_nothing_is_written_into_the_corpus(tiny):
    prepare, root, _ = tiny
    before = sorted(root.rglob("*"))
    prepare()
    assert sorted(root.rglob("*")) == before


def test_edited_code_makes_a_manifest_anew(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("1")
    first = common.Preparation(esc50_prepare.CORPUS, str(script), tmp_path, ".", ".").code_version
    script.write_text("2")
    assert common.Preparation(esc50_prepare.CORPUS, str(script), tmp_path, ".", ".").code_version != first


@pytest.mark.parametrize("split", ["a/b", "", "../x"])
def test_a_split_that_cannot_be_a_file_name_is_refused(tmp_path, split):
    fakes.esc50(tmp_path)
    with pytest.raises(ConfigError, match="split is"):
        esc50_prepare.prepare_esc50(tmp_path, tmp_path, split=split, subset="listed")


def test_many_problems_of_a_kind_leave_room_for_the_others(tmp_path):
    root = fakes.esc50(tmp_path)
    for path in sorted((root / "audio").iterdir())[:12]:
        path.unlink()
    sorted((root / "audio").iterdir())[-1].write_bytes(b"")
    with pytest.raises(DataLayoutError) as caught:
        esc50_prepare.prepare_esc50(tmp_path, tmp_path, subset="listed")
    assert sum("missing: " in problem for problem in caught.value.problems) == 5
    assert "… 12 recordings are missing in all" in caught.value.problems
    assert any("the file is empty" in problem for problem in caught.value.problems)


def test_a_table_with_a_missing_column_or_a_ragged_row_is_named(tmp_path):
    root = fakes.esc50(tmp_path)
    table = root / "meta/esc50.csv"
    text = table.read_text()
    table.write_text(text.replace("category", "kind"))
    with pytest.raises(DataLayoutError, match="lacks the column\\(s\\) category; it has filename"):
        esc50_prepare.prepare_esc50(tmp_path, tmp_path, subset="listed")
    table.write_text(text + "one,two\n")
    with pytest.raises(DataLayoutError, match="row 32 has more or fewer cells"):
        esc50_prepare.prepare_esc50(tmp_path, tmp_path, subset="listed")


def test_archives_are_compared_with_their_published_checksums(tmp_path, caplog):
    caplog.set_level(logging.INFO, "data_prep")
    (tmp_path / "a.zip").write_bytes(b"abc")
    checksums = {"a.zip": hashlib.md5(b"abc").hexdigest(), "b.zip": "0" * 32}
    common.verify_archives(esc50_prepare.CORPUS, tmp_path, checksums)
    assert "1 archives verified; not there: b.zip" in caplog.text
    (tmp_path / "b.zip").write_bytes(b"cut short")
    with pytest.raises(DataLayoutError, match="b.zip has md5 .* published is 0{32}; fetch it again"):
        common.verify_archives(esc50_prepare.CORPUS, tmp_path, checksums)
    with pytest.raises(DataLayoutError, match="no archive to verify; known are: UrbanSound8K.tar.gz"):
        urbansound8k_prepare.prepare_urbansound8k(tmp_path, tmp_path, archives=tmp_path)


@pytest.mark.parametrize("module", [urbansound8k_prepare, tut17_prepare, clotho_prepare, macs_prepare])
def test_published_checksums_are_md5_and_none_is_there_twice(module):
    assert all(len(md5) == 32 and int(md5, 16) for md5 in module.CHECKSUMS.values())
    assert len(set(module.CHECKSUMS.values())) == len(module.CHECKSUMS)


@pytest.mark.parametrize("name", sorted(PREPARE))
def test_every_option_of_the_command_line_is_explained(name):
    parser = cli.parser_for(PREPARE[name])
    options = {action.dest: action for action in parser._actions if action.dest != "help"}
    assert {"data_folder", "manifest_folder", "split"} <= set(options)
    assert all(len(action.help) > 15 for action in options.values())
    assert "manifest" in parser.description


def test_a_script_runs_alone_from_any_folder(tmp_path):
    root = fakes.esc50(tmp_path)
    script = [sys.executable, str(ROOT / "data_prep/esc50_prepare.py"), "--data_folder", str(root)]
    script += ["--manifest_folder", "m", "--folds", "1", "5", "--subset"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": False}
    result = subprocess.run([*script, "listed"], **options)
    assert result.returncode == 0, result.stderr
    assert "m/esc50_test.json: 12 of 12 clips" in result.stdout and "folds 1 5" in result.stdout
    wrong = subprocess.run([*script, "mine"], **options)
    assert wrong.returncode == 1
    assert wrong.stderr == "subset is 'mine'; it can be None, 'listed', 'present'\n"


@pytest.mark.parametrize(
    "module", [cli, common, fsd50k_prepare, signals, soundscapes_captions, soundscapes_prepare, soundscapes_synthesis]
)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
