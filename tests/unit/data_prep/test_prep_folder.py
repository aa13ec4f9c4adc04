"""A folder of labelled recordings: tables as people write them, and all that can be wrong with one."""

import json

import numpy as np
import pytest
import soundfile

from data_prep.folder_prepare import prepare_folder
from tinyclap.errors import ConfigError, DataLayoutError

FILES = ("rain.wav", "deep/dog 1.wav", "deep/dog_2.flac", "Ü/kötü.wav")


@pytest.fixture
def folder(tmp_path):
    """Four recordings in several subfolders."""
    root = tmp_path / "audio"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.zeros(800, dtype=np.float32), 8000)
    return root


def prepared(folder, table=None, text=None, encoding="utf-8", **options):
    """The manifest, after writing a table's text into the folder."""
    if text is not None:
        (folder / table).write_bytes(text.encode(encoding))
    prepare_folder(str(folder), str(folder.parent / "manifests"), table=table, **options)
    return json.loads((folder.parent / "manifests" / "folder_test.json").read_text(encoding="utf-8"))


def labels(manifest):
    return {name: item["label"] for name, item in manifest["items"].items()}


ROWS = "file,label\nrain.wav,rain\ndeep/dog 1.wav,dog\n"
WANTED = {"rain.wav": "rain", "deep/dog 1.wav": "dog"}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ROWS, "utf-8"),
        (ROWS, "utf-8-sig"),
        (ROWS, "utf-16"),
        (ROWS.replace(",", ";"), "utf-8-sig"),
        (ROWS.replace(",", "\t"), "utf-8"),
        (ROWS.replace("\n", "\r\n"), "utf-8"),
        ("sep=;\n" + ROWS.replace(",", ";"), "utf-8"),
        (ROWS + "\n,\n", "utf-8"),
        ('file, label\n"rain.wav" , rain\n "deep/dog 1.wav", "dog"\n', "utf-8"),
        ("Label,Notes,File Name\nrain,\"loud, wet\",rain.wav\ndog,,deep/dog 1.wav\n", "utf-8"),
        ("category;filename\nrain;rain.wav\ndog;dog 1.wav\n", "utf-8"),
        ("path,class\nrain.wav,rain\ndeep\\dog 1.wav,dog\n", "utf-8"),
    ],
    ids=["comma", "mark", "utf-16", "semicolon", "tab", "crlf", "sep", "blank", "spaces", "notes", "bare", "backslash"],
)  # fmt: skip
def test_tables_as_programs_and_people_write_them(folder, text, encoding):
    manifest = prepared(folder, "labels.csv", text, encoding)
    assert labels(manifest) == WANTED and manifest["_meta"]["classes"] == ["dog", "rain"]
    assert manifest["_meta"]["n_without_label"] == 2


def test_names_outside_of_ascii_and_absolute_paths_are_found(folder):
    text = f"file,label\nÜ/kötü.wav,bad\n{folder / 'rain.wav'},rain\n"
    assert labels(prepared(folder, "labels.csv", text)) == {"Ü/kötü.wav": "bad", "rain.wav": "rain"}


def test_groups_and_folds_are_kept(folder):
    text = "file,label,group,fold\nrain.wav,rain,garden,1\ndeep/dog 1.wav,dog,street,2\ndeep/dog_2.flac,dog,street,\n"
    items = prepared(folder, "labels.csv", text)["items"]
    assert [(item.get("group"), item.get("fold")) for item in items.values()] == [
        *(("garden", 1), ("street", 2), ("street", None))
    ]
    items = prepared(folder, "labels.csv", text.replace(",1\n", ",a\n"))["items"]
    assert [item.get("fold") for item in items.values()] == ["a", "2", None]


def test_columns_can_be_named(folder):
    text = "which one,what it is,label\nrain.wav,rain,x\ndeep/dog 1.wav,dog,y\n"
    options = {"file_column": "Which one", "label_column": "what it is"}
    assert labels(prepared(folder, "labels.csv", text, **options)) == WANTED


