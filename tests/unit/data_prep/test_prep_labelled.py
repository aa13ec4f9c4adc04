"""Preparation of the corpora for classification: published counts, folds, classes, and what contradicts them."""

from collections import Counter

import pytest

from data_prep.esc50_prepare import CLASSES, prepare_esc50
from data_prep.tut17_prepare import prepare_tut17
from data_prep.urbansound8k_prepare import prepare_urbansound8k
from tests import fakes
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError, DataLayoutError


def prepared(prepare, root, folder, **options):
    prepare(root, folder, **options)
    (path,) = folder.glob("*.json")
    return read_manifest(path, root)


def test_esc50_as_published_has_50_classes_of_40_in_5_folds(tmp_path):
    root = fakes.esc50(tmp_path, full=True, duration_s=0.01)
    meta, items = prepared(prepare_esc50, root, tmp_path / "m")
    assert len(items) == 2000 and meta["classes"] == list(CLASSES) and len(CLASSES) == 50
    assert set(Counter(item["label"] for item in items).values()) == {40}
    assert Counter(item["fold"] for item in items) == dict.fromkeys(range(1, 6), 400)
    assert items[0]["freesound_id"] == "11000" and items[0]["sample_rate_hz"] == 8000


def test_esc50_takes_the_folds_asked_for(tmp_path):
    root = fakes.esc50(tmp_path)
    meta, items = prepared(prepare_esc50, root, tmp_path / "m", split="train", folds=["3", 1], subset="listed")
    assert {item["fold"] for item in items} == {1, 3} and len(items) == 12
    assert meta["options"]["folds"] == [1, 3] and meta["split"] == "train"
    # in the published order of targets, not in the table's
    assert meta["classes"] == ["dog", "rain", "siren"]
    with pytest.raises(ConfigError, match="folds are \\[6\\]; the corpus has \\[1, 2, 3, 4, 5\\]"):
        prepare_esc50(root, tmp_path, folds=[6])
    with pytest.raises(ConfigError, match="give a list of numbers"):
        prepare_esc50(root, tmp_path, folds=["one"])


def test_esc50_needs_no_audio_of_other_folds(tmp_path):
    root = fakes.esc50(tmp_path)
    for path in (root / "audio").glob("[1-4]-*"):
        path.unlink()
    _, items = prepared(prepare_esc50, root, tmp_path / "m", folds=[5], subset="listed")
    assert len(items) == 6


def test_a_part_is_refused_unless_it_is_said_to_be_one(tmp_path):
    root = fakes.esc50(tmp_path)
    with pytest.raises(DataLayoutError, match="clips in meta/esc50.csv: 30, published are 2000 .*subset='listed'"):
        prepare_esc50(root, tmp_path)


def test_a_missing_class_and_missing_files_come_in_one_error(tmp_path):
    root = fakes.esc50(tmp_path, full=True, duration_s=0.01)
    table = root / "meta/esc50.csv"
    table.write_text("".join(line for line in table.open() if ",siren," not in line))
    gone = sorted((root / "audio").glob("*-0.wav"))[:3]
    for path in gone:
        path.unlink()
    with pytest.raises(DataLayoutError) as caught:
        prepare_esc50(root, tmp_path)
    problems = caught.value.problems
    assert "meta/esc50.csv: 1 class(es) missing: siren" in problems
    assert [f"missing: audio/{path.name}" for path in gone] == [p for p in problems if p.startswith("missing:")]
    assert len(problems) == 5


def test_what_is_present_is_taken_and_the_rest_counted(tmp_path):
    root = fakes.esc50(tmp_path)
    for path in sorted((root / "audio").iterdir())[:4]:
        path.unlink()
    meta, items = prepared(prepare_esc50, root, tmp_path / "m", subset="present")
    assert (meta["n_expected"], meta["n_present"], len(items)) == (30, 26, 26)


def test_a_table_that_contradicts_itself_is_refused(tmp_path):
    root = fakes.esc50(tmp_path)
    table = root / "meta/esc50.csv"
    table.write_text(table.read_text().replace(",0,dog,", ",1,dog,", 1).replace("A-10.wav,1,", "A-10.wav,7,", 1))
    with pytest.raises(DataLayoutError) as caught:
        prepare_esc50(root, tmp_path, subset="listed")
    assert any("has target 1 and category dog" in problem for problem in caught.value.problems)
    assert any("has fold 7, not 1 to 5" in problem for problem in caught.value.problems)


def test_urbansound8k_as_published_has_8732_slices_in_10_folds(tmp_path):
    root = fakes.urbansound8k(tmp_path, full=True, duration_s=0.01)
    meta, items = prepared(prepare_urbansound8k, root, tmp_path / "m")
    assert len(items) == 8732 and len(meta["classes"]) == 10
    assert Counter(item["fold"] for item in items)[4] == 990
    assert {item["n_channels"] for item in items} == {2}


def test_urbansound8k_counts_each_fold(tmp_path):
    root = fakes.urbansound8k(tmp_path, n_per_class=1)
    with pytest.raises(DataLayoutError) as caught:
        prepare_urbansound8k(root, tmp_path, folds=[1, 2])
    assert "slices in metadata/UrbanSound8K.csv: 20, published are 8732" in str(caught.value)
    assert "fold 2 has 10 slices, published are 888" in str(caught.value)
    meta, items = prepared(prepare_urbansound8k, root, tmp_path / "m", folds=[2], subset="listed")
    assert len(items) == 10 and {item["wav"].parent.name for item in items} == {"fold2"}
    assert items[3]["label"] == "dog_bark" and items[3]["freesound_id"] == "2000"


