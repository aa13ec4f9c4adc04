"""Small functions of the command line: options as numbers, their spelling, and texts for people."""

import argparse

import pytest

from tinyclap.cli.common import above_zero, finite, whole
from tinyclap.cli.inspect_command import lines_of
from tinyclap.cli.main import respelled
from tinyclap.cli.outputs import csv_line, json_line, printable


def test_numbers_within_bounds_are_read():
    assert whole(1, 4)("3") == 3 and whole(0)("0") == 0
    assert above_zero("0.5") == 0.5 and finite("-1e3") == -1000


@pytest.mark.parametrize(
    "kind, text",
    [(whole(1, 4), word) for word in ("5", "0", "1.5", "", "nan", "²")]
    + [(above_zero, word) for word in ("0", "-1", "inf", "nan", "x", "")]
    + [(finite, word) for word in ("inf", "nan", "x", "")],
)
def test_other_words_are_no_numbers(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no"):
        kind(text)


def test_options_are_spelt_as_the_command_spells_them_up_to_two_dashes():
    made = argparse.ArgumentParser()
    made.add_argument("--keep-going")
    made.add_argument("--cache_dir")
    words = ["--keep_going", "--cache-dir=a_b-c", "a_b", "--", "--keep_going"]
    assert respelled(words, made) == ["--keep-going", "--cache_dir=a_b-c", "a_b", "--", "--keep_going"]


def test_facts_are_lines_with_their_values_in_a_column():
    found = {"is": "graph", "n_numbers": 12345, "whole": True, "types": {"F32": 1}}
    assert lines_of(found) == ["is:        graph", "n_numbers: 12,345", "whole:     yes", "types:", "  F32: 1"]


def test_a_name_stays_on_one_line_in_every_format():
    assert printable("two\nlines.wav") == r"two\nlines.wav"
    assert csv_line(["a,b.wav", 0.5]) == '"a,b.wav",0.5\n'
    assert json_line({"file": "été\n.wav"}) == '{"file": "été\\n.wav"}\n'
