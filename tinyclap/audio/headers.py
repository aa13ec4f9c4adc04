"""WAV without seeking: the header of a stream, and its samples as floats, the way libsndfile scales them.

Source: Microsoft, "Multiple Channel Audio Data and WAVE Files"; EBU Tech 3306 (RF64). libsndfile wants to seek in WAV
files, which pipes cannot.
"""

import struct
from typing import NamedTuple

import numpy as np

from tinyclap.errors import AudioError

# A writer that cannot know the length leaves 0, or about the largest number that fits.
_LEAST_UNKNOWN = 0x7FFF0000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MOST_HEADER_BYTES = 16_000_000  # a list of chunks that goes on for longer is no header
_HINT = (
    "write WAV (ffmpeg -i INPUT -f wav -), or say --rate, --channels and --sample-format of samples without a header"
)


class Layout(NamedTuple):
    """How samples lie in a stream.

    Fields: ``sample_rate_hz``, ``n_channels``, ``kind`` ("u", "i" or "f"), ``width`` (bytes of a sample), ``order``
    ("<" or ">"), ``n_bytes`` (of all samples, or None where it is unknown).
    """

    sample_rate_hz: int
    n_channels: int
    kind: str
    width: int
    order: str = "<"
    n_bytes: int | None = None

    @property
    def frame_bytes(self):
        """Bytes of one sample of every channel."""
        return self.n_channels * self.width


class _Coding(NamedTuple):
    """A way to write numbers, by ffmpeg's name."""

    kind: str
    width: int
    order: str

    def layout(self, sample_rate_hz, n_channels):
        """The layout of an endless stream of them."""
        return Layout(sample_rate_hz, n_channels, *self)


SAMPLE_FORMATS = {"u8": _Coding("u", 1, "<")} | {
    f"{letter}{8 * width}{ending}": _Coding(kind, width, order)
    for letter, kind, widths in (("s", "i", (2, 3, 4)), ("f", "f", (4, 8)))
    for width in widths
    for ending, order in (("le", "<"), ("be", ">"))
}


def read_header(stream):
    """Read a stream up to its first sample.

    Arguments
    ---------
    stream : binary file

    Returns
    -------
    Layout

    Raises
    ------
    AudioError
        It is no WAV stream, or its samples are not plain numbers.
    """
    start = _exactly(stream, 12)
    if start[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or start[8:] != b"WAVE":
        what = "ended before its header was complete" if len(start) < 12 else "is not WAV"
        raise AudioError("standard input", f"{what}; {_HINT}")
    order = ">" if start[:4] == b"RIFX" else "<"
    coding = long_size = None
    n_seen = 0
    while n_seen < _MOST_HEADER_BYTES:
        name, size = struct.unpack(f"{order}4sI", _whole(stream, 8))
        if name == b"data":
            if coding is None:
                break
            size = long_size if size == 0xFFFFFFFF and long_size else size
            known = 0 < size < _LEAST_UNKNOWN or bool(long_size)
            return coding._replace(n_bytes=size if known else None)
        n_seen += 8 + size
        if n_seen < _MOST_HEADER_BYTES:
            body = _whole(stream, size + size % 2)
            if name == b"fmt ":
                coding = _coding(body, order)
            elif name == b"ds64" and size >= 16:
                long_size = struct.unpack("<Q", body[8:16])[0]
    raise AudioError("standard input", f"its WAV header has no usable 'fmt ' and 'data' chunks; {_HINT}")


def _coding(body, order):
    """The layout that a 'fmt ' chunk describes."""
    if len(body) < 16:
        raise AudioError("standard input", f"its WAV header has a 'fmt ' chunk of {len(body)} bytes; {_HINT}")
    tag, n_channels, rate_hz, _, frame_bytes, n_bits = struct.unpack(f"{order}HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack(f"{order}H", body[24:26])[0]
    width = frame_bytes // n_channels if n_channels else 0
    kind = {_PCM: "u" if width == 1 else "i", _FLOAT: "f"}.get(tag)
    widths = {"u": (1,), "i": (2, 3, 4), "f": (4, 8)}.get(kind, ())
    if width not in widths or rate_hz < 1 or frame_bytes != width * n_channels:
        raise AudioError(
            "standard input",
            f"its WAV header says coding {tag}, {n_channels} channels, {n_bits} bits, {rate_hz} Hz, which is not plain "
            f"PCM or float; {_HINT}",
        )
    return Layout(rate_hz, n_channels, kind, width, order)


def decode(content, layout):
    """Samples as floats.

    Arguments
    ---------
    content : bytes
        Whole frames.
    layout : Layout

    Returns
    -------
    numpy.ndarray, shape (n, channels), float32
        In [-1, 1] for integers.

    Example
    -------
    >>> decode(bytes([0, 0, 64, 0, 0, 192]), Layout(8000, 2, "i", 3)).tolist()
    [[0.5, -0.5]]
    """
    kind, width, order = layout.kind, layout.width, layout.order
    if kind == "i" and width == 3:
        parts = np.frombuffer(content, np.uint8).reshape(-1, 3)
        # at the upper end of 32 bits, so that the sign is where it belongs
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, 1:] = parts if order == "<" else parts[:, ::-1]
        samples, full_scale = wide.view("<i4")[:, 0], 2.0**31
    else:
        samples = np.frombuffer(content, f"{order}{kind}{width}")
        full_scale = 1.0 if kind == "f" else 2.0 ** (8 * width - 1)
    floats = samples.astype(np.float32)
    if kind == "u":
        floats -= 128
    if full_scale != 1:
        floats *= np.float32(1 / full_scale)
    return floats.reshape(-1, layout.n_channels)


def _exactly(stream, n_bytes):
    """`n_bytes` of a stream that may give them in parts; fewer where it ends."""
    parts, lacking = [], n_bytes
    while lacking and (part := stream.read(lacking)):
        parts.append(part)
        lacking -= len(part)
    return b"".join(parts)


def _whole(stream, n_bytes):
    """The same, or AudioError where the stream ends before."""
    content = _exactly(stream, n_bytes)
    if len(content) < n_bytes:
        raise AudioError("standard input", f"ended within its WAV header; {_HINT}")
    return content
