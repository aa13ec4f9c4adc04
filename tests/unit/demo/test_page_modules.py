"""The browser page's own arithmetic, run by node, against the Python that it repeats."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import fakes
from tinyclap.audio.io import read_audio
from tinyclap.audio.resample import resample_array
from tinyclap.audio.windows import WindowPolicy
from tinyclap.decoding.rule import BeamRule
from tinyclap.text.word_ids import WordIds
from tinyclap.text.word_pieces import WordPieces

ROOT = Path(__file__).resolve().parents[3]
NODE = shutil.which("node")
OLDEST_NODE = 18  # DecompressionStream, and fetch's Response
POLICIES = [
    WindowPolicy(5.0),
    WindowPolicy(10.0, short="native", min_s=2.0),
    WindowPolicy(5.0, short="pad"),
    WindowPolicy(2.0, hop_s=0.5),
]
TEXTS = [  # what a person may type, and what nobody would
    "A dog barks!",
    "Café-Bar, naïve ÅNGSTRÖM",
    "東京 のsiren",
    "don't stop: 3.5 kHz @home_alone [SEP] <b>",
    "tab\tnew\nline\u200bzero\x00 nul\u00a0space",
    "🎸 guitar & 🐶",
    "",
    "x" * 120,
    "STRAẞE ǅ İstanbul ﬁre",
    "a dog " * 40,
]


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Function of calls (module, name, arguments) → their results, all by one node."""
    if NODE is None:
        pytest.skip("needs node, which runs the page's modules outside a browser")
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v\n").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"needs node {OLDEST_NODE} or later; this is {version.strip()}")
    folder = tmp_path_factory.mktemp("page") / "js"
    shutil.copytree(ROOT / "demo" / "js", folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(*calls):
        keys = ("module", "name", "args", "method")
        given = json.dumps([dict(zip(keys, one, strict=False)) for one in calls])
        command = [NODE, str(Path(__file__).parents[1] / "page_calls.mjs"), str(folder)]
        found = subprocess.run(command, input=given, capture_output=True, text=True, encoding="utf-8", timeout=120)
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    return run


def as_bytes(content):
    """What becomes an ArrayBuffer."""
    return {"bytes": base64.b64encode(content).decode()}


def as_floats(array):
    """What becomes a Float32Array; each number survives as text."""
    return {"floats": np.asarray(array, np.float32).astype(float).tolist()}


def test_the_resampler_is_pythons(call):
    rates = [
        (44100, 32000),
        (48000, 32000),
        (8000, 32000),
        (22050, 32000),
        (96000, 32000),
        (44099, 32000),
        (11025, 16000),
    ]
    wav = np.random.default_rng(0).uniform(-1, 1, 3000).astype(np.float32)
    answers = call(*(("sinc.js", "resample", [as_floats(wav), *pair]) for pair in rates))
    for pair, answer in zip(rates, answers, strict=True):
        wanted = resample_array(wav, *pair)
        assert len(answer["result"]) == len(wanted), pair
        np.testing.assert_allclose(answer["result"], wanted, atol=1e-5, err_msg=str(pair))


def test_windows_are_cut_where_python_cuts_them(call):
    cases = [
        (policy, n) for policy in POLICIES for n in (1, 150, 1000, 1999, 2000, 2050, 5001, 5249, 5251, 10400, 23000)
    ]
    clips = {n: np.arange(n, dtype=np.float32) for _, n in cases}
    answers = call(*(("windows.js", "cutWindows", [as_floats(clips[n]), 1000, policy.config]) for policy, n in cases))
    for (policy, n), answer in zip(cases, answers, strict=True):
        np.testing.assert_array_equal(answer["result"], policy.cut(clips[n], 1000), err_msg=f"{policy} {n}")


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_files_are_read_sample_for_sample(call, tmp_path, subtype, form):
    path = tmp_path / "clip.wav"
    samples = np.random.default_rng(1).uniform(-1, 0.999, (777, 3))
    soundfile.write(path, samples, 11025, subtype=subtype, format=form)
    (answer,) = call(("wav.js", "readWav", [as_bytes(path.read_bytes())]))
    wanted, rate = read_audio(path)
    assert answer["result"]["rateHz"] == rate
    assert answer["result"]["nChannels"] == 3
    np.testing.assert_allclose(answer["result"]["samples"], wanted, rtol=0, atol=2e-7)


def test_unusable_wav_files_are_refused_with_a_reason(call, tmp_path):
    files = fakes.bad_files(tmp_path)
    reasons = {
        "truncated": "cut short",
        "nan": "NaN",
        "infinite": "NaN",
        "no_samples": "no samples",
        "noise": "not a WAV",
    }
    answers = call(*(("wav.js", "readWav", [as_bytes(files[name].read_bytes())]) for name in reasons))
    for (name, reason), answer in zip(reasons.items(), answers, strict=True):
        assert reason in answer.get("error", ""), (name, answer)


def test_a_stream_whose_length_is_unknown_is_read_to_its_end(call, tmp_path):
    path = tmp_path / "clip.wav"
    fakes.write_audio(path, rate=8000)
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"  # what a pipe leaves in place of the length
    (answer,) = call(("wav.js", "readWav", [as_bytes(bytes(content))]))
    np.testing.assert_allclose(answer["result"]["samples"], read_audio(path)[0], atol=1e-7)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_files_are_read(call, save):
    arrays = {
        "half": np.array([[1.5, -0.25], [6e-8, 65504]], np.float16),
        "single": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        "whole": np.array([3, -4], np.int64),
        "words": np.array(["dog", "café 🐶", ""]),
        "nothing": np.zeros(0),
    }
    content = io.BytesIO()
    save(content, **arrays)
    (answer,) = call(("npz.js", "readNpz", [as_bytes(content.getvalue())]))
    for name, array in arrays.items():
        found = answer["result"][name]
        assert found["shape"] == list(array.shape), name
        assert found["data"] == array.reshape(-1).tolist(), name


def test_stated_rates_are_those_of_libsndfile(call, tmp_path):
    kinds = [("flac", "PCM_24", 96000), ("ogg", "VORBIS", 22050), ("mp3", "MPEG_LAYER_III", 44100)]
    kinds += [("mp3", "MPEG_LAYER_III", 16000), ("ogg", "OPUS", 48000), ("flac", "PCM_16", 8000)]
    paths = []
    for suffix, subtype, rate in kinds:
        if subtype not in soundfile.available_subtypes(suffix.upper()):
            pytest.skip(f"this libsndfile does not write {subtype}")
        paths.append(tmp_path / f"{rate}_{subtype}.{suffix}")
        soundfile.write(paths[-1], np.random.default_rng(0).uniform(-0.5, 0.5, rate), rate, subtype=subtype)
    answers = call(*(("stated_rate.js", "statedRateHz", [as_bytes(path.read_bytes())]) for path in paths))
    assert [answer["result"] for answer in answers] == [rate for _, _, rate in kinds]


def test_words_become_pythons_pieces(call, tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"!&()-,.:3@[]<>/_'東京", "a", "b", "x", "##x", "dog"]
    pieces += [
        "bark",
        "##s",
        "cafe",
        "bar",
        "na",
        "##ive",
        "siren",
        "don",
        "t",
        "stop",
        "5",
        "k",
        "##hz",
        "home",
        "alone",
    ]
    pieces += ["tab", "new", "line", "##zero", "nul", "space", "guitar", "ang", "##strom", "sep", "の", "##siren"]
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    arguments = [path.read_text(encoding="utf-8"), 32, [[text] for text in TEXTS]]
    (answer,) = call(("word_pieces.js", "WordPieces", arguments, "encode"))
    assert answer["result"] == WordPieces(path, 32)(TEXTS)


def test_whole_words_become_pythons_numbers(call):
    known = ["a", "dog", "barks", "café", "东京"]
    calls = [(known, 32, None), (None, 8, 64)]
    texts = [[text] for text in TEXTS]
    given = [[words and "\n".join(words), n, size, texts] for words, n, size in calls]
    answers = call(*(("word_ids.js", "WordIds", arguments, "encode") for arguments in given))
    assert answers[0]["result"] == WordIds(known, 32)(TEXTS)
    assert answers[1]["result"] == WordIds(None, 8, 64)(TEXTS)


def test_beams_go_where_pythons_go(call):
    n_words, steps = 7, []
    generator = np.random.default_rng(3)
    rule, n_beams = BeamRule(1, end_id=2, beam=3, max_words=6), 1
    wanted, running = [], np.zeros(1)
    while True:
        scores = running[:, None] + np.log(generator.dirichlet(np.ones(n_words), n_beams))
        places = np.argsort(-scores.reshape(-1))[:3]
        best = scores.reshape(-1)[places]
        steps.append([best.tolist(), places.tolist()])
        step = rule.follow([best.tolist()], [places.tolist()], n_words)
        if step is None:
            break
        wanted.append({"rows": step.rows[0], "lastIds": step.last_ids[0], "penalties": step.penalties[0]})
        running, n_beams = best - np.array(step.penalties[0]), 3
    assert len(wanted) > 2, "the search ended before there was anything to compare"
    (answer,) = call(("beam_rule.js", "BeamRule", [2, 3, 6, [[*step, n_words] for step in steps]], "follow"))
    assert answer["result"][:-1] == wanted
    assert answer["result"][-1] is None
