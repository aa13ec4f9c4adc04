"""Recordings: any format becomes mono float32, and what is wrong with a file is said."""

import struct

import numpy as np
import pytest
import soundfile

from tests import fakes
from tinyclap.audio.io import mean_of_channels, probe, read_audio
from tinyclap.errors import AudioError


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return fakes.bad_files(tmp_path_factory.mktemp("bad"))


def test_probe_tells_rate_channels_length_and_coding(tmp_path):
    fakes.write_audio(tmp_path / "a.wav", 0.5, rate=22050, channels=2, subtype="PCM_24")
    info = probe(tmp_path / "a.wav")
    assert info == (11025, 22050, 2, 0.5, "PCM_24")


def test_24_bit_stereo_becomes_the_mean_of_its_channels(tmp_path):
    samples = fakes.write_audio(tmp_path / "a.wav", 0.1, rate=44100, channels=2, subtype="PCM_24")
    wav, rate = read_audio(tmp_path / "a.wav")
    assert (wav.dtype, wav.shape, rate) == (np.float32, (4410,), 44100)
    # 24 bits keep 2^-23 of full scale
    np.testing.assert_allclose(wav, samples.mean(axis=1), atol=2**-22)


@pytest.mark.parametrize(("suffix", "tolerance"), [("flac", 2**-14), ("ogg", 0.1), ("mp3", 0.1)])
def test_compressed_formats_are_read(tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(path, tone, 16000)
    wav, rate = read_audio(path)
    assert (len(wav), rate) == (16000, 16000)
    assert np.abs(wav - tone).max() < tolerance


def test_a_part_equals_the_slice_of_the_whole(tmp_path):
    fakes.write_audio(tmp_path / "a.flac", 2.0, rate=8000)
    whole, _ = read_audio(tmp_path / "a.flac")
    part, _ = read_audio(tmp_path / "a.flac", start_s=0.5, duration_s=0.25)
    np.testing.assert_array_equal(part, whole[4000:6000])
    tail, _ = read_audio(tmp_path / "a.flac", start_s=1.75, duration_s=9.0)
    np.testing.assert_array_equal(tail, whole[14000:])


def test_samples_outside_the_part_are_not_decoded(bad):
    # The file is damaged after its beginning: only a reader that stops early can read it.
    wav, _ = read_audio(bad["truncated.flac"], duration_s=0.1)
    assert wav.shape == (1600,)
    with pytest.raises(AudioError, match="cut short"):
        read_audio(bad["truncated.flac"])


def test_resampling_keeps_length_and_pitch(tmp_path):
    rate = 8000
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", 0.5 * tone, rate, subtype="FLOAT")
    wav, new_rate = read_audio(tmp_path / "a.wav", sample_rate_hz=32000)
    assert (wav.shape, wav.dtype, new_rate) == ((32000,), np.float32, 32000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000)
    np.testing.assert_allclose(wav[2000:-2000], expected[2000:-2000], atol=1e-4)


def test_a_rate_that_is_already_right_changes_no_sample(tmp_path):
    fakes.write_audio(tmp_path / "a.wav", 0.1, rate=16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], read_audio(tmp_path / "a.wav", 16000)[0])


@pytest.mark.parametrize(
    ("name", "length", "rate"),
    [("rate_8k", 1600, 8000), ("short", 2205, 44100), ("long", 2400000, 4000), ("stereo_24_bit", 8820, 44100)],
)
def test_unusual_recordings_are_read_whole(bad, name, length, rate):
    wav, found = read_audio(bad[name])
    assert (len(wav), found) == (length, rate)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "empty \\(0 bytes\\)"),
        ("no_samples", "no samples"),
        ("truncated", "cut short: its header promises 32000 bytes of samples, 16000 are there"),
        ("page", "text, not audio"),
        ("noise", "cannot be read as audio .*ffmpeg -i"),
        ("song.m4a", "MPEG-4 .*ffmpeg -i \\S*song.m4a -vn \\S*song.wav"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_before_decoding(bad, name, message):
    for look in (probe, read_audio):
        with pytest.raises(AudioError, match=message) as caught:
            look(bad[name])
        assert str(bad[name]) in str(caught.value)


@pytest.mark.parametrize("name", ["nan", "infinite"])
def test_samples_that_are_no_numbers_are_refused_and_located(bad, name):
    assert probe(bad[name]).n_samples == 1000
    with pytest.raises(AudioError, match="1 samples are NaN or infinite, the first at 0.137 s"):
        read_audio(bad[name])
    # a part without them is sound
    assert read_audio(bad[name], start_s=0.2)[0].shape == (800,)
    with pytest.raises(AudioError, match="the first at 0.137 s"):
        read_audio(bad[name], start_s=0.1)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(AudioError, match="nowhere.wav: no such file"):
        read_audio(tmp_path / "nowhere.wav")
    with pytest.raises(AudioError, match="is a folder"):
        probe(tmp_path)


@pytest.mark.parametrize(("start_s", "duration_s"), [(0.2, None), (5.0, 1.0), (-0.1, None), (0.0, 0.0)])
def test_a_part_without_samples_is_refused(tmp_path, start_s, duration_s):
    fakes.write_audio(tmp_path / "a.wav", 0.2)
    with pytest.raises(AudioError, match="no samples in the part asked for .* has 0.200 s"):
        read_audio(tmp_path / "a.wav", start_s=start_s, duration_s=duration_s)


def test_a_piped_wav_of_unknown_length_is_no_truncated_one(tmp_path):
    fakes.write_audio(tmp_path / "a.wav", 0.1)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(content)
    assert read_audio(tmp_path / "a.wav")[0].shape == (800,)


def test_a_truncated_wav_is_caught_behind_other_chunks(tmp_path):
    fakes.write_audio(tmp_path / "a.wav", 0.1)
    content = (tmp_path / "a.wav").read_bytes()
    # an odd chunk, with its padding, between format and samples
    note = b"note" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "whole.wav").write_bytes(content[:36] + note + content[36:])
    (tmp_path / "cut.wav").write_bytes((content[:36] + note + content[36:])[:-2])
    assert probe(tmp_path / "whole.wav").n_samples == 800
    with pytest.raises(AudioError, match="1600 bytes of samples, 1598 are there"):
        probe(tmp_path / "cut.wav")


def test_real_clips_of_the_shared_folder_are_read(shared_dir):
    path = next((shared_dir / "data/audiocaps/audio").glob("*.ogg"))
    info = probe(path)
    wav, rate = read_audio(path, sample_rate_hz=32000)
    assert rate == 32000 and len(wav) == pytest.approx(info.duration_s * 32000, abs=1)
    assert 0.001 < np.abs(wav).max() <= 1.5


@pytest.mark.parametrize("n_channels", range(1, 10))
def test_the_mean_of_channels_has_numpy_s_bits(n_channels):
    samples = np.random.default_rng(n_channels).uniform(-1, 1, (999, n_channels)).astype(np.float32)
    mean = mean_of_channels(samples)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, samples.mean(axis=1, dtype=np.float32))
