"""`tinyclap listen` as a command: a file, pipes, what it writes, and how it ends."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from data_prep.soundscapes_synthesis import synthesize  # noqa: E402

RATE = 22050
COMMAND = [sys.executable, "-m", "tinyclap.cli.main", "listen"]
# what the scores are is not the matter here: about half of the windows are above
LABELS = ["--labels", "dog,rain,siren", "--probability", "0.5"]


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A recording of 14 s with a siren, rain and a dog in it."""
    path, rng = tmp_path_factory.mktemp("listen") / "street.wav", np.random.default_rng(0)
    sounds = [synthesize(name, rng, 4 * RATE, RATE) for name in ("siren", "rain", "dog_bark")]
    silence = 0.001 * rng.standard_normal(RATE)
    wav = np.concatenate([silence, *(0.5 * sound / np.abs(sound).max() for sound in sounds), silence])
    soundfile.write(path, np.stack([wav, 0.5 * wav], axis=1), RATE, subtype="PCM_24")
    return path


def listen(*arguments, stdin=b"", status=0):
    """Run the command; returns its standard output and error, as text."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, timeout=120)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def test_the_timeline_is_the_same_for_a_file_in_any_pieces_and_for_pipes(street, tmp_path):
    timeline, words = listen(street, *LABELS)
    rows = list(csv.DictReader(timeline.splitlines()))
    assert rows and {row["label"] for row in rows} <= {"dog", "rain", "siren"}
    assert all(0 <= float(row["onset_s"]) < float(row["offset_s"]) <= 14.0 for row in rows)
    assert "real-time factor" in words and "14.0 s of audio" in words and words.count("\n") == 2
    assert listen(street, *LABELS, "--chunk", 0.013)[0] == timeline
    assert listen("-", *LABELS, stdin=street.read_bytes())[0] == timeline
    samples, _ = soundfile.read(street, dtype="int32")
    raw = ["--rate", RATE, "--channels", 2, "--sample-format", "s32le"]
    assert listen("-", *LABELS, *raw, stdin=samples.tobytes())[0] == timeline


def test_every_form_of_a_timeline_has_the_same_events(street, tmp_path):
    names = [tmp_path / name for name in ("a.csv", "a.txt", "a.jsonl")]
    timeline, _ = listen(street, *LABELS, *(word for name in names for word in ("--out", name)), "--announce")
    assert timeline == ""
    table = [[float(row["onset_s"]), row["label"]] for row in csv.DictReader(names[0].read_text("utf-8").splitlines())]
    audacity = [line.split("\t") for line in names[1].read_text("utf-8").splitlines()]
    lines = [json.loads(line) for line in names[2].read_text("utf-8").splitlines()]
    assert table
    assert [[float(onset), label] for onset, _, label in audacity] == table
    assert [[line["onset_s"], line["label"]] for line in lines if "label" in line] == table
    # every event was announced before it was certain
    assert sorted(line["begins"] for line in lines if "begins" in line) == sorted(label for _, label in table)


def test_scores_and_a_picture_are_written(street, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures are an extra: pip install 'tinyclap[plots]'")
    scores, picture = tmp_path / "s.npz", tmp_path / "p.png"
    listen(street, *LABELS, "--scores", scores, "--plot", picture, "--window", 1, "--hop", 0.25)
    with np.load(scores) as content:
        np.testing.assert_allclose(content["middles_s"], np.arange(0.5, 13.6, 0.25))
        assert content["scores"].shape == (53, 3)
    assert picture.read_bytes()[1:4] == b"PNG"


def test_a_duration_ends_the_stream_to_the_sample(street):
    assert "3.5 s of audio" in listen(street, *LABELS, "--duration", 3.5)[1]


def test_a_live_stream_that_is_interrupted_keeps_what_was_heard(street):
    arguments = ["-", "--labels", "dog,rain,siren", "--threshold", "-1", "--format", "jsonl", "--announce"]
    content = street.read_bytes()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(content[: len(content) // 2])
        process.stdin.flush()
        first = json.loads(process.stdout.readline())  # said while the stream goes on
        assert first == {"begins": "dog", "at_s": 1.0}
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest, words = process.stdout.read().decode(), process.stderr.read().decode()
    assert process.returncode == 130, words
    events = [json.loads(line) for line in rest.splitlines() if '"label"' in line]
    assert sorted(event["label"] for event in events) == ["dog", "rain", "siren"]
    # a threshold below all scores: heard from the beginning to where the stream was left
    assert {(event["onset_s"], event["offset_s"]) for event in events} == {(0.0, events[0]["offset_s"])}
    assert 1.0 < events[0]["offset_s"] <= 7.1 and "Traceback" not in words


def test_a_stream_that_breaks_off_keeps_what_was_heard_and_fails(street):
    content = street.read_bytes()
    timeline, words = listen("-", *LABELS, stdin=content[: len(content) // 2], status=1)
    assert "onset_s" in timeline and "7.0 s of audio" in words
    assert words.splitlines()[-1].startswith("tinyclap listen: standard input: is cut short")


def test_files_that_are_there_are_kept_unless_overwrite_is_given(street, tmp_path):
    for option, name in (("--out", "a.csv"), ("--out", "a.txt"), ("--scores", "s.csv"), ("--scores", "s.npz")):
        path = tmp_path / name
        path.write_text("an earlier night")
        _, said = listen(street, *LABELS, option, path, status=1)
        assert f"{path} is there already" in said.splitlines()[-1] and path.read_text() == "an earlier night"
        listen(street, *LABELS, option, path, "--overwrite")
        assert path.read_bytes() != b"an earlier night"
    path = tmp_path / "new.csv"
    assert "for two outputs" in listen(street, *LABELS, "--out", path, "--scores", path, status=1)[1]
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_gives_the_timeline_of_the_file(street, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    content = street.read_bytes()
    threading.Thread(target=(tmp_path / "pipe.wav").write_bytes, args=(content,), daemon=True).start()
    assert listen(tmp_path / "pipe.wav", *LABELS)[0] == listen(street, *LABELS)[0]


def test_standard_input_that_is_closed_is_refused():
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "-", *LABELS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "standard input is closed" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--hop", "inf"), ("--hop", "nan"), ("--chunk", "inf"), ("--duration", "nan"), ("--threshold", "nan")]
    + [("--off-threshold", "inf"), ("--merge-gap", "nan"), ("--probability", "x"), ("--channels", "0")],
)
def test_options_that_are_no_numbers_are_refused(street, option, value):
    assert option in listen(street, "--labels", "dog", option, value, status=2)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a recording, - for standard input, or --microphone"),
        (["no.wav"], "no such file"),
        (["-"], "write WAV"),
        (["-", "--rate", "8000"], "ended before its first sample"),
        (["-", "--rate", "1"], "sample rate of 1 Hz"),
        (["-", "--rate", "8000", "--channels", "5000"], "5000 channels"),
        (["{street}", "--out", "timeline.xml"], "ends in none of .csv, .txt, .jsonl"),
        (["{street}", "--window", "99"], "at most"),
        (["{street}", "--rate", "8000"], "--rate"),
        (["{street}", "--hop", "3"], "at most the window"),
        (["{street}", "--labels", "names.txt"], "names.txt"),
        (["{street}", "--scores", "s.xlsx"], "s.xlsx"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(street, arguments, words):
    timeline, said = listen(*LABELS, *(word.format(street=street) for word in arguments), status=1)
    assert timeline.strip() in ("", "onset_s,offset_s,label,peak_score,peak_s")
    assert words in said.splitlines()[-1] and "Traceback" not in said


def test_two_ways_to_decide_are_a_wrong_option(street):
    assert "not allowed with" in listen(street, "--threshold", 1, "--probability", 0.5, status=2)[1]


def test_listening_loads_no_heavy_library():
    code = (
        "import sys, tinyclap.detection, tinyclap.detection.sources, tinyclap.cli.listen_command; "
        "print(sorted({'torch', 'transformers', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_sounddevice_the_microphone_names_what_to_install(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise ImportError('not here')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tinyclap.cli.main import main; "
    code += "sys.exit(main(['listen', '--microphone', '--labels', 'dog']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'tinyclap[microphone]'" in done.stderr and "arecord" in done.stderr