def test_a_table_elsewhere_is_found_by_its_path(folder, tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text(ROWS)
    assert labels(prepared(folder, str(tmp_path / "mine.csv"))) == WANTED
    monkeypatch.chdir(tmp_path)
    assert labels(prepared(folder, "mine.csv")) == WANTED
    with pytest.raises(ConfigError, match="two tables"):
        prepared(folder, "mine.csv", ROWS)


def test_without_a_table_subfolders_are_labels(folder):
    with pytest.raises(DataLayoutError, match=r"rain\.wav is in no subfolder"):
        prepared(folder)
    (folder / "rain.wav").unlink()
    assert labels(prepared(folder)) == {"deep/dog 1.wav": "deep", "deep/dog_2.flac": "deep", "Ü/kötü.wav": "Ü"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\nrain.wav,rain\nsnow.wav,snow\n", "row 3 names snow.wav, which is not in the folder"),
        ("file,label\nrain.wav,rain\nrain.wav,dog\n", r"row 3 lists rain.wav again, after row 2 \(rain\)"),
        ("file,label\ndeep/dog 1.wav,dog\ndog 1.wav,dog\n", "row 3 lists dog 1.wav again, after row 2"),
        ("file,label\nrain.wav,\n", "row 2 has no label"),
        ("file,label\n  ,rain\n", "row 2 has no file name"),
        ("file,label\nrain.wav,rain,more\n", "row 2 has 3 cells, its header 2"),
        ("rain.wav,rain\ndeep/dog 1.wav,dog\n", r"no column of file names .* here: rain.wav, rain"),
        ("file,kind\nrain.wav,rain\n", "no column of labels .such as label or class.; .* here: file, kind"),
        ("file,label,Label\nrain.wav,rain,x\n", "has two columns label"),
        ("file\nrain.wav\n", "no column of labels"),
        ("file,label\n", "has no row beside its header"),
        ("", "is empty"),
        ("file,label\nrain.wav,Dog\ndeep/dog 1.wav,dog\n", "labels that differ in capitals alone: Dog, dog"),
        ("file,label\nrain.wav,rain\ndeep/dog 1.wav,rain\n", "1 label.s. in 2 recordings; a score needs two"),
        ("file,label\n../outside.wav,rain\n", "outside of the folder"),
        ("PK\x03\x04\x00", "is no text: save it as CSV"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_and_nothing_is_written(folder, text, says):
    soundfile.write(folder.parent / "outside.wav", np.zeros(800, dtype=np.float32), 8000)
    with pytest.raises(DataLayoutError, match=says):
        prepared(folder, "labels.csv", text)
    assert not (folder.parent / "manifests").exists()


def test_everything_that_is_wrong_is_said_at_once(folder):
    text = "file,label\nsnow.wav,snow\nrain.wav,\nhail.wav,hail\n"
    with pytest.raises(DataLayoutError) as raised:
        prepared(folder, "labels.csv", text)
    assert len(raised.value.problems) == 3


def test_a_name_in_several_subfolders_needs_its_subfolder(folder):
    soundfile.write(folder / "Ü" / "dog 1.wav", np.zeros(800, dtype=np.float32), 8000)
    with pytest.raises(DataLayoutError, match=r"names dog 1.wav, of which there are 2: .*; write the subfolder too"):
        prepared(folder, "labels.csv", "file,label\nrain.wav,rain\ndog 1.wav,dog\n")


def test_missing_folders_and_tables_and_broken_recordings_are_named(folder):
    with pytest.raises(DataLayoutError, match="there is no table labels.csv, neither"):
        prepared(folder, "labels.csv")
    with pytest.raises(DataLayoutError, match="the folder does not exist"):
        prepared(folder / "nowhere", "labels.csv")
    (folder / "rain.wav").write_bytes(b"not audio")
    with pytest.raises(DataLayoutError, match="unusable: rain.wav"):
        prepared(folder, "labels.csv", ROWS + "deep/dog_2.flac,wolf\n")
    assert labels(prepared(folder, "labels.csv", check_audio=False)) == {
        "deep/dog 1.wav": "dog",
        "deep/dog_2.flac": "wolf",
    }


def test_an_edited_table_is_read_again(folder):
    assert labels(prepared(folder, "labels.csv", ROWS)) == WANTED
    assert (
        labels(prepared(folder, "labels.csv", ROWS.replace("rain.wav,rain", "rain.wav,drizzle")))["rain.wav"]
        == "drizzle"
    )
