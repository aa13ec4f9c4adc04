"""What ``--labels`` can mean."""

import pytest

from tinyclap.config.shipped import DEFAULT_MODEL
from tinyclap.errors import ConfigError
from tinyclap.text.bank import LabelBank
from tinyclap.text.labels import read_labels


def test_names_may_stand_on_the_command_line_or_in_a_file(tmp_path):
    assert read_labels("dog barking, rain,, siren ", DEFAULT_MODEL) == ["dog barking", "rain", "siren"]
    assert read_labels("a St. Bernard", DEFAULT_MODEL) == ["a St. Bernard"]
    (tmp_path / "names.txt").write_text("dog, barking\n\n  église\n", encoding="utf-8")
    assert read_labels(str(tmp_path / "names.txt"), DEFAULT_MODEL) == ["dog, barking", "église"]
    assert read_labels(None, DEFAULT_MODEL) is None


def test_the_name_of_a_ready_bank_and_the_path_of_a_bank_are_that_bank(tmp_path):
    bank = read_labels("esc50", DEFAULT_MODEL)
    assert isinstance(bank, LabelBank) and len(bank.labels) == 50
    bank.save(tmp_path / "mine.npz")
    assert read_labels(str(tmp_path / "mine.npz"), DEFAULT_MODEL).labels == bank.labels
    # of a model that has no such bank, it is a word like any other
    assert read_labels("esc50", "owner/other") == ["esc50"]


@pytest.mark.parametrize("words", [",", "names.txt", " "])
def test_no_name_at_all_is_refused(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--labels"):
        read_labels(words, DEFAULT_MODEL)
