"""Preparation of the captioned corpora: captions go to their clip, ids are unique, what is missing is counted."""

import json
import logging

import pytest

from data_prep.audiocaps_prepare import prepare_audiocaps
from data_prep.clotho_prepare import prepare_clotho
from data_prep.fsd50k_prepare import caption_of, prepare_fsd50k
from data_prep.macs_prepare import prepare_macs
from tests import fakes
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError, DataLayoutError


def prepared(prepare, root, folder, **options):
    prepare(root, folder, **options)
    (path,) = folder.glob("*.json")
    return read_manifest(path, root)


def test_clotho_as_published_has_1045_clips_of_five_captions(tmp_path):
    root = fakes.clotho(tmp_path, full=True, duration_s=0.01)
    meta, items = prepared(prepare_clotho, root, tmp_path / "m")
    assert len(items) == 1045 and {len(item["captions"]) for item in items} == {5}
    assert items[2]["captions"][4] == "Rain falls, evaluation clip 2, sentence 5."
    # file name 1 is "Not found" on Freesound
    assert [item.get("freesound_id") for item in items[:3]] == ["5000", None, "5002"]
    assert meta["n_without_freesound_id"] == 1


def test_clotho_ids_do_not_collide_across_splits(tmp_path):
    ids = set()
    for split in ("development", "validation", "evaluation"):
        root = fakes.clotho(tmp_path, split)
        ids |= {
            item["id"] for item in prepared(prepare_clotho, root, tmp_path / split, split=split, subset="listed").items
        }
    assert len(ids) == 9 and "validation/Café, rain 0.wav" in ids


def test_clotho_without_metadata_has_no_freesound_ids_and_says_so(tmp_path, caplog):
    root = fakes.clotho(tmp_path)
    (root / "clotho_metadata_evaluation.csv").unlink()
    with pytest.raises(DataLayoutError, match="missing: clotho_metadata_evaluation.csv"):
        prepare_clotho(root, tmp_path)
    caplog.set_level(logging.WARNING, "data_prep")
    meta, items = prepared(prepare_clotho, root, tmp_path / "m", subset="listed")
    assert meta["n_without_freesound_id"] == 3 and "there are no Freesound ids" in caplog.text


def test_clotho_refuses_an_unknown_split_an_empty_caption_and_a_wrong_count(tmp_path):
    root = fakes.clotho(tmp_path)
    with pytest.raises(ConfigError, match="split is 'test'; it can be 'development', 'validation', 'evaluation'"):
        prepare_clotho(root, tmp_path, split="test")
    table = root / "clotho_captions_evaluation.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace('"Rain falls, evaluation clip 2, sentence 3."', " "), "utf-8"
    )
    with pytest.raises(DataLayoutError) as caught:
        prepare_clotho(root, tmp_path)
    assert "3, published are 1045" in str(caught.value) and "rain 2.wav has an empty caption" in str(caught.value)


def test_audiocaps_groups_five_captions_and_counts_what_is_missing(tmp_path, caplog):
    caplog.set_level(logging.INFO, "data_prep")
    root = fakes.audiocaps(tmp_path)
    meta, items = prepared(prepare_audiocaps, root, tmp_path / "m", subset="listed")
    assert (meta["n_expected"], meta["n_present"]) == (4, 3)
    assert "3 of 4 clips" in caplog.text and "15 captions" in caplog.text
    assert items[1]["id"] == "te-_0000001"
    assert items[1]["captions"] == [f"A dog barks, clip 1, sentence {number}" for number in range(5)]


def test_audiocaps_train_has_one_caption_a_clip(tmp_path):
    root = fakes.audiocaps(tmp_path, "train", n_clips=5, n_present=5)
    _, items = prepared(prepare_audiocaps, root, tmp_path / "m", split="train", subset="listed")
    assert len(items) == 5 and {len(item["captions"]) for item in items} == {1}


