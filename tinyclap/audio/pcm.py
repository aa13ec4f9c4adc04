"""Samples as bytes: how they lie, and as floats, scaled the way libsndfile scales them."""

import struct
from typing import NamedTuple

import numpy as np

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


class Layout(NamedTuple):
    """How interleaved samples lie in a stream."""

    sample_rate_hz: int
    n_channels: int
    kind: str  # "u", "i" or "f"
    width: int  # bytes of a sample
    order: str = "<"  # or ">"
    n_bytes: int | None = None  # of all samples; None where it is unknown

    @property
    def frame_bytes(self):
        """Bytes of one sample of every channel."""
        return self.n_channels * self.width


# ffmpeg's names: (kind, width, order)
SAMPLE_FORMATS = {"u8": ("u", 1, "<")} | {
    f"{letter}{8 * width}{ending}": (kind, width, order)
    for letter, kind, widths in (("s", "i", (2, 3, 4)), ("f", "f", (4, 8)))
    for width in widths
    for ending, order in (("le", "<"), ("be", ">"))
}


def wave_layout(body, order):
    """The Layout that the body (bytes) of a WAV file's ``fmt`` chunk describes, and what it says in words.

    None for what is neither PCM nor float, or has frames longer than its samples. Samples of 24 bits in 4 bytes are
    those of 32; a frame that is said to be shorter than its samples has their bytes. `order` is "<" or ">".
    """
    if len(body) < 16:
        return None, f"a 'fmt ' chunk of {len(body)} bytes"
    tag, n_channels, rate_hz, _, frame_bytes, n_bits = struct.unpack(f"{order}HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = struct.unpack(f"{order}H", body[24:26])[0]
    width = 4 if n_bits == 24 and frame_bytes == 4 * n_channels else -(-n_bits // 8)
    kind = {_PCM: "u" if width == 1 else "i", _FLOAT: "f"}.get(tag, "")
    widths = {"u": (1,), "i": (2, 3, 4), "f": (4, 8)}.get(kind, ())
    words = f"coding {tag}, {n_channels} channels, {n_bits} bits, frames of {frame_bytes} bytes, {rate_hz} Hz"
    if width not in widths or rate_hz < 1 or not n_channels or frame_bytes > width * n_channels:
        return None, words
    return Layout(rate_hz, n_channels, kind, width, order), words


def decode(content, layout):
    """Bytes, of whole frames, as samples (n, channels) float32; in [-1, 1] for integers.

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
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        floats = samples.astype(np.float32)
    if kind == "u":
        floats -= 128
    if full_scale != 1:
        floats *= np.float32(1 / full_scale)
    return floats.reshape(-1, layout.n_channels)
