"""Read recordings of any format, rate and channel count as mono float32; every way in is checked here. No torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from tinyclap.audio.compressed import compressed_extent
from tinyclap.audio.headers import Extent, container_extent
from tinyclap.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

MIN_HZ, MAX_HZ = 1000, 1_000_000
MAX_CHANNELS = 1024
MAX_SAMPLE = 32.0  # floats lie in [-1, 1]: what is 30 dB louder was written on another scale
MAX_PIPE_BYTES = 1 << 31

LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 22  # samples that are decoded at a time where a header alone promises how many there are
_MP3_SLACK = 1200  # samples: some encoders count the frame that says how many there are
_UNKNOWN = 1 << 62
_CHECKED = frozenset("WAV WAVEX RF64 W64 AIFF AU CAF FLAC OGG MP3 NIST SVX".split())  # formats whose length is checked


class AudioInfo(NamedTuple):
    """What the header of a recording says."""

    n_samples: int  # per channel
    sample_rate_hz: int
    n_channels: int
    duration_s: float
    subtype: str  # coding of the samples as libsndfile names it, such as PCM_24


def probe(path: Readable) -> AudioInfo:
    """The AudioInfo of a recording (path, bytes or binary file), its header compared with what the file holds.

    AudioError: missing, empty, not audio, without samples, of a rate that no sound has, or it ends before its samples
    do. A cut FLAC or MP3 file may show only when it is decoded; a cut at the end of an Ogg page cannot be told.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/stereo.wav", np.zeros((800, 2)), 8000, subtype="PCM_24")
    ...     probe(f"{folder}/stereo.wav")
    AudioInfo(n_samples=800, sample_rate_hz=8000, n_channels=2, duration_s=0.1, subtype='PCM_24')
    """
    with Recording(path) as recording:
        return recording.info


def read_audio(
    path: Readable, sample_rate_hz: int | None = None, start_s: float = 0.0, duration_s: float | None = None
) -> tuple[NDArray[np.float32], int]:
    """Read a recording, or a part of it, as mono.

    Arguments
    ---------
    path : str, os.PathLike, bytes or binary file. Of WAV, FLAC, Ogg, Opus, MP3, AIFF, and what else libsndfile reads.
    sample_rate_hz : int or None. Rate of the result (soxr, HQ); None keeps the rate of the file.
    start_s : float. Where the part begins; samples before it are skipped, not decoded.
    duration_s : float or None. Length of the part, which is cut before it is resampled; None reads to the end.

    Returns
    -------
    wav : numpy.ndarray, shape (T,), float32. Mean of the channels; in [-1, 1] for integer codings.
    sample_rate_hz : int

    Raises
    ------
    AudioError: As :func:`probe`; or it ends early, has samples that are no sound (NaN, 1e30), or none in the part.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/stereo.wav", np.tile([0.5, -0.25], (8000, 1)), 8000)
    ...     wav, rate = read_audio(f"{folder}/stereo.wav", start_s=0.5)
    >>> wav.shape, rate, float(wav[0])
    ((4000,), 8000, 0.125)
    """
    with Recording(path) as recording:
        wav, rate = mean_of_channels(recording.read(start_s, duration_s)), recording.info.sample_rate_hz
    if sample_rate_hz is not None and sample_rate_hz != rate:
        if sample_rate_hz < 1:
            raise AudioError(recording.name, f"cannot be resampled to {sample_rate_hz} Hz; ask for a rate above zero")
        wav, rate = soxr.resample(wav, rate, sample_rate_hz, quality="HQ"), int(sample_rate_hz)
    return np.ascontiguousarray(wav, dtype=np.float32), rate


def read_channels(path: Readable) -> tuple[NDArray[np.float32], int]:
    """Read a recording as :func:`read_audio` does, its channels apart: (channels, T) float32, and its rate in Hz."""
    with Recording(path) as recording:
        return np.ascontiguousarray(recording.read().T), recording.info.sample_rate_hz


def mean_of_channels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of channels (T, C) float32: (T,); the bits of ``samples.mean(axis=1)``, fifty times as quick."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return samples[:, 0]
    if n_channels >= 8:  # from here on numpy adds in another order, and is quick
        return samples.mean(axis=1, dtype=np.float32)
    total = samples[:, 0] + samples[:, 1]
    for channel in range(2, n_channels):
        total += samples[:, channel]
    total /= np.float32(n_channels)
    return total


def require_rate(source: object, sample_rate_hz: float, n_channels: int = 1) -> None:
    """Raise AudioError for a rate or a number of channels that no sound has and that would cost hours or all memory."""
    if not MIN_HZ <= sample_rate_hz <= MAX_HZ:
        limits = f"which is not one of sound ({MIN_HZ} to {MAX_HZ} Hz); correct the rate, or fetch it again"
        raise AudioError(source, f"has a sample rate of {sample_rate_hz:g} Hz, {limits}")
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise AudioError(source, f"has {n_channels} channels, which is not 1 to {MAX_CHANNELS}; its header is damaged")


def require_samples(samples: NDArray, source: object, sample_rate_hz: float, start_s: float = 0.0) -> None:
    """Raise AudioError where samples are NaN, infinite, or far beyond full scale.

    Arguments
    ---------
    samples : numpy.ndarray, shape (T, channels), float
    source, sample_rate_hz, start_s : of the recording, and where the samples begin in it, for the message
    """
    if -MAX_SAMPLE <= samples.min() and samples.max() <= MAX_SAMPLE:
        return
    bad = ~(np.abs(samples) <= MAX_SAMPLE)
    n_broken = int(samples.size - np.isfinite(samples).sum())
    place = f"the first at {start_s + int(np.argmax(bad.any(axis=1))) / sample_rate_hz:.3f} s"
    problem = f"{int(bad.sum())} samples are beyond ±{MAX_SAMPLE:g} ({np.abs(samples).max():.3g})"
    problem = f"{n_broken} samples are NaN or infinite" if n_broken else problem
    advice = "floats lie in [-1, 1]: write it again from its source, or leave it out"
    raise AudioError(source, f"{problem}, {place}; {advice}")


class Recording:
    """An open recording, its header checked: `source` as for :func:`probe`; ``name``, ``info``; a context manager."""

    def __init__(self, source: Readable) -> None:
        self.name, raw, n_bytes = _raw(source)
        with contextlib.ExitStack() as stack:
            stack.enter_context(raw)
            if n_bytes == 0:
                was_read = "nothing is left to read; seek(0) first" if hasattr(source, "read") else ""
                raise AudioError(self.name, was_read or "the file is empty (0 bytes); fetch it again, or leave it out")

            def at(place, n):
                raw.seek(place)
                return raw.read(n)

            extent = container_extent(at, n_bytes, self.name)
            extent = compressed_extent(at, n_bytes, self.name) if extent == Extent() else extent
            self._note = extent.note
            given: Any = _View(raw, n_bytes, extent)
            is_file = isinstance(source, (str, os.PathLike)) and not isinstance(raw, io.BytesIO)
            if is_file and extent._replace(note=None) == Extent():
                # as bytes: a name need not be UTF-8, and soundfile encodes strings strictly
                given = source if os.name == "nt" else os.fsencode(self.name)
            try:
                file = self._file = stack.enter_context(soundfile.SoundFile(given))
            except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a name in .raw
                raise AudioError(self.name, _why_undecodable(self.name, at(0, 64), error)) from error
            if file.frames == 0:
                raise AudioError(self.name, "holds no samples (0 frames); fetch it again, or leave it out")
            require_rate(self.name, file.samplerate, file.channels)
            if file.format not in _CHECKED:
                self._note = f"is of the format {file.format}, in which a cut file cannot be told from a whole one"
            self._close = stack.pop_all()
        duration_s = file.frames / file.samplerate
        self.info = AudioInfo(file.frames, file.samplerate, file.channels, duration_s, file.subtype)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._close.close()

    def read(self, start_s: float = 0.0, duration_s: float | None = None) -> NDArray[np.float32]:
        """The samples of a part, as for :func:`read_audio`: (T, channels), float32."""
        rate, n_samples = self.info.sample_rate_hz, self.info.n_samples
        start = round(start_s * rate)
        wanted = n_samples - start if duration_s is None else min(n_samples - start, round(duration_s * rate))
        if start < 0 or wanted < 1:
            problem = f"has no samples in the part asked for (start_s={start_s}, duration_s={duration_s})"
            raise AudioError(self.name, f"{problem}; the recording has {n_samples / rate:.3f} s")
        blocks = list(self.blocks(max(1, _BLOCK // self.info.n_channels), start, wanted))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def blocks(self, n_block: int, start: int = 0, wanted: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Decode `wanted` samples (None: all) from `start` on, `n_block` at a time; yields (n, channels) float32."""
        info, n_read = self.info, 0
        wanted = info.n_samples - start if wanted is None else wanted
        if self._note:
            LOGGER.warning("%s: %s", self.name, self._note)
        try:
            if start:
                self._file.seek(start)
            while n_read < wanted:
                n = min(n_block, wanted - n_read)
                samples: Any = self._file.read(n, dtype="float32", always_2d=True)
                if len(samples):
                    require_samples(samples, self.name, info.sample_rate_hz, (start + n_read) / info.sample_rate_hz)
                    n_read += len(samples)
                    yield samples
                if len(samples) < n:
                    break
        except soundfile.SoundFileError as error:
            place_s = (start + n_read) / info.sample_rate_hz
            problem = f"is damaged or cut short at {place_s:.1f} s ({_reason(error)}); fetch it again"
            raise AudioError(self.name, problem) from error
        slack = _MP3_SLACK if self._file.format == "MP3" else 0
        if (wanted - n_read > slack or not n_read) and info.n_samples < _UNKNOWN:
            problem = f"is cut short: its header promises {wanted} more samples, {n_read} are there"
            raise AudioError(self.name, problem)


