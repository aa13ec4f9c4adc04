"""What a header promises and what a file holds: all of the sound is read, or the file is refused or named."""

import io
import logging
import struct

import numpy as np
import pytest
import soundfile

from tinyclap.audio.io import Recording, probe, read_audio
from tinyclap.detection.sources import pipe_source
from tinyclap.errors import AudioError

RATE, N = 16000, 8000
SOUND = (0.5 * np.sin(np.arange(N) ** 1.3 / 50)).astype(np.float32)
KINDS = {  # container, coding
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wav32": ("WAV", "PCM_32"),
    "wavf": ("WAV", "FLOAT"),
    "wavex": ("WAVEX", "PCM_16"),
    "ulaw": ("WAV", "ULAW"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aiff24": ("AIFF", "PCM_24"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "alac": ("CAF", "ALAC_16"),
    "nist": ("NIST", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def written(kind, samples=SOUND, rate=RATE, **options):
    """The bytes of a file."""
    file = io.BytesIO()
    container, coding = KINDS[kind]
    soundfile.write(file, samples, rate, format=container, subtype=coding, **options)
    return bytearray(file.getvalue())


def patched(kind, form, size, name=b"data", offset=4):
    """A file whose size at some bytes from a chunk's name is another."""
    content = written(kind)
    struct.pack_into(form, content, content.index(name) + offset, size)
    return bytes(content)


def flac(n_samples):
    content = written("flac")
    content[21:26] = (content[21] & 0xF0 | n_samples >> 32).to_bytes(1, "big") + struct.pack(">I", n_samples % 2**32)
    return bytes(content)


def samples_of(kind):
    return soundfile.read(io.BytesIO(written(kind)), dtype="float32")[0]


ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
WHOLE = {  # name: (kind, content): every sample is to be read
    **{f"wav, {size:#x}": ("wav", patched("wav", "<I", size)) for size in (0, 2**32 - 1, 2**32 - 37, 0x7FFFF000)},
    "arecord": ("wav", patched("wav", "<I", 0x80000000)),
    "sox, 24 bit": ("wav24", patched("wav24", "<I", 0x7FFFEFFF)),
    **{
        f"early {kind}": (kind, patched(kind, "<I", 3200))
        for kind in ("wav", "wav24", "wavf", "wavex", "ulaw", "adpcm")
    },
    **{f"rf64, {size:#x}": ("rf64", patched("rf64", "<Q", size, b"ds64", 16)) for size in (0, 3200, 2**63, 2**64 - 1)},
    "bw64": ("rf64", bytes(b"BW64" + written("rf64")[4:])),
    **{f"w64, {size:#x}": ("w64", patched("w64", "<Q", size, offset=16)) for size in (0, 24, 3224, 2**63 - 1)},
    **{f"aiff, {size:#x}": ("aiff", patched("aiff", ">I", size, b"SSND")) for size in (0, 8, 3208, 0x7F000008)},
    **{f"au, {size:#x}": ("au", patched("au", ">I", size, b".snd", 8)) for size in (0, 3200, 0x7FFFF000, 2**32 - 1)},
    **{f"caf, {size}": ("caf", patched("caf", ">q", size)) for size in (-1, 0, 3204)},
    **{f"flac, {size}": ("flac", flac(size)) for size in (0, 1600)},
    "flac, unknown, tag": ("flac", flac(0) + b"TAG" + bytes(125)),
    **{f"{kind} after an ID3 tag": (kind, ID3 + written(kind)) for kind in ("wav", "aiff", "au", "rf64", "w64", "caf")},
    "early wav after an ID3 tag": ("wav", ID3 + patched("wav", "<I", 3200)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_headers_that_promise_nothing_or_less_are_read_to_the_end(tmp_path, name):
    kind, content = WHOLE[name]
    (tmp_path / "a").write_bytes(content)
    for given in (tmp_path / "a", content):
        assert probe(given).n_samples == len(samples_of(kind))
        np.testing.assert_array_equal(read_audio(given)[0], samples_of(kind))
    np.testing.assert_array_equal(read_audio(io.BytesIO(content))[0], samples_of(kind))


@pytest.mark.parametrize(
    "name", [name for name in WHOLE if "ID3" not in name and name.startswith(("wav", "early wav", "arecord", "sox"))]
)
def test_a_pipe_gives_what_the_file_gives(name):
    kind, content = WHOLE[name]
    np.testing.assert_array_equal(np.concatenate(list(pipe_source(io.BytesIO(content)).pieces)), samples_of(kind))


def test_an_early_header_is_named(tmp_path, caplog):
    (tmp_path / "early.wav").write_bytes(WHOLE["early wav"][1])
    with caplog.at_level(logging.WARNING):
        read_audio(tmp_path / "early.wav")
    assert "early.wav: its header promises 3200 bytes of samples, 16000 are there" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["half", "a little"])
def test_files_that_are_cut_are_refused_by_name(tmp_path, kind, cut):
    content = written(kind, np.tile(SOUND, 8))
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(content[: len(content) // 2] if cut == "half" else content[:-2000])
    with pytest.raises(AudioError, match=f"cut.{kind}: .*(cut short|damaged|cannot be read)"):
        read_audio(path)


def test_a_cut_flac_of_unknown_length_and_a_cut_page_are_refused():
    with pytest.raises(AudioError, match="ends within a frame"):
        probe(flac(0)[:-900])
    content = written("ogg", np.tile(SOUND, 20))
    last = content.rindex(b"OggS")
    for end in (last + 2000, last + 20, last + 2):
        with pytest.raises(AudioError, match="ends within a page"):
            probe(bytes(content[:end]))
    pages = [at for at in range(len(content)) if content[at : at + 5] == b"OggS\0"]
    first = next(at for at in pages if int.from_bytes(content[at + 6 : at + 14], "little"))
    for at in (first + 26, first + 400, last + 400):
        damaged = bytearray(content)
        damaged[at] ^= 1
        with pytest.raises(AudioError, match="damaged at its|ends within a page"):
            probe(bytes(damaged))


AFTER = {
    "a chunk": b"LIST\x0a\0\0\0INFOISFT\0\0",
    "a cut chunk": b"LIST\xff\0\0\0INFOISFT",
    "an ID3 tag": b"TAG" + bytes(range(125)),
    "text": b"recorded by nobody\n" * 9,
    "padding": bytes(512),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_follows_the_samples_is_no_sound(name):
    for kind in ("wav", "wav24") if "chunk" in name else ("wav", "wav24", "aiff", "au"):
        content = bytes(written(kind)) + AFTER[name]
        np.testing.assert_array_equal(read_audio(content)[0], samples_of(kind))
        if kind.startswith("wav"):
            piped = np.concatenate(list(pipe_source(io.BytesIO(content)).pieces))
            np.testing.assert_array_equal(piped, samples_of(kind))


def of_pcm(n_bits, frame_bytes):
    """A WAV file of one channel whose header says these bits and bytes, with samples of 16 or 32 bits."""
    content = written("wav" if n_bits <= 16 else "wav32")
    struct.pack_into("<HH", content, 32, frame_bytes, n_bits)
    return bytes(content)


@pytest.mark.parametrize(
    ("n_bits", "frame_bytes"), [(24, 4), (16, 0), (16, 1), (12, 2), (16, 4), (16, 3), (0, 2), (8, 2)]
)
def test_bits_and_bytes_of_a_header_that_disagree_give_the_samples_or_a_refusal(n_bits, frame_bytes):
    content = of_pcm(n_bits, frame_bytes)
    reads = (lambda: read_audio(content)[0], lambda: np.concatenate(list(pipe_source(io.BytesIO(content)).pieces)))
    for read in reads:
        if (n_bits, frame_bytes) in ((24, 4), (16, 0), (16, 1), (12, 2)):
            np.testing.assert_allclose(read(), SOUND, atol=1e-4)
        else:
            with pytest.raises(AudioError):
                read()


def test_w64_chunks_after_the_samples_are_no_sound():
    guid = b"levl" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
    content = bytes(written("w64")) + guid + struct.pack("<Q", 24 + 800) + b"\x11" * 800
    np.testing.assert_array_equal(read_audio(content)[0], samples_of("w64"))


def test_two_recordings_in_a_file_are_not_taken_for_one():
    content = bytes(written("wav"))
    data = content[content.index(b"data") :]
    form = content[12:36]
    empty = content[:36] + b"data\0\0\0\0" + data
    for twice, why in (
        (content * 2, "another recording"),
        (content + data, "two chunks"),
        (empty, "two chunks"),
        (content[:36] + form + data, "header|'data'"),
    ):
        with pytest.raises(AudioError, match=why):
            read_audio(twice)
        with pytest.raises(AudioError, match=why):
            list(pipe_source(io.BytesIO(twice)).pieces)


@pytest.mark.parametrize("second", ["ogg", "opus"])
@pytest.mark.parametrize("first", ["ogg", "opus"])
def test_ogg_files_one_after_the_other_are_refused(first, second):
    content = bytes(written(first, np.tile(SOUND, 40)))
    assert len(read_audio(content)[0]) == 40 * N
    for more in (bytes(written(second)), content):
        with pytest.raises(AudioError, match="another recording"):
            read_audio(content + more)


def test_more_than_4_gib_are_read_to_the_end(tmp_path):
    n_bytes, content = 2**32 + 2**20, bytes(written("wav"))
    start = content.index(b"data") + 8
    with open(tmp_path / "long.wav", "wb") as file:  # sparse: zeros take no room on the disk
        file.write(content[: start - 4] + struct.pack("<I", n_bytes % 2**32) + content[start:])
        file.seek(start + n_bytes - 2 * N)
        file.write(content[start:])
    with Recording(tmp_path / "long.wav") as recording:
        assert recording.info.n_samples == n_bytes // 2
        np.testing.assert_array_equal(recording.read((n_bytes // 2 - N) / RATE)[:, 0], samples_of("wav"))


def without_length(content):
    """An MP3 file without its first frame, which says how long it is."""
    return bytes(content[content.index(content[:2], 4) :])


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT", "AVERAGE"])
@pytest.mark.parametrize("rate", [44100, 16000])
def test_mp3_without_a_length_is_read_to_its_end(mode, rate):
    loud_first = np.concatenate([np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate), np.zeros(2 * rate)])
    content = written("mp3", loud_first, rate, compression_level=0.5, bitrate_mode=mode)
    bare = without_length(content)
    tagged = b"ID3\4\0\0\0\0\1\0" + bytes(128) + bare + b"TAG" + bytes(125)
    for given in (bare, tagged):
        wav = read_audio(given)[0]
        assert abs(len(wav) - 4 * rate) < 2500
        assert probe(given).n_samples == len(wav)
    with Recording(bare) as recording:
        np.testing.assert_allclose(
            recording.read(3.0, 0.1)[:, 0], read_audio(bare)[0][3 * rate :][: rate // 10], atol=1e-6
        )


def test_mp3_files_one_after_the_other_are_read_whole_and_named(caplog):
    content = bytes(written("mp3", np.tile(SOUND, 10)))
    with caplog.at_level(logging.WARNING):
        assert len(read_audio(content * 2)[0]) > 19 * N
    assert "frames, " in caplog.text


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [(24, 1, "1 Hz"), (24, 999, "999 Hz"), (24, 2_000_000, "2e\\+06 Hz"), (22, 4000, "cannot be read|channels")],
)
def test_headers_of_no_sound_are_refused(field, value, why):
    content = written("wav")
    struct.pack_into("<I" if field == 24 else "<H", content, field, value)
    with pytest.raises(AudioError, match=why):
        read_audio(bytes(content))
    with pytest.raises(AudioError):
        pipe_source(io.BytesIO(bytes(content)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e38, 33.0])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_samples_that_are_no_sound_are_refused_everywhere_without_a_warning(value, n_channels, recwarn):
    samples = np.zeros((N, n_channels), np.float32)
    samples[4000] = value
    content = bytes(written("wavf", samples))
    for read in (read_audio, lambda given: list(pipe_source(io.BytesIO(given)).pieces)):
        with pytest.raises(AudioError, match="the first at 0.250 s"):
            read(content)
    assert not recwarn.list


def test_formats_that_cannot_be_checked_are_named_and_raw_names_refused(tmp_path, caplog):
    soundfile.write(tmp_path / "a.paf", SOUND, RATE, format="PAF", subtype="PCM_16")
    assert len(read_audio(tmp_path / "a.paf")[0]) == N
    assert "a.paf: is of the format PAF" in caplog.text
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match="a.raw"):
        read_audio(tmp_path / "a.raw")


def test_a_file_of_empty_chunks_is_refused_at_once(tmp_path):
    with open(tmp_path / "a.wav", "wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVE")
        file.truncate(1 << 33)
    with pytest.raises(AudioError, match="a.wav"):
        probe(tmp_path / "a.wav")


def test_a_flac_header_that_lies_costs_no_memory():
    with pytest.raises(AudioError):
        read_audio(flac(2**36 - 1))