def test_tut17_evaluation_as_published_has_1620_segments(tmp_path):
    root = fakes.tut17(tmp_path, full=True, duration_s=0.01)
    meta, items = prepared(prepare_tut17, tmp_path, tmp_path / "m")
    assert len(items) == 1620 and len(meta["classes"]) == 15
    assert set(Counter(item["label"] for item in items).values()) == {108}
    assert items[0]["id"] == "evaluation/1" and items[0]["wav"] == root / "audio/1.wav"
    # beach, place 0: read from map.txt, for the published names are numbers
    assert items[0]["group"] == "a000" and items[1]["group"] == "a001"
    assert (items[0]["n_channels"], items[0]["sample_rate_hz"]) == (2, 44100)


def test_tut17_takes_the_folder_of_its_part_itself(tmp_path):
    root = fakes.tut17(tmp_path)
    _, items = prepared(prepare_tut17, root, tmp_path / "m", subset="listed")
    assert len(items) == 60 and items[0]["wav"] == root / "audio/1.wav"


def test_tut17_reads_lists_with_a_header_that_a_user_added(tmp_path):
    root = fakes.tut17(tmp_path)
    table = root / "evaluation_setup/evaluate.txt"
    table.write_text("filename\tclass\n" + table.read_text())
    assert len(prepared(prepare_tut17, root, tmp_path / "m", subset="listed").items) == 60


def test_tut17_folds_are_disjoint_and_cover_the_development_part(tmp_path):
    fakes.tut17(tmp_path, "development")
    options = {"part": "development", "subset": "listed"}
    sides = {}
    for side in ("train", "evaluate"):
        folder = tmp_path / side
        sides[side] = prepared(prepare_tut17, tmp_path, folder, fold=2, fold_part=side, **options).items
    assert {item["fold"] for item in sides["evaluate"]} == {2} and len(sides["evaluate"]) == 15
    assert {item["fold"] for item in sides["train"]} == {1, 3, 4} and len(sides["train"]) == 45
    groups = [{item["group"] for item in items} for items in sides.values()]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    assert len(prepared(prepare_tut17, tmp_path, tmp_path / "all", **options).items) == 60


def test_tut17_both_parts_go_into_one_manifest(tmp_path):
    for part in ("development", "evaluation"):
        fakes.tut17(tmp_path, part)
    _, items = prepared(prepare_tut17, tmp_path, tmp_path / "m", part="both", subset="listed")
    assert Counter(item["id"].split("/")[0] for item in items) == {"development": 60, "evaluation": 60}
    assert sum("fold" in item for item in items) == 60


def test_tut17_refuses_unknown_classes_wrong_counts_and_a_fold_of_the_evaluation_part(tmp_path):
    root = fakes.tut17(tmp_path)
    table = root / "evaluation_setup/evaluate.txt"
    table.write_text(table.read_text().replace("\ttram", "\ttramway"))
    with pytest.raises(DataLayoutError) as caught:
        prepare_tut17(root, tmp_path)
    text = str(caught.value)
    assert "60, published are 1620" in text and "class missing: tram" in text and "unknown class tramway" in text
    with pytest.raises(ConfigError, match="set part to 'development'"):
        prepare_tut17(root, tmp_path, fold=1)


def test_the_real_part_of_urbansound8k_has_the_published_table(shared_dir, tmp_path):
    # the whole table of the shared folder, with links to one clip for its audio
    folder = tmp_path / "UrbanSound8K"
    (folder / "metadata").mkdir(parents=True)
    table = (shared_dir / "data/urbansound8k/UrbanSound8K.csv").read_text()
    (folder / "metadata/UrbanSound8K.csv").write_text(table)
    clip = folder / "clip.wav"
    fakes.write_audio(clip, 0.01)
    for line in table.splitlines()[1:]:
        cells = line.split(",")
        path = folder / f"audio/fold{cells[5]}/{cells[0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(clip)
    meta, items = prepared(prepare_urbansound8k, folder, tmp_path / "m")
    assert len(items) == 8732
    counts = Counter(item["label"] for item in items)
    assert (counts["gun_shot"], counts["car_horn"], counts["siren"], counts["dog_bark"]) == (374, 429, 929, 1000)


def test_the_real_part_of_esc50_is_prepared(shared_dir, tmp_path):
    # the published table of the clips that are there, and one clip for all
    import csv

    rows = list(csv.DictReader((shared_dir / "data/esc50/clips.csv").open(encoding="utf-8")))
    root = tmp_path / "ESC-50-master"
    names = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    fakes.write_table(root / "meta/esc50.csv", [{name: row[name] for name in names} for row in rows])
    fakes.write_audio(root / "clip.wav", 0.01)
    (root / "audio").mkdir()
    for row in rows:
        (root / "audio" / row["filename"]).hardlink_to(root / "clip.wav")
    meta, items = prepared(prepare_esc50, root, tmp_path / "m", folds=[5], subset="listed")
    assert len(items) == 144 and len(meta["classes"]) == 18


def test_a_part_of_urbansound8k_needs_no_folder_of_the_folds_that_it_lacks(tmp_path):
    fakes.urbansound8k(tmp_path, folds=(2, 7))
    prepare_urbansound8k(str(tmp_path / "UrbanSound8K"), str(tmp_path / "manifests"), subset="listed")
    manifest = read_manifest(tmp_path / "manifests" / "urbansound8k_test.json", tmp_path / "UrbanSound8K")
    assert {item["fold"] for item in manifest.items} == {2, 7}
