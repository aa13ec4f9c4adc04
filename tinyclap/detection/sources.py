"""Where a stream comes from: a recording of any length, a pipe, or a microphone; each as pieces of mono float32."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tinyclap.audio.headers import SAMPLE_FORMATS, decode, read_header
from tinyclap.audio.io import mean_of_channels, probe
from tinyclap.errors import AudioError, ConfigError

# Frames of an MP3 are estimated where no length is written.
_SLACK_S = 0.1


@dataclass(frozen=True)
class Source:
    """A stream that can be listened to once.

    Arguments
    ---------
    name : str
        What to call it in messages.
    sample_rate_hz : int
    pieces : iterator of numpy.ndarray, each of shape (n,), float32
        Mono, in [-1, 1].
    duration_s : float or None
        Its length, where that is known before.
    """

    name: str
    sample_rate_hz: int
    pieces: Iterator
    duration_s: float | None = None


def file_source(path, piece_s=1.0):
    """A recording, decoded piece by piece.

    Arguments
    ---------
    path : str or os.PathLike
        Anything libsndfile reads, of any length.
    piece_s : float
        How much is decoded at a time, in seconds; results do not depend on it.

    Returns
    -------
    Source

    Raises
    ------
    AudioError
        The file cannot be used (see :func:`tinyclap.audio.io.probe`). Where it breaks off or has samples that are not
        finite, the pieces raise it when they come to that place.
    ConfigError
        `piece_s` is not above zero.
    """
    if not piece_s > 0:
        raise ConfigError(f"pieces of {piece_s} s: give a length above zero")
    info = probe(path)
    pieces = _decoded(Path(path), info, max(1, round(piece_s * info.sample_rate_hz)))
    return Source(str(path), info.sample_rate_hz, pieces, info.duration_s)


def _decoded(path, info, n_frames):
    n_read = 0
    # as bytes: a name need not be UTF-8
    with soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path)) as file:
        while True:
            try:
                samples = file.read(n_frames, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise AudioError(path, f"is damaged at {n_read / info.sample_rate_hz:.1f} s ({error})") from error
            if not len(samples):
                break
            yield _mono(samples, path, n_read, info.sample_rate_hz)
            n_read += len(samples)
    if info.n_samples - n_read > _SLACK_S * info.sample_rate_hz:
        raise AudioError(
            path, f"is cut short: its header promises {info.n_samples} samples a channel, {n_read} are there"
        )


def pipe_source(stream, rate_hz=None, n_channels=1, sample_format="s16le", piece_s=1.0):
    """What another program writes: a WAV stream, or samples without a header.

    Arguments
    ---------
    stream : binary file
        Such as ``sys.stdin.buffer``; it need not be seekable.
    rate_hz : int or None
        Of samples without a header; None reads a WAV header.
    n_channels : int
        Of samples without a header, interleaved.
    sample_format : str
        Of samples without a header: "u8", "s16le", "s24le", "s32le", "f32le", "f64le", or their "…be".
    piece_s : float
        The most that is read at a time, in seconds; what has come is taken at once.

    Returns
    -------
    Source

    Raises
    ------
    AudioError
        There is no WAV header, or its coding is not PCM; the message says what to write instead.
    ConfigError
        The sample format is unknown, or a number is not above zero.

    Example
    -------
    >>> import io
    >>> source = pipe_source(io.BytesIO(np.array([0, 16384], "<i2").tobytes()), rate_hz=8000)
    >>> source.sample_rate_hz, [piece.tolist() for piece in source.pieces]
    (8000, [[0.0, 0.5]])
    """
    if rate_hz is None:
        layout = read_header(stream)
    else:
        if sample_format not in SAMPLE_FORMATS:
            raise ConfigError(f"sample format {sample_format!r} is none of {', '.join(SAMPLE_FORMATS)}")
        if rate_hz < 1 or n_channels < 1:
            raise ConfigError(f"rate {rate_hz} Hz, {n_channels} channels: both are whole numbers above zero")
        layout = SAMPLE_FORMATS[sample_format].layout(int(rate_hz), int(n_channels))
    duration_s = None if layout.n_bytes is None else layout.n_bytes / layout.frame_bytes / layout.sample_rate_hz
    n_bytes = max(1, round(piece_s * layout.sample_rate_hz)) * layout.frame_bytes
    return Source("standard input", layout.sample_rate_hz, _from_pipe(stream, layout, n_bytes), duration_s)


def _from_pipe(stream, layout, n_bytes):
    left, rest, n_read = layout.n_bytes, b"", 0
    read = getattr(stream, "read1", stream.read)  # read1 gives what has come, and does not wait for all of it
    while left is None or left > 0:
        got = read(n_bytes if left is None else min(n_bytes, left))
        if not got:
            break
        left = None if left is None else left - len(got)
        got = rest + got
        n_whole = len(got) - len(got) % layout.frame_bytes
        rest = got[n_whole:]
        if n_whole:
            samples = decode(got[:n_whole], layout)
            yield _mono(samples, "standard input", n_read, layout.sample_rate_hz)
            n_read += len(samples)
    if left is not None and left >= layout.frame_bytes:
        raise AudioError(
            "standard input",
            f"is cut short: its header promises {layout.n_bytes} bytes of samples, {layout.n_bytes - left} came",
        )


def microphone_source(device=None, rate_hz=None):
    """A microphone, by the library sounddevice.

    Arguments
    ---------
    device : int, str or None
        Number or part of the name; None takes the system's own.
    rate_hz : int or None
        None takes the device's own.

    Returns
    -------
    Source
        Endless: it is over when the caller stops asking.

    Raises
    ------
    ConfigError
        sounddevice or PortAudio is not installed.
    AudioError
        There is no such device, or it refuses.
    """
    from tinyclap.detection.microphone import recorded

    rate_hz, blocks = recorded(device, rate_hz)
    return Source("microphone", rate_hz, (_mono(block, "microphone", 0, rate_hz) for block in blocks))


def _mono(samples, source, n_before, rate_hz):
    """The mean of the channels (n, channels) as :func:`tinyclap.audio.io.read_audio` takes it: (n,), float32."""
    wav = mean_of_channels(samples)
    finite = np.isfinite(wav)
    if not finite.all():
        place_s = (n_before + int(np.argmin(finite))) / rate_hz
        raise AudioError(source, f"has samples that are NaN or infinite, the first at {place_s:.3f} s; mend its source")
    return np.ascontiguousarray(wav)