def test_audiocaps_finds_clips_of_other_formats_and_names(tmp_path):
    root = fakes.audiocaps(tmp_path, n_present=0)
    fakes.write_audio(root / "test/te-_0000000.flac")
    fakes.write_audio(root / "test/Yte-_0000002.wav")
    (root / "test/te-_0000003.txt").touch()
    _, items = prepared(prepare_audiocaps, root, tmp_path / "m", subset="listed")
    assert [item["wav"].name for item in items] == ["te-_0000000.flac", "Yte-_0000002.wav"]


def test_audiocaps_refuses_other_tables_and_no_audio_at_all(tmp_path):
    root = fakes.audiocaps(tmp_path, n_present=0)
    with pytest.raises(DataLayoutError, match="rows in test.csv: 20, published are 4875"):
        prepare_audiocaps(root, tmp_path)
    with pytest.raises(DataLayoutError, match="none of the 4 recordings that are asked for is there"):
        prepare_audiocaps(root, tmp_path, subset="listed")


def test_a_fetched_clip_enters_the_manifest_at_the_next_run(tmp_path):
    root = fakes.audiocaps(tmp_path)
    assert len(prepared(prepare_audiocaps, root, tmp_path / "m", subset="listed").items) == 3
    fakes.write_audio(root / "test/te-_0000003.wav")
    assert len(prepared(prepare_audiocaps, root, tmp_path / "m", subset="listed").items) == 4


@pytest.mark.parametrize(("split", "n_rows"), [("train", 49838), ("val", 495), ("test", 975)])
def test_the_real_tables_of_audiocaps_are_read(shared_dir, tmp_path, split, n_rows):
    tables = shared_dir / "data/audiocaps"
    root = tmp_path / "AudioCaps"
    root.mkdir()
    (root / f"{split}.csv").write_bytes((tables / f"{split}.csv").read_bytes())
    first = (tables / f"{split}.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[1]
    fakes.write_audio(root / split / f"{first}.wav")
    meta, items = prepared(prepare_audiocaps, root, tmp_path / "m", split=split)
    assert (meta["n_expected"], meta["n_present"]) == (n_rows, 1)
    assert len(items[0]["captions"]) == (1 if split == "train" else 5)


def test_the_real_tables_of_clotho_are_read(shared_dir, tmp_path):
    for name in ("captions", "metadata"):
        table = f"clotho_{name}_evaluation.csv"
        (tmp_path / table).write_bytes((shared_dir / "data/clotho" / table).read_bytes())
    fakes.write_audio(tmp_path / "evaluation/Santa Motor.wav")
    meta, items = prepared(prepare_clotho, tmp_path, tmp_path / "m", subset="present")
    assert meta["n_expected"] == 1045
    assert (len(items), items[0]["freesound_id"]) == (1, "116638")


def test_macs_as_published_has_3930_clips_of_two_to_five_captions(tmp_path):
    root = fakes.macs(tmp_path, full=True, duration_s=0.001)
    _, items = prepared(prepare_macs, root, tmp_path / "m")
    assert len(items) == 3930 and {len(item["captions"]) for item in items} == {2, 3, 4, 5}
    assert items[0]["captions"] == ["Birds sing: clip 0, by 0", "Birds sing: clip 0, by 1"]
    # two clips of one place
    assert items[0]["group"] == items[1]["group"] == "vienna-0" != items[2]["group"]


def test_macs_finds_the_audio_as_tau_unpacks_it(tmp_path):
    root = fakes.macs(tmp_path)
    (root / "TAU-urban-acoustic-scenes-2019-development").mkdir()
    (root / "audio").rename(root / "TAU-urban-acoustic-scenes-2019-development/audio")
    assert len(prepared(prepare_macs, root, tmp_path / "m", subset="listed").items) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files: [", "MACS.yaml is not readable YAML"),
        ("clips: []", "MACS.yaml has no list `files`"),
        ("files: [{filename: a.wav}]", "entry 1 lacks filename or annotations"),
        ("files: [{filename: a.wav, annotations: [{sentence: ''}]}]", "a.wav has an empty caption, or none"),
        ("files: [{filename: a.wav, annotations: [{sentence: }]}]", "a.wav has an empty caption, or none"),
        ("files: [{filename: a.wav, annotations: [{tags: []}]}]", "a.wav has an empty caption, or none"),
        ("files: [{filename: a.wav, annotations: [{sentence: [a, dog]}]}]", "entry 1 lacks"),
        ("files: [{filename: a.wav, annotations: [a dog]}]", "entry 1 lacks"),
        ("files: [{filename: [a.wav], annotations: []}]", "entry 1 lacks"),
    ],
)
def test_macs_says_what_is_wrong_with_its_table(tmp_path, text, message):
    root = fakes.macs(tmp_path)
    (root / "MACS.yaml").write_text(text)
    with pytest.raises(DataLayoutError, match=message):
        prepare_macs(root, tmp_path, subset="listed")


