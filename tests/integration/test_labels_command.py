"""``tinyclap labels`` as a person runs it: what it writes, what it says, and how it ends."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime", reason="the shipped model runs on it: pip install 'tinyclap[runtime]'")


def labels(*words, cwd):
    command = [sys.executable, "-m", "tinyclap.cli.main", "labels", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")


def test_names_become_a_bank_that_can_be_shown(tmp_path):
    (tmp_path / "names.txt").write_text("dog barking\nrain\n\nrain\n", encoding="utf-8")
    done = labels("names.txt", "--template", "the sound of {}", "--out", "mine.npz", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.startswith("mine.npz: LabelBank(2 labels × 527 dimensions for tinyclap-phinet-m: dog barking")
    shown = json.loads(labels("--show", "mine.npz", "--json", cwd=tmp_path).stdout)
    assert shown["labels"] == ["dog barking", "rain"] and shown["templates"] == ["the sound of {}"]
    told = labels("--show", "mine.npz", cwd=tmp_path).stdout
    assert "prompts     'the sound of {}'" in told and told.endswith("  dog barking\n  rain\n")


def test_the_ready_banks_are_listed_in_a_line_each(tmp_path):
    done = labels("--list", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and [line.split()[0] for line in lines] == [
        "audioset",
        "esc50",
        "tut17",
        "urbansound8k",
    ]
    assert lines[1].split()[:5] == ["esc50", "50", "dog,", "rooster,", "pig,"]
    assert len(json.loads(labels("--list", "--json", cwd=tmp_path).stdout)["tut17"]) == 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dog,rain"], "say where the bank goes: --out mine.npz"),
        ([], "give one of: names to compile, --list, or --show BANK"),
        (["dog", "--list"], "give one of: names"),
        (["dog,rain", "--out", "mine.txt"], "a bank is written as .npz, .json, .h"),
        (["dog,rain", "--out", "none/mine.npz"], "make it first"),
        (["dog,rain", "--out", "mine.npz", "--int8"], "int8 is for C headers"),
        (["dog", "--out", "mine.npz", "--template", "sound"], "exactly once"),
        (["gone.txt", "--out", "mine.npz"], "gone.txt: no such file"),
        (["--show", "gone.npz"], "no such bank"),
        (["--show", "esc"], "no ready bank 'esc' for tinyclap-phinet-m; there are: audioset, esc50"),
        ([b"\xe9glise bells,rain", "--out", "mine.json"], "bytes that are no UTF-8, in"),
        (["rain,🌧️", "--out", "mine.json"], "knows nothing of"),
        (["Dog,dog", "--out", "mine.json"], "'Dog', 'dog' are the same to the text tower"),
        (["dog", "--out", "mine.npz", "--model", "gone"], "no model 'gone'"),
        (["dog", "--out", "mine.npz", "--model", "tinyclap-captioner-mn04"], "has no space with labels"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words, message, tmp_path):
    done = labels(*words, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == "" and not list(tmp_path.iterdir())
    assert re.search(message, done.stderr) and done.stderr.count("\n") == 1


def test_labels_that_are_known_in_part_are_named_on_standard_error(tmp_path):
    done = labels("🐶 dog,собака,rain", "--out", "mine.json", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == 3 and json.loads((tmp_path / "mine.json").read_text("utf-8"))
    assert lines[0] == "tinyclap: the text tower does not know all of '🐶 dog'"
    assert lines[1].endswith("knows single characters only, no words, of 'собака'")
