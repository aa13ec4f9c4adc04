"""Audio as notebooks, web servers, data sets and tables hand it over: taken as what it is, or refused by name."""

import io
import os
import pathlib

import numpy as np
import pytest
import soundfile

from tinyclap.audio.clips import as_clips, as_sources
from tinyclap.errors import AudioError, ConfigError, TinyclapError

RATE = 16000
WAVE = (0.5 * np.sin(np.arange(RATE) / 5)).astype(np.float32)
STEREO = np.stack([WAVE, WAVE])


@pytest.fixture
def path(tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVE, RATE, subtype="FLOAT")
    return tmp_path / "a.wav"


def clips(audio, rate=RATE):
    return as_clips(audio, RATE, "sinc", rate)


def same(found, n_clips=1):
    assert len(found) == n_clips
    for clip in found:
        np.testing.assert_allclose(clip, WAVE, atol=1e-4)


def test_files_in_every_wrapping_give_the_same(path):
    content = path.read_bytes()
    one = [path, str(path), np.str_(path), content, bytearray(content), memoryview(content), io.BytesIO(content)]
    one += [{"path": str(path)}, {"bytes": content, "path": None}, {"audio": {"path": str(path)}, "label": 3}]
    for audio in (*one, np.array(str(path)), open(path, "rb")):
        same(clips(audio, None))
    for audio in ([path, str(path)], (path, path), np.array([str(path)] * 2), np.array([[str(path)]] * 2)):
        same(clips(audio, None), 2)
    same(clips(np.array([path, path], object), None), 2)
    same(clips(np.array([str(path).encode()] * 2), None), 2)
    same(clips((each for each in (path, content)), None), 2)
    same(clips({path: 1}.keys(), None))


def test_tables_are_columns_of_recordings(path):
    pandas = pytest.importorskip("pandas", reason="tables are pandas'")
    frame = pandas.DataFrame({"path": [str(path)] * 2, "clip": [WAVE, WAVE]}, index=[7, 7])
    same(clips(frame["path"], None), 2)
    same(clips(frame[["path"]], None), 2)
    same(clips(frame["clip"]), 2)
    same(clips(pandas.Series(WAVE)))
    with pytest.raises(AudioError, match="clip 1 of the batch: is nan"):
        clips(pandas.Series([str(path), float("nan")]))


def test_arrays_of_other_libraries_and_types_give_the_same():
    same(clips(WAVE.tolist()))
    same(clips([WAVE.tolist(), WAVE]), 2)
    same(clips([STEREO, WAVE]), 2)
    same(clips(STEREO), 2)  # two axes are a batch
    same(clips(STEREO[None]))  # three: (clips, channels, samples)
    same(clips((WAVE * 32768).astype(np.int16)))
    same(clips((WAVE * 2**31).astype(np.int32)))
    same(clips((WAVE * 2**23).astype(np.int32) * 256))
    same(clips({"array": WAVE, "sampling_rate": RATE}, None))
    same(clips([{"raw": WAVE, "sampling_rate": float(RATE)}, {"array": WAVE, "sampling_rate": RATE}], None), 2)
    same(clips(WAVE, np.float64(RATE)))
    same(clips((WAVE * 32768).astype(">i2")))
    same(clips(WAVE.astype(">f4")))


def test_tensors_are_taken_with_their_gradient():
    torch = pytest.importorskip("torch")
    wave = torch.from_numpy(WAVE)
    same(clips(wave.clone().requires_grad_()))
    same(clips([wave.double().requires_grad_(), WAVE]), 2)
    np.testing.assert_allclose(clips(wave.bfloat16())[0], WAVE, atol=3e-3)


def test_decoders_of_data_sets_are_read():
    class Decoder:
        def get_all_samples(self):
            return type("Samples", (), {"data": STEREO, "sample_rate": RATE})

    same(clips([Decoder(), {"audio": Decoder()}], None), 2)


class _Reads:
    def __init__(self, result):
        self.result = result

    def read(self, n=-1):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class _Path(os.PathLike):
    def __init__(self, name):
        self.name = name

    def __fspath__(self):
        return self.name


