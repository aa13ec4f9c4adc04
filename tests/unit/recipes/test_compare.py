"""Two predictions.csv side by side: matched by clip, refused where they are two tasks, told in words and rows."""

import csv
import json
import sys

import pytest

from tests.conftest import ROOT
from tinyclap.errors import ConfigError
from tinyclap.metrics.predictions import read_predictions

sys.path.insert(0, str(ROOT / "recipes"))

import compare

CLASSES = ("dog", "rain", "siren")
# two takes of recording 1, one each of 2 to 5
IDS = ("1-1-A-0", "1-1-B-0", "1-2-A-10", "1-3-A-10", "2-4-A-42", "2-5-A-42")
LABELS = ("dog", "dog", "rain", "rain", "siren", "siren")


def predictions(folder, answers, ids=IDS, labels=LABELS, classes=CLASSES):
    """A predictions.csv as evaluate.py writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "fold", "label", "prediction", "correct", *(f"score:{name}" for name in classes)])
        for clip, label, answer in zip(ids, labels, answers, strict=True):
            writer.writerow([clip, clip[0], label, answer, int(label == answer), *(0.5 for _ in classes)])
    return folder


@pytest.fixture
def sides(tmp_path):
    """Three and four of six right; they differ on three clips."""
    first = predictions(tmp_path / "first", ("dog", "dog", "dog", "rain", "dog", "dog"))
    second = predictions(tmp_path / "second", ("rain", "dog", "rain", "rain", "siren", "dog"))
    return first, second


def test_the_numbers_by_hand(sides):
    first, second, left_out = compare.matched(*map(read_predictions, sides))
    content = compare.comparison(first, second, seed=0)
    assert (left_out, content["n_clips"], content["n_recordings"], content["folds"]) == (0, 6, 5, ["1", "2"])
    assert content["first"]["accuracy"] == pytest.approx(3 / 6) and content["second"]["accuracy"] == pytest.approx(
        4 / 6
    )
    assert content["difference"] == pytest.approx(1 / 6)
    assert (content["n_both_right"], content["n_both_wrong"], content["n_same_answer"]) == (2, 1, 3)
    # one against two of three clips: 2 P(X <= 1 | 3, 1/2) = 1
    assert content["mcnemar"] == {"n_first_only": 1, "n_second_only": 2, "exact_p": 1.0, "mid_p": 0.625}
    assert content["per_class"]["siren"] == {"n": 2, "n_first_only": 0, "n_second_only": 1}


def test_the_order_of_the_clips_is_no_matter(sides, tmp_path):
    turned = predictions(tmp_path / "turned", ("dog", "siren", "rain", "rain", "dog", "rain"), IDS[::-1], LABELS[::-1])
    plain = compare.comparison(*compare.matched(*map(read_predictions, sides))[:2], seed=0)
    assert compare.comparison(*compare.matched(*map(read_predictions, (sides[0], turned)))[:2], seed=0) == plain


def test_other_clips_are_refused_unless_the_common_ones_are_asked_for(sides, tmp_path):
    part = predictions(tmp_path / "part", ("rain", "dog", "rain"), IDS[:3], LABELS[:3])
    with pytest.raises(ConfigError, match="3 clips are on one side alone.*--common"):
        compare.matched(*map(read_predictions, (sides[0], part)))
    first, second, left_out = compare.matched(*map(read_predictions, (sides[0], part)), common=True)
    assert list(first.ids) == list(second.ids) == list(IDS[:3]) and left_out == 3
    stranger = predictions(tmp_path / "stranger", ("dog",), ("9-9-A-0",), ("dog",))
    with pytest.raises(ConfigError, match="share no clip"):
        compare.matched(*map(read_predictions, (sides[0], stranger)), common=True)


def test_other_classes_or_labels_are_another_task(sides, tmp_path):
    more = predictions(tmp_path / "more", LABELS, classes=(*CLASSES, "wind"))
    with pytest.raises(ConfigError, match=r"3 and 4; one side alone has wind\): two tasks"):
        compare.matched(*map(read_predictions, (sides[0], more)), common=True)
    relabelled = predictions(tmp_path / "relabelled", LABELS, labels=("rain", *LABELS[1:]))
    with pytest.raises(ConfigError, match="1 clips have another label on each side .1-1-A-0"):
        compare.matched(*map(read_predictions, (sides[0], relabelled)), common=True)


def test_the_command_writes_the_record_and_the_clips_on_which_they_differ(sides, tmp_path, capsys):
    words = [*map(str, sides), "--labels", "plain", "nested", "--output", str(tmp_path / "out")]
    assert compare.main(words) == 0
    said = capsys.readouterr().out
    assert "| nested − plain | +16.67 |" in said and "do not tell the two models apart" in said
    content = json.loads((tmp_path / "out/compare.json").read_text("utf-8"))
    assert content["labels"] == ["plain", "nested"] and content["n_left_out"] == 0 and "commit" in content
    with open(tmp_path / "out/differences.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["right"]) for row in rows] == [(IDS[0], "first"), (IDS[2], "second"), (IDS[4], "second")]
    assert rows[0]["recording"] == "freesound:1"


def test_a_clear_difference_is_called_one(tmp_path):
    ids, labels = [f"1-{number}-A-0" for number in range(100, 140)], ["dog"] * 40
    first = predictions(tmp_path / "first", ["rain"] * 30 + ["dog"] * 10, ids, labels)
    second = predictions(tmp_path / "second", labels, ids, labels)
    content = compare.comparison(*compare.matched(*map(read_predictions, (first, second)))[:2], seed=0)
    assert content["mcnemar"]["exact_p"] == pytest.approx(2 * 0.5**30)
    assert "these clips tell the two models apart" in compare.page(content, ("a", "b"))
