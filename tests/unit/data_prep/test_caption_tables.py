"""Caption tables with an empty caption, or with too many or too few, are refused in words that say where."""

import pytest

from data_prep.audiocaps_prepare import prepare_audiocaps
from data_prep.clotho_prepare import prepare_clotho
from tests import fakes
from tinyclap.errors import DataLayoutError


def clotho_table(folder, change):
    """A Clotho split whose table has been changed line by line."""
    root = fakes.clotho(folder)
    table = root / "clotho_captions_evaluation.csv"
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join(change(number, line) for number, line in enumerate(lines)) + "\n", "utf-8")
    return root


def refusal(prepare, root, tmp_path, **options):
    with pytest.raises(DataLayoutError) as caught:
        prepare(root, tmp_path / "manifests", **options)
    assert not list((tmp_path / "manifests").glob("*.json"))
    return str(caught.value)


def test_a_clotho_table_with_a_sixth_column_of_captions_is_refused(tmp_path):
    root = clotho_table(tmp_path, lambda number, line: line + (",caption_6" if number == 0 else ",More rain."))
    message = refusal(prepare_clotho, root, tmp_path, subset="listed")
    assert "clotho_captions_evaluation.csv has 6 columns of captions (caption_1, " in message
    assert "published are 5: caption_1, caption_2, caption_3, caption_4, caption_5" in message


def test_a_clotho_table_with_four_columns_of_captions_is_refused(tmp_path):
    root = clotho_table(tmp_path, lambda number, line: line[: line.rindex(",caption_5" if number == 0 else ',"')])
    message = refusal(prepare_clotho, root, tmp_path, subset="listed")
    assert "has 4 columns of captions (caption_1, caption_2, caption_3, caption_4); published are 5" in message


def test_a_clotho_row_of_six_captions_is_named(tmp_path):
    root = clotho_table(tmp_path, lambda number, line: line + (",More rain." if number == 2 else ""))
    message = refusal(prepare_clotho, root, tmp_path, subset="listed")
    assert "row 3 has more or fewer cells than its header" in message


@pytest.mark.parametrize("caption", ['" "', '"..."'])
def test_a_clotho_caption_without_a_word_is_named_by_file_and_column(tmp_path, caption):
    wanted = '"Rain falls, evaluation clip 2, sentence 3."'
    root = clotho_table(tmp_path, lambda _, line: line.replace(wanted, caption))
    message = refusal(prepare_clotho, root, tmp_path, subset="listed")
    assert "rain 2.wav has an empty caption (caption_3)" in message and "1 problem(s)" in message


def test_an_audiocaps_caption_without_a_word_is_named_by_row_and_clip(tmp_path):
    root = fakes.audiocaps(tmp_path)
    table = root / "test.csv"
    table.write_text(table.read_text("utf-8").replace('"A dog barks, clip 1, sentence 0"', '" ."'), "utf-8")
    message = refusal(prepare_audiocaps, root, tmp_path, subset="listed")
    assert "test.csv: audiocap_id 100 (clip te-_0000001) has an empty caption" in message


def test_an_audiocaps_clip_of_six_captions_is_refused_where_the_table_should_be_the_published_one(tmp_path):
    root = fakes.audiocaps(tmp_path, n_clips=975, n_present=1)
    lines = (root / "test.csv").read_text("utf-8").splitlines()
    taken = lines[-1].split(",")[1]
    lines[-1] = lines[-1].replace(taken, lines[1].split(",")[1])
    (root / "test.csv").write_text("\n".join(lines) + "\n", "utf-8")
    message = refusal(prepare_audiocaps, root, tmp_path)
    assert "clip te-_0000000 has 6 caption(s), published are 5" in message
    assert f"clip {taken} has 4 caption(s), published are 5" in message
    prepare_audiocaps(root, tmp_path / "listed", subset="listed")
