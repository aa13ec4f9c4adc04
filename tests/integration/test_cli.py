"""The command line as a shell sees it: what is written where, help and completion."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_runs import rows_of, tinyclap_says

import tinyclap
from tinyclap.cli.main import COMMANDS, part_of
from tinyclap.cli.main import parser as command_line
from tinyclap.config.shipped import DEFAULT_CAPTIONER, shipped_names

pytest.importorskip("onnxruntime", reason="the shipped models need an engine")


def test_without_a_command_it_says_what_there_is():
    done = subprocess.run([sys.executable, "-m", "tinyclap"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert all(f"\n    {name}" in done.stderr for name in COMMANDS)


def test_one_recording_and_three_words(folder):
    out, err = tinyclap_says("classify", folder / "00.wav", "--labels", "airplane,dog,rain", "--format", "table")
    lines = out.splitlines()
    assert lines[0] == str(folder / "00.wav")
    assert {line.split("  ")[-1] for line in lines[1:]} == {"airplane", "dog", "rain"}
    assert err == ""


def test_the_command_line_says_what_python_says(folder, good):
    model = tinyclap.from_pretrained()
    names = model.labels[:4]
    out, _ = tinyclap_says("classify", *good[:3], "--labels", ",".join(names), "--all", "--scores")
    told = np.array([[float(row[name]) for name in names] for row in rows_of(out)])
    assert np.abs(told - model.scores(good[:3], names)).max() < 1e-5
    out, _ = tinyclap_says("embed", *good[:3])
    told = np.array([[float(cell) for cell in list(row.values())[1:]] for row in rows_of(out)], np.float32)
    assert np.array_equal(told, model.embed(good[:3]))


def test_lists_and_sound_on_standard_input(folder, good):
    names = b"\0".join(os.fsencode(path) for path in good[-3:])
    out, _ = tinyclap_says("classify", "-", "--top", 1, "--format", "jsonl", stdin=names)
    assert [json.loads(line)["file"] for line in out.splitlines()] == good[-3:]
    sound = (folder / "00.wav").read_bytes()
    out, _ = tinyclap_says("classify", "--stdin-audio", "--top", 1, stdin=sound)
    by_name, _ = tinyclap_says("classify", folder / "00.wav", "--top", 1)
    assert rows_of(out)[0] == {**rows_of(by_name)[0], "file": "<stdin>"}
    _, err = tinyclap_says("classify", "--stdin-audio", stdin=sound[:1000], status=1)
    assert "<stdin>: is cut short" in err


@pytest.mark.skipif(DEFAULT_CAPTIONER not in shipped_names(), reason="no captioner comes with this checkout")
def test_captions_in_the_form_of_dcase(folder, good):
    out, _ = tinyclap_says("caption", *good[:2])
    assert all(row["caption"] for row in rows_of(out))
    dcase, _ = tinyclap_says("caption", *good[:2], "--dcase")
    assert [list(row.values()) for row in rows_of(dcase)] == [
        [os.path.basename(row["file"]), row["caption"]] for row in rows_of(out)
    ]
    assert dcase.startswith("file_name,caption_predicted\n")


def test_every_command_has_help_with_examples():
    out, _ = tinyclap_says("--help")
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\b", out, re.MULTILINE)
        module = importlib.import_module(f"tinyclap.cli.{name}_command")
        assert f"tinyclap {name}" in module.EXAMPLES
        assert len(module.DESCRIPTION) > 20


def test_help_and_the_commands_load_no_torch(folder):
    code = "import sys; from tinyclap.cli.main import main; s = main(sys.argv[1:]); heavy = {'torch', 'transformers', "
    code += "'pandas', 'scipy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy; sys.exit(s)"
    for words in (["classify", folder / "00.wav"], ["embed", folder / "00.wav"], ["completion", "bash"]):
        done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    code = "import sys; import tinyclap.cli.main; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def completed(script, *words):
    """What bash offers for the last word."""
    told = '. {}; COMP_WORDS=({}); COMP_CWORD={}; _shtab_tinyclap; echo "${{COMPREPLY[@]}}"'.format(
        script, " ".join(f"'{word}'" for word in ("tinyclap", *words)), len(words)
    )
    return subprocess.run(["bash", "-c", told], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_choices_and_files(tmp_path, monkeypatch):
    script = tmp_path / "completion.bash"
    script.write_text(tinyclap_says("completion", "bash")[0])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recording.wav").write_bytes(b"")
    assert set(COMMANDS) <= set(completed(script, ""))
    assert completed(script, "cl") == ["classify"]
    assert completed(script, "classify", "--keep") == ["--keep-going"]
    assert completed(script, "classify", "--format", "") == ["table", "csv", "jsonl"]
    assert completed(script, "classify", "rec") == ["recording.wav"]
    made = command_line(None)
    for name in COMMANDS:
        options = {word for action in part_of(made, name)._actions for word in action.option_strings[:1]}
        assert options <= {*completed(script, name, "-"), *completed(script, name, "--")}, name


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_accept_their_scripts(tmp_path, shell):
    script = tmp_path / f"completion.{shell}"
    script.write_text(tinyclap_says("completion", shell)[0])
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n", script], check=True)
