"""Recordings of any length and pipes as blocks of mono float32."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from tinyclap.audio.headers import Tape
from tinyclap.audio.io import LOGGER, Recording, mean_of_channels, require_rate, require_samples
from tinyclap.audio.pcm import SAMPLE_FORMATS, Layout, decode
from tinyclap.errors import AudioError, ConfigError

STANDARD_INPUT = "standard input"
_MAX_BLOCK = 1 << 22  # samples


@dataclass(frozen=True)
class Source:
    """A stream that can be read once."""

    name: str  # in messages
    sample_rate_hz: int
    pieces: Iterator[np.ndarray]  # each (n,) float32, mono in [-1, 1]
    duration_s: float | None = None  # where it is known before


def file_source(path: str | os.PathLike[str], piece_s: float = 1.0) -> Source:
    """The :class:`Source` of a file, decoded `piece_s` seconds at a time; of a named pipe, which must hold WAV.

    AudioError: the file cannot be used (see :func:`tinyclap.audio.io.probe`); what shows later is raised by ``pieces``.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        is_pipe = False
    if is_pipe:
        return pipe_source(open(path, "rb"), piece_s=piece_s, name=os.fspath(path))
    recording = Recording(path)
    rate_hz = recording.info.sample_rate_hz
    pieces = _decoded(recording, _block_samples(piece_s, rate_hz, recording.info.n_channels))
    return Source(os.fspath(path), rate_hz, pieces, recording.info.duration_s)


def _decoded(recording, n_block):
    with recording:
        for samples in recording.blocks(n_block):
            yield np.ascontiguousarray(mean_of_channels(samples))


def _block_samples(piece_s, rate_hz, n_channels):
    if not piece_s > 0:
        raise ConfigError(f"blocks of {piece_s} s: give a length above zero")
    return max(1, round(min(piece_s * rate_hz, _MAX_BLOCK / n_channels)))


def pipe_source(
    stream: BinaryIO,
    rate_hz: int | None = None,
    n_channels: int = 1,
    sample_format: str = "s16le",
    piece_s: float = 1.0,
    name: str = STANDARD_INPUT,
) -> Source:
    """What another program writes, WAV or samples without a header, as a :class:`Source`.

    AudioError: there is no WAV header, its coding is not PCM, or the rate is none that sound has.

    Arguments
    ---------
    stream : binary file. Such as ``sys.stdin.buffer``; it need not be seekable.
    rate_hz : int or None. Of samples without a header; None reads a WAV header.
    n_channels : int. Of samples without a header, interleaved.
    sample_format : str. Of samples without a header: "u8", "s16le", "s24le", "s32le", "f32le", "f64le", or their "…be".
    piece_s : float. Maximum that is read at a time; what has come is taken at once.
    name : str. In messages.

    Example
    -------
    >>> import io
    >>> source = pipe_source(io.BytesIO(np.array([0, 16384], "<i2").tobytes()), rate_hz=8000)
    >>> source.sample_rate_hz, [piece.tolist() for piece in source.pieces]
    (8000, [[0.0, 0.5]])
    """
    if rate_hz is not None:
        if sample_format not in SAMPLE_FORMATS:
            raise ConfigError(f"sample format {sample_format!r} is none of {', '.join(SAMPLE_FORMATS)}")
        require_rate(name, rate_hz, n_channels)
    tape = Tape(stream, name)
    layout = tape.layout() if rate_hz is None else Layout(int(rate_hz), int(n_channels), *SAMPLE_FORMATS[sample_format])
    require_rate(name, layout.sample_rate_hz, layout.n_channels)
    duration_s = None if layout.n_bytes is None else layout.n_bytes / layout.frame_bytes / layout.sample_rate_hz
    n_bytes = _block_samples(piece_s, layout.sample_rate_hz, layout.n_channels) * layout.frame_bytes
    return Source(name, layout.sample_rate_hz, _from_pipe(tape, layout, n_bytes, name), duration_s)


def _from_pipe(tape, layout, n_bytes, name):
    left, rest, n_read = layout.n_bytes, b"", 0
    while True:
        if left == 0:
            if not tape.sound_follows(layout.n_bytes):
                return
            LOGGER.warning("%s: more samples come than its header promises; all of them are read", name)
            left = None
        got = tape.read(n_bytes if left is None else min(n_bytes, left))
        if not got:
            break
        left = None if left is None else left - len(got)
        got = rest + got
        n_whole = len(got) - len(got) % layout.frame_bytes
        rest = got[n_whole:]
        if n_whole:
            samples = decode(got[:n_whole], layout)
            require_samples(samples, name, layout.sample_rate_hz, n_read / layout.sample_rate_hz)
            yield np.ascontiguousarray(mean_of_channels(samples))
            n_read += len(samples)
    if left is not None and left >= layout.frame_bytes:
        came = f"its header promises {layout.n_bytes} bytes of samples, {layout.n_bytes - left} came"
        raise AudioError(name, f"is cut short: {came}")