def _raw(source):
    """Name, open binary file and size of what a user gives; of pipes and open files the whole content."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the recording", io.BytesIO(source), len(source)
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        name = name if isinstance(name, (str, os.PathLike)) else "the recording"
        content = content_of(source, name)
        return name, io.BytesIO(content), len(content)
    try:
        source = os.fsdecode(source)
    except TypeError as error:
        raise AudioError(f"{source!r:.60}", f"is no path ({error})") from error
    if not source:
        raise AudioError("''", "is an empty path; give the path of a recording")
    name = Path(source)
    try:
        facts = os.stat(source)
        if stat.S_ISDIR(facts.st_mode):
            raise AudioError(name, "is a folder, not a recording")
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISFIFO(facts.st_mode)):
            raise AudioError(name, "is a device, not a recording")
        raw = open(source, "rb")
    except FileNotFoundError:
        raise AudioError(name, "no such file; check the path, or prepare the corpus again") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL within the name
        why = getattr(error, "strerror", None) or error
        raise AudioError(name, f"cannot be opened ({why}); check the path and its permissions") from error
    if stat.S_ISREG(facts.st_mode):
        return name, raw, facts.st_size
    with raw:
        content = content_of(raw, name)
    return name, io.BytesIO(content), len(content)


def content_of(stream: Any, name: object) -> bytes:
    """The bytes of a pipe or open file; AudioError, which calls it `name`, where they are text or have no end."""
    parts, n_bytes = [], 0
    try:
        while True:
            part = stream.read(MAX_PIPE_BYTES - n_bytes + 1)  # a raw stream gives it in parts
            if not isinstance(part, (bytes, bytearray, memoryview, type(None))):
                raise TypeError
            if not part:
                break
            parts.append(part)
            n_bytes += len(part)
            if n_bytes > MAX_PIPE_BYTES:
                raise AudioError(name, "has no end within 2 GiB; use tinyclap listen -")
    except (TypeError, UnicodeDecodeError):
        raise AudioError(name, "does not give bytes; open it with mode 'rb'") from None
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: it is closed
        raise AudioError(name, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return b"".join(parts)


class _View:
    """A file as :class:`tinyclap.audio.headers.Extent` wants it read, for libsndfile."""

    def __init__(self, raw, n_bytes, extent):
        self._raw, self._extent, self._place = raw, extent, 0
        self._shift = len(extent.prefix) - extent.begin  # from places in the file to places here
        self._size = self._shift + (n_bytes if extent.end is None else extent.end)

    def seek(self, place, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + place)
        return self._place

    def tell(self):
        return self._place

    def read(self, n=-1):
        n = max(0, self._size - self._place if n < 0 else min(n, self._size - self._place))
        content = self._extent.prefix[self._place : self._place + n]
        self._raw.seek(max(self._extent.begin, self._place - self._shift))
        content += self._raw.read(n - len(content))
        for place, patch in self._extent.patches:
            start = place + self._shift - self._place
            if -len(patch) < start < len(content):
                content = bytearray(content)
                low, high = max(0, start), min(len(content), start + len(patch))
                content[low:high] = patch[low - start : high - start]
        self._place += len(content)
        return bytes(content)


def _why_undecodable(name, start, error):
    """Say why libsndfile refuses the file, and what to do."""
    path = Path(name if isinstance(name, Path) else "FILE")
    target = path.with_suffix(".fixed.wav" if path.suffix == ".wav" else ".wav")
    command = shlex.join(["ffmpeg", "-i", str(path), "-vn", str(target)])
    if start[4:8] == b"ftyp":
        return f"is an MPEG-4 file (m4a, mp4), which libsndfile does not read; convert it: {command}"
    if start[:4] == b"\x1a\x45\xdf\xa3":
        return f"is a Matroska or WebM file, which libsndfile does not read; convert it: {command}"
    if start.lstrip()[:1] in (b"<", b"{") or start.startswith(b"version https://git-lfs"):
        return "is text, not audio: a download that failed leaves such a page; fetch it again"
    return f"cannot be read as audio ({_reason(error)}); fetch it again, or convert it: {command}"


def _reason(error):
    """The message of libsndfile without the path, which the error names already."""
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".") or type(error).__name__
    return "it has no whole frame" if "possibly a pipe" in text else text  # mpg123's, of a file that we have opened
