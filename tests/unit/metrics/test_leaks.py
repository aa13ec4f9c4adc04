"""Recordings that training and test share: read from every published form, counted by hand, never clean by silence."""

import csv
import json

import numpy as np
import pytest

from tests import fakes
from tests.conftest import ROOT
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.metrics.leakage import (
    NONE_FOUND,
    SHARED,
    UNKNOWN,
    Clips,
    accuracy_without,
    leak_rows,
    overlap,
    read_clips,
    recording_of,
    union,
)
from tinyclap.metrics.predictions import read_predictions


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


TABLES = {
    "esc50.csv": "filename,fold,target,category,esc10,src_file,take\n1-7-A-0.wav,1,0,dog,True,7,A\n2-7-B-0.wav,2,0,dog,"
    "True,7,B\n3-8-A-1.wav,3,1,rooster,True,8,A\n",
    "UrbanSound8K.csv": "slice_file_name,fsID,start,end,salience,fold,classID,class\n7-3-0-0.wav,7,0,4,1,1,3,dog_bark\n"
    "7-3-0-1.wav,7,4,8,1,1,3,dog_bark\n9-3-0-0.wav,9,0,4,1,10,3,dog_bark\n",
    "clotho_metadata_development.csv": "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
    '"Café, a.wav",x,8,http,"[0, 1]",me,CC\nb.wav,x,Not found,Not found,,me,CC\n',
    "clotho_captions_development.csv": 'file_name,caption_1,caption_2\n"Café, a.wav",a,b\nb.wav,c,d\nc.wav,e,f\n',
    "dev.csv": "fname,labels,mids,split\n9,Bark,/m/1,train\n10,Rain,/m/2,val\n",
    "train.csv": "audiocap_id,youtube_id,start_time,caption\n1,-abcdefghij,0,a\n2,-abcdefghij,0,b\n"
    "3,zzzzzzzzzzz,30,c\n",
    "balanced_train_segments.csv": "# Segments csv created Sun Mar  5 2017\n# YTID, start_seconds, end_seconds, "
    'positive_labels\nzzzzzzzzzzz, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n',
}
KNOWN = {  # clips, recordings, clips without one
    "esc50.csv": ("esc50", 3, 2, 0),
    "UrbanSound8K.csv": ("urbansound8k", 3, 2, 0),
    "clotho_metadata_development.csv": ("clotho", 2, 1, 1),
    "clotho_captions_development.csv": ("clotho", 3, 1, 2),
    "dev.csv": ("fsd50k", 2, 2, 0),
    "train.csv": ("audiocaps", 2, 2, 0),
    "balanced_train_segments.csv": ("audioset", 1, 1, 0),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """One small table of each published form; Clotho's in Latin-1, as the real ones."""
    folder = tmp_path_factory.mktemp("tables")
    for name, text in TABLES.items():
        write(folder / name, text, "latin-1" if "metadata" in name else "utf-8")
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_every_published_table_is_told_by_its_columns(tables, name):
    found = read_clips("x", tables / name).describe()
    assert (found["corpus"], found["n_clips"], found["n_recordings"], found["n_unknown"]) == KNOWN[name]
    assert len(found["sha256"]) == 64 and "path" not in found


def test_overlaps_are_counted_on_both_sides(tables):
    esc50, urban = (read_clips(name, tables / f"{name}.csv") for name in ("esc50", "UrbanSound8K"))
    found = overlap(esc50, urban)
    assert found["shared_recordings"] == ["freesound:7"]
    assert (found["n_train_clips"], found["n_test_clips"]) == (2, 2)
    assert (found["train_share"], found["test_share"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    back = overlap(urban, esc50)
    assert back["shared_recordings"] == found["shared_recordings"]
    assert overlap(read_clips("dev", tables / "dev.csv"), urban)["shared_recordings"] == ["freesound:9"]


def test_a_fold_is_taken_alone_and_a_missing_one_is_named(tables):
    assert list(read_clips("x", tables / "esc50.csv", ["2", "3"]).recordings) == ["2-7-B-0", "3-8-A-1"]
    assert list(read_clips("x", tables / "UrbanSound8K.csv", [10]).recordings) == ["9-3-0-0"]
    with pytest.raises(ConfigError, match="no fold 4; its folds are: 1, 2, 3"):
        read_clips("x", tables / "esc50.csv", ["4"])


def test_archives_that_share_no_ids_are_not_comparable_and_not_clean(tables):
    captions, urban = read_clips("a", tables / "train.csv"), read_clips("b", tables / "UrbanSound8K.csv")
    assert not overlap(captions, urban)["comparable"]
    assert {row["status"] for row in leak_rows([captions], [urban])} == {UNKNOWN}
    segments = read_clips("c", tables / "balanced_train_segments.csv")
    assert overlap(segments, captions)["shared_recordings"] == ["youtube:zzzzzzzzzzz"]


def test_a_clip_without_an_id_is_unknown_never_clean(tables):
    clotho = read_clips("Clotho", tables / "clotho_captions_development.csv")
    esc50 = read_clips("ESC-50", tables / "esc50.csv")
    rows = {row["clip"]: row for row in leak_rows([esc50], [clotho])}
    assert rows["development/Café, a.wav"]["status"] == SHARED and rows["development/b.wav"]["status"] == UNKNOWN
    assert overlap(esc50, clotho)["n_test_unknown"] == 2
    statuses = [row["status"] for row in leak_rows([clotho], [esc50])]
    assert statuses == [NONE_FOUND, NONE_FOUND, SHARED]


def test_a_list_is_not_compared_with_itself_and_many_are_one(tables):
    esc50, urban = read_clips("e", tables / "esc50.csv"), read_clips("u", tables / "UrbanSound8K.csv")
    rows = leak_rows([esc50, urban], [esc50])
    assert [row["train"] for row in rows] == ["u", "u", ""]
    together = union("both", [esc50, urban])
    assert len(together.recordings) == 6 and overlap(together, urban)["n_test_clips"] == 3


def test_manifests_and_folders_of_audio_say_the_same(tmp_path):
    from data_prep.esc50_prepare import prepare_esc50

    root = fakes.esc50(tmp_path)
    prepare_esc50(str(root), str(tmp_path), subset="listed", folds=[1, 2])
    from_manifest = read_clips("m", tmp_path / "esc50_test.json")
    from_folder = read_clips("f", root / "audio", [1, 2])
    from_table = read_clips("t", root / "meta" / "esc50.csv", [1, 2])
    assert len(from_manifest.recordings) == 12
    assert from_manifest.recordings == from_folder.recordings == from_table.recordings


def test_names_hold_ids_only_in_their_published_form():
    assert recording_of("5-9032-A-0.wav") == "freesound:9032" == recording_of("9032-3-1-12")
    assert recording_of("airport-lisbon-1000-40000-a.wav") is None
    assert recording_of("development/9032.wav", any_digits=True) == "freesound:9032"


def test_what_cannot_be_read_is_refused_with_what_can(tmp_path, tables):
    with pytest.raises(ConfigError, match="no .*nothing.csv; give a manifest"):
        read_clips("x", tmp_path / "nothing.csv")
    with pytest.raises(ConfigError, match="has the columns a, b; known tables have esc50: filename, src_file"):
        read_clips("x", write(tmp_path / "other.csv", "a,b\n1,2\n"))
    with pytest.raises(ConfigError, match="lists no clip"):
        read_clips("x", write(tmp_path / "empty.csv", "filename,src_file\n"))
    with pytest.raises(ManifestError, match="lacks `_meta` and `items`"):
        read_clips("x", write(tmp_path / "other.json", "{}"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="no recordings in"):
        read_clips("x", tmp_path / "folder")


def test_accuracy_without_the_shared_clips_by_hand():
    correct = [True, True, False, True, False, False]
    statuses = [SHARED, SHARED, SHARED, NONE_FOUND, NONE_FOUND, UNKNOWN]
    found = accuracy_without(correct, list("aabbcd"), statuses, ["x", "y", "x", "x", "y", "y"])
    assert found["all"]["accuracy"] == 0.5 and found["all"]["n_recordings"] == 4
    assert found["without_shared"]["accuracy"] == pytest.approx(1 / 3)
    assert found["moves_by"] == pytest.approx(1 / 3 - 1 / 2)
    assert found["without_shared_or_unknown"]["accuracy"] == 0.5
    assert found["shared"]["accuracy"] == pytest.approx(2 / 3) and found["unknown"]["n_clips"] == 1
    assert found["per_class"]["all"]["x"] == {"accuracy": pytest.approx(2 / 3), "n": 3}
    assert found["per_class"]["without_shared"]["x"] == {"accuracy": 1.0, "n": 1}


def test_where_nothing_is_left_nothing_is_claimed():
    found = accuracy_without([True], ["a"], [SHARED], ["x"])
    assert found["without_shared"] is None and found["moves_by"] is None
    with pytest.raises(ConfigError, match=r"the lengths \[1, 1, 2, 1\]"):
        accuracy_without([True], ["a"], [SHARED] * 2, ["x"])


def predictions_csv(folder, ids, head=("id", "fold", "label", "prediction", "correct")):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *([clip, 1, "dog", "dog", 1] for clip in ids)])
    return folder


def test_predictions_know_their_recordings_from_the_manifest_else_from_names(tmp_path):
    named = read_predictions(predictions_csv(tmp_path / "named", ["1-7-A-0", "1-7-B-0", "1-9-A-0"]))
    assert named.grouped_by == "file names" and list(named.recordings) == ["freesound:7", "freesound:7", "freesound:9"]
    plain = read_predictions(predictions_csv(tmp_path / "plain", ["a", "b"]) / "predictions.csv")
    assert plain.grouped_by.startswith("clips") and list(plain.recordings) == ["a", "b"] and plain.classes == ()
    assert np.array_equal(plain.correct, [True, True])


def test_predictions_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="score a model first"):
        read_predictions(tmp_path)
    with pytest.raises(ConfigError, match="names a clip twice"):
        read_predictions(predictions_csv(tmp_path / "twice", ["a", "a"]))
    with pytest.raises(ConfigError, match="lacks label, prediction"):
        read_predictions(predictions_csv(tmp_path / "captions", ["a"], head=("id", "file_name", "caption", "b", "c")))


def test_clotho_development_shares_recordings_with_urbansound8k(shared_dir):
    urban = read_clips("u", shared_dir / "data/urbansound8k/UrbanSound8K.csv")
    clotho = read_clips("c", shared_dir / "data/clotho/clotho_metadata_development.csv")
    found = overlap(clotho, urban)
    assert len(urban.recordings) == 8732
    assert (found["n_shared_recordings"], found["n_test_clips"], found["n_train_unknown"]) == (33, 357, 4)
    newer = overlap(read_clips("c", shared_dir / "data/clotho/clotho_captions_development.csv"), urban)
    assert (newer["n_shared_recordings"], newer["n_train_unknown"]) == (33, 950)


def test_the_kept_report_finds_the_overlaps_of_the_official_tables():
    content = json.loads((ROOT / "recipes/tables/results/leaks.json").read_text("utf-8"))
    sizes = {one["name"]: one["n_clips"] for one in content["train"] + content["test"]}
    assert (sizes["ESC-50"], sizes["UrbanSound8K"], sizes["Clotho v2.1 development"]) == (2000, 8732, 3839)
    found = {(pair["train"], pair["test"]): pair for pair in content["pairs"]}
    keys = ("n_shared_recordings", "n_train_clips", "n_test_clips")
    assert [found["UrbanSound8K", "ESC-50"][key] for key in keys] == [94, 474, 106]
    assert [found["Clotho v2.1 development", "ESC-50"][key] for key in keys] == [37, 37, 48]
    assert [found["Clotho v2.1 development", "UrbanSound8K"][key] for key in keys] == [33, 33, 357]
    assert not found["AudioCaps", "ESC-50"]["comparable"]


def test_a_clips_description_counts_once_what_is_listed_twice():
    clips = Clips("x", "toy", {"a": "freesound:1", "b": "freesound:1", "c": None}, {"kind": "table"})
    assert clips.describe() == {"name": "x", "corpus": "toy", "n_clips": 3, "n_recordings": 1, "n_unknown": 1,
                                "archives": ["freesound"], "kind": "table"}  # fmt: skip
