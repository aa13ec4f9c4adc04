"""A stream in pieces becomes what the whole recording becomes: rates, windows, and what comes through pipes."""

import io
import struct

import numpy as np
import pytest
import soundfile

from tinyclap.audio.io import read_audio
from tinyclap.audio.resample import resample_array
from tinyclap.audio.windows import WindowPolicy
from tinyclap.detection.resample import stream_resampler
from tinyclap.detection.sources import file_source, pipe_source
from tinyclap.detection.windows import WindowStream
from tinyclap.errors import AudioError, ConfigError, TinyclapError


def noise(n, seed=0, n_channels=None):
    shape = n if n_channels is None else (n, n_channels)
    return np.random.default_rng(seed).uniform(-0.9, 0.9, shape).astype(np.float32)


def cut(samples, sizes):
    """Pieces of these sizes, again and again."""
    pieces, start, index = [], 0, 0
    while start < len(samples):
        pieces.append(samples[start : start + sizes[index % len(sizes)]])
        start += len(pieces[-1])
        index += 1
    return pieces


def streamed(samples, sizes, *how):
    resampler = stream_resampler(*how)
    return np.concatenate([*(resampler.push(piece) for piece in cut(samples, sizes)), resampler.end()])


@pytest.mark.parametrize("method", ["sinc", "soxr"])
@pytest.mark.parametrize("rates", [(44100, 32000), (8000, 32000), (96000, 16000), (22050, 22051)])
def test_pieces_of_any_length_are_resampled_to_the_same_bits(method, rates):
    samples = noise(30011)
    results = [streamed(samples, sizes, *rates, method) for sizes in ([17], [4410], [1, 9999, 2], [30011])]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    whole = resample_array(samples, *rates, method)
    assert len(whole) == len(results[0])
    np.testing.assert_allclose(results[0], whole, atol=2e-6)


@pytest.mark.parametrize("n", [0, 1, 440, 4411])
def test_a_short_stream_has_the_length_of_a_short_recording(n):
    samples = noise(n)
    np.testing.assert_allclose(streamed(samples, [100], 44100, 32000), resample_array(samples, 44100, 32000), atol=1e-6)


def test_a_stream_refuses_an_unknown_resampler_and_a_rate_of_zero():
    with pytest.raises(ConfigError, match="linear"):
        stream_resampler(44100, 32000, "linear")
    with pytest.raises(ConfigError, match="positive whole number"):
        stream_resampler(0, 32000)


@pytest.mark.parametrize("n", [10, 20, 21, 34, 35, 36, 39, 40, 41, 100, 101])
@pytest.mark.parametrize("sizes", [[1], [7, 3], [1000]])
def test_windows_of_a_stream_are_those_of_the_window_policy(n, sizes):
    policy, samples = WindowPolicy(window_s=2.0, hop_s=0.7, short="native", min_s=0.1), np.arange(n, dtype=np.float32)
    stream, found = WindowStream(policy, 10), []
    for piece in cut(samples, sizes):
        found += stream.push(piece)
    found += stream.end()
    assert [start for start, _ in found] == policy.starts(n, 10)
    np.testing.assert_array_equal(np.array([window for _, window in found]), policy.cut(samples, 10))


def test_a_hop_that_would_leave_audio_unheard_is_refused():
    with pytest.raises(ConfigError, match="at most the window"):
        WindowStream(WindowPolicy(window_s=1.0, hop_s=1.5), 16000)


def heard(source):
    return np.concatenate(list(source.pieces))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 9])
def test_a_recording_in_pieces_is_what_is_read_at_once(tmp_path, n_channels):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(5000, n_channels=n_channels) if n_channels < 9 else noise(5000, 0, 8), 8000)
    for piece_s in (1 / 8000, 0.1, 10):
        source = file_source(path, piece_s)
        np.testing.assert_array_equal(heard(source), read_audio(path)[0])
    assert (source.sample_rate_hz, source.duration_s) == (8000, 0.625)