def test_macs_captions_are_text_as_they_are_written(tmp_path):
    root = fakes.macs(tmp_path, n_clips=1)
    words = ["yes", "no", "null", "~", "1", "1.0", "2024-01-01", "0x1F", "on", "True", "1_000", ".inf", "A dog: barks"]
    notes = "".join(f"  - sentence: {word if ':' not in word else repr(word)}\n    tags: []\n" for word in words)
    head = "files:\n- filename: park-vienna-0-0-a.wav\n  annotations:\n"
    (root / "MACS.yaml").write_text(head + notes, encoding="utf-8")
    _, items = prepared(prepare_macs, root, tmp_path / "m", subset="listed")
    assert items[0]["captions"] == words


@pytest.mark.parametrize(("split", "ids"), [("dev", "0 1 2 3"), ("train", "0 1 2"), ("val", "3")])
def test_fsd50k_splits_dev_as_published(tmp_path, split, ids):
    root = fakes.fsd50k(tmp_path)
    _, items = prepared(prepare_fsd50k, root, tmp_path / "m", split=split, subset="listed")
    assert [item["id"] for item in items] == [f"70{number}" for number in ids.split()]
    assert all(item["freesound_id"] == item["id"] for item in items)


def test_fsd50k_captions_come_from_title_and_description_else_labels(tmp_path):
    root = fakes.fsd50k(tmp_path)
    _, items = prepared(prepare_fsd50k, root, tmp_path / "m", subset="listed")
    assert items[0]["captions"] == ["tap 0. A tap runs, clip 0."]
    assert items[1]["captions"] == ["Water tap and faucet, Domestic sounds and home sounds"]
    assert items[0]["group"] == items[1]["group"] == "user0" != items[2]["group"]


def test_fsd50k_eval_is_prepared_too_and_lost_metadata_is_named(tmp_path):
    root = fakes.fsd50k(tmp_path, "eval")
    assert len(prepared(prepare_fsd50k, root, tmp_path / "m", split="eval", subset="listed").items) == 4
    path = root / "FSD50K.metadata/eval_clips_info_FSD50K.json"
    infos = json.loads(path.read_text())
    del infos["702"]
    path.write_text(json.dumps(infos))
    with pytest.raises(DataLayoutError, match="eval_clips_info_FSD50K.json lacks 702"):
        prepare_fsd50k(root, tmp_path, split="eval", subset="listed")
    with pytest.raises(DataLayoutError, match="4, published are 10231"):
        prepare_fsd50k(root, tmp_path, split="eval")


@pytest.mark.parametrize(
    ("title", "description", "caption"),
    [
        ("Door_slam-01.WAV", "A door.", "Door slam 01. A door."),
        ("rain", "Rain on a roof", "Rain on a roof"),
        ("Rock &amp; roll", "", "Rock & roll"),
        (None, "see <b>this</b>\r\n page: http://a.b/c?d", "see this page:"),
        ("", None, ""),
    ],
)
def test_captions_are_cleaned_of_file_names_tags_and_addresses(title, description, caption):
    assert caption_of(title, description) == caption


def test_a_long_description_is_cut_at_fifty_words():
    assert caption_of("a bell", "word " * 80) == "a bell. " + " ".join(["word"] * 50)