def _closed():
    file = io.BytesIO(b"RIFF")
    file.close()
    return file


REFUSED = {
    "none": (None, "is None"),
    "a number": (3.5, "is 3.5"),
    "array and rate": ((WAVE, 16000), "clip 1 of the batch: is 16000.*sample_rate_hz"),
    "a missing one": ([None], "clip 0 of the batch: is None"),
    "a number among arrays": ([WAVE, 0.5], "clip 1 of the batch: is 0.5"),
    "a cell that is missing": ([WAVE, float("nan")], "clip 1 of the batch: is nan"),
    "a generator in a list": ([(wav for wav in [WAVE])], "clip 0 of the batch: is <generator"),
    "paths in a dict": ({"path": ["a.wav", "b.wav"]}, "no recording"),
    "no clip of samples": (np.zeros((2, 0)), "no samples"),
    "samples, channels": (STEREO.T, r"\(16000, 2\)"),
    "samples, one channel": (WAVE[:, None], r"\(16000, 1\)"),
    "samples, channels in a list": ([STEREO.T], r"\(16000, 2\)"),
    "samples, channels in a batch": (STEREO.T[None], r"\(16000, 2\)"),
    "four axes": (STEREO[None, None], "3 dimensions"),
    "no axis": (np.array(0.5), "0 dimensions"),
    "int64": ((WAVE * 32767).astype(np.int64), "int64"),
    "uint64": (np.ones(RATE, np.uint64), "uint64"),
    "list of int": ((WAVE * 32767).astype(int).tolist(), "int16"),
    "16 bits in int32": ((WAVE * 32767).astype(np.int32), "int16"),
    "16 bits in floats": (WAVE * 32767, r"\[-1, 1\]"),
    "16 bits in a dict": ({"array": (WAVE * 32767).tolist(), "sampling_rate": RATE}, r"\[-1, 1\]"),
    "huge": (np.full(RATE, 1e30), r"\[-1, 1\]"),
    "nan": (np.full(RATE, np.nan), "NaN"),
    "inf": (np.full(RATE, np.inf), "infinite"),
    "empty": (np.zeros(0), "no samples"),
    "empty channels": ([np.zeros((2, 0))], "no samples"),
    "complex": (WAVE.astype(complex), "complex"),
    "bool": (WAVE > 0, "bool"),
    "objects": (np.array([0.1, None], object), "clip 0 of the batch: is 0.1"),
    "ragged": ([[[0.1], [0.2, 0.3]]], "not an array"),
    "dict of others": ({"text": "dog"}, "is a dict of text"),
    "empty dict": ({}, "is a dict of nothing"),
    "no audio in bytes": (b"<html>", "text, not audio"),
    "no bytes": (b"", "empty"),
    "text file": (io.StringIO("x"), "mode 'rb'"),
    "file at its end": (io.BytesIO(), r"seek\(0\)"),
    "closed file": (_closed(), "cannot be read"),
    "reader of arrays": (_Reads(WAVE), "mode 'rb'"),
    "reader that fails": (_Reads(RuntimeError("gone")), "gone"),
    "path of a number": (_Path(3), "is no path"),
    "path of bytes": (_Path(b"none.wav"), "none.wav: no such file"),
    "long name": ("x" * 300 + ".wav", "x.wav: "),
    "null byte": ("a\0b.wav", "wav: "),
    "folder": (pathlib.Path("."), "folder"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_recording_is_refused_by_name(kind):
    audio, message = REFUSED[kind]
    with pytest.raises(AudioError, match=message):
        clips(audio)


@pytest.mark.parametrize(
    "rate", [float("nan"), float("inf"), 0, -1, 16000.5, "16000", True, np.True_, 10**400, [16000]]
)
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        clips(WAVE, rate)
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        clips({"array": WAVE, "sampling_rate": rate}, None)


def test_arrays_need_a_rate():
    with pytest.raises(TinyclapError, match="give sample_rate_hz"):
        clips(WAVE, None)


def test_one_recording_is_a_list_of_one():
    assert as_sources("a.wav") == ["a.wav"] and as_sources([]) == []