def test_a_recording_that_breaks_off_is_named_with_the_place(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(100000), 16000)
    path.write_bytes(path.read_bytes()[:100000])
    with pytest.raises(AudioError, match="a.flac: is (damaged|cut short)"):
        heard(file_source(path))


def test_samples_that_are_not_finite_are_named_with_the_place(tmp_path):
    samples = noise(16000)
    samples[12000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="first at 1.500 s"):
        heard(file_source(tmp_path / "a.wav", 0.1))


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot seek."""

    def __init__(self, content, size=13):
        self.rest, self.size = content, size

    def read(self, n=-1):
        n = self.size if n < 0 else min(n, self.size)
        given, self.rest = self.rest[:n], self.rest[n:]
        return given


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
def test_a_wav_pipe_gives_the_samples_of_the_file(tmp_path, subtype, kind):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(999, n_channels=2), 22050, subtype=subtype, format=kind)
    source = pipe_source(Dribble(path.read_bytes()))
    np.testing.assert_array_equal(heard(source), read_audio(path)[0])
    assert source.sample_rate_hz == 22050
    assert source.duration_s == pytest.approx(999 / 22050)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_pipe_of_unknown_length_is_heard_to_its_end(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(500), 8000)
    content = path.read_bytes()
    place = content.index(b"data") + 4
    source = pipe_source(Dribble(content[:place] + struct.pack("<I", size) + content[place + 4 :]))
    assert source.duration_s is None
    np.testing.assert_array_equal(heard(source), read_audio(path)[0])


def test_a_pipe_that_breaks_off_says_so_after_its_samples(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(500), 8000)
    source, got = pipe_source(Dribble(path.read_bytes()[:-600])), []
    with pytest.raises(AudioError, match="cut short: its header promises 1000 bytes of samples, 400 came"):
        got.extend(source.pieces)
    np.testing.assert_array_equal(np.concatenate(got), read_audio(path)[0][:200])


@pytest.mark.parametrize(
    ("sample_format", "dtype", "scale"),
    [("s16be", ">i2", 2**15), ("s32le", "<i4", 2**31), ("u8", "u1", 2**7), ("f32be", ">f4", 1), ("f64le", "<f8", 1)],
)
def test_samples_without_a_header_are_read_as_they_are_said_to_be(sample_format, dtype, scale):
    samples = np.array([[0.5, -0.5], [0.25, 0.75], [-1.0, 0.0]])
    coded = (samples * scale + (128 if dtype == "u1" else 0)).astype(dtype)
    source = pipe_source(Dribble(coded.tobytes() + b"\0"), 8000, 2, sample_format)
    assert heard(source).tolist() == [0.0, 0.5, -0.5]


@pytest.mark.parametrize("order", ["le", "be"])
def test_samples_of_24_bits_keep_their_sign(order):
    values = [0, 1, -1, 2**23 - 1, -(2**23)]
    content = b"".join(value.to_bytes(3, "little" if order == "le" else "big", signed=True) for value in values)
    assert heard(pipe_source(Dribble(content), 8000, 1, f"s24{order}")).tolist() == [value / 2**23 for value in values]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ended before"),
        (b"fLaC" + bytes(40), "is not WAV"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "no usable 'fmt '"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0", "ended within"),
        (
            b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 6, 1, 8000, 8000, 1, 8) + b"data\4\0\0\0abcd",
            "coding 6",
        ),
    ],
)
def test_what_is_no_plain_wav_is_refused_with_a_way_out(content, words):
    with pytest.raises(AudioError, match=words) as caught:
        pipe_source(Dribble(content))
    assert "ffmpeg" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((8000, 1, "s12le"), "s12le"),
        ((8000, 0), "0 channels"),
        ((8000, 65535), "65535 channels"),
        ((1,), "sample rate of 1 Hz"),
        ((0,), "sample rate of 0 Hz"),
        ((2_000_000_000,), "sample rate of 2e\\+09 Hz"),
    ],
)
def test_a_header_that_is_said_wrongly_is_refused(options, words):
    with pytest.raises(TinyclapError, match=words):
        pipe_source(Dribble(b""), *options)
