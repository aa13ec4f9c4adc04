"""Headers of WAV, RF64, W64, AIFF, AU, CAF, SVX and NIST: bytes of samples that they promise, and that there are.

libsndfile takes the smaller number in silence. Sources: Microsoft, "Multiple Channel Audio Data and WAVE Files"; EBU
Tech 3306 (RF64); Sony Wave64; Apple, AIFF-C and Core Audio Format; NeXT/Sun ``.snd``.
"""

import re
import struct
from typing import NamedTuple

from tinyclap.audio.pcm import wave_layout
from tinyclap.errors import AudioError

MAX_TAIL = 1 << 16  # bytes after the samples that are looked at
_MAX_CHUNKS = 10_000  # of a file: more of them are no header
_MAX_PADDING = 4096  # zeros; more of them are silence
_MAX_HEADER = 16_000_000  # bytes of a stream: chunks that go on for longer are no header
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI", b"<?xml")
_FILES = (b"RIFF", b"RF64", b"BW64", b"FORM", b"caff", b"riff", b".snd", b"fLaC", b"OggS")
# names of chunks that may follow the samples, and be cut themselves
_CHUNKS = frozenset(
    b"LIST|id3 |ID3 |bext|iXML|axml|cue |smpl|fact|JUNK|junk|PAD |FLLR|PEAK|acid|inst|DISP|umid|afsp|MARK|COMT|NAME|"
    b"AUTH|ANNO|(c) |APPL|INST|MIDI|SAUR|FVER|strg|info|chna|ovvw|peak|free|pakt".split(b"|")
)
_TWICE = "has two chunks of samples; convert it: ffmpeg -i FILE OTHER.wav"
_HINT = (
    "write WAV (ffmpeg -i INPUT -f wav -), or say --rate, --channels and --sample-format of samples without a header"
)


class Extent(NamedTuple):
    """What libsndfile must be given in place of a file, so that it reads all of its sound and no more."""

    patches: tuple = ()  # of (place, bytes), which replace those of the file
    prefix: bytes = b""  # in place of what is before `begin`
    begin: int = 0
    end: int | None = None  # None: of the file
    note: str | None = None  # for users


class _Form(NamedTuple):
    """How chunks lie in a container."""

    name_bytes: int
    size: str  # struct format
    counted: int  # bytes of its own header that a size includes
    align: int
    first: int  # place of the first chunk
    data: bytes  # name of the chunk with the samples

    @property
    def header(self):
        return self.name_bytes + struct.calcsize(self.size)


_RIFF = _Form(4, "<I", 0, 2, 12, b"data")
_FORMS = {
    b"RIFF": _RIFF,
    b"RIFX": _RIFF._replace(size=">I"),
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _RIFF._replace(size=">I", data=b"SSND"),
    b"caff": _Form(4, ">q", 0, 1, 8, b"data"),
    b"riff": _Form(16, "<q", 24, 8, 40, b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")),
}
_SVX = _FORMS[b"FORM"]._replace(data=b"BODY")


class _Data(NamedTuple):
    """The chunk with the samples: its container, other chunks (name → (first byte, body)), first byte, stated size."""

    form: _Form
    chunks: dict
    start: int
    stated: int


def _find_data(at, form, limit):
    """The chunk with the samples, or None. ``at(place, n)`` gives bytes, and is asked for ever later places."""
    chunks, place, is_odd = {}, form.first, False
    for _ in range(_MAX_CHUNKS):
        if place >= limit:
            break
        head = at(place, form.header + is_odd)
        if is_odd and not head[:1].strip(b"\0"):  # some writers leave the padding out
            head, place = head[1:], place + 1
        if len(head) < form.header:
            return None
        name, size = head[: form.name_bytes], struct.unpack_from(form.size, head, form.name_bytes)[0] - form.counted
        start = place + form.header
        if name == form.data:
            return _Data(form, chunks, start, size)
        if size < 0:
            return None
        if name[:4] in (b"fmt ", b"ds64", b"COMM", b"desc"):
            if name[:4] in chunks:
                return None
            chunks[name[:4]] = start, at(start, min(size, 64))
        place, is_odd = start + size, form.align == 2 and size % 2 == 1
        place += -size % 8 if form.align == 8 else 0
    return None


def container_extent(at, n_bytes, source):
    """Compare the header of a WAV, RF64, W64, AIFF, AU or CAF file with the size of the file: Extent.

    ``at(place, n)`` gives bytes of the file of `n_bytes`, and `source` is its name in messages. The Extent of a file of
    another kind is empty. AudioError: the file ends before its samples do, or holds two recordings.
    """
    head = at(0, 24)
    kind = head[:4]
    first = id3_bytes(head)
    if first and at(first, 4) in (b".snd", *_FORMS):
        found = container_extent(lambda place, n: at(first + place, n), n_bytes - first, source)
        moved = tuple((first + place, patch) for place, patch in found.patches)
        return found._replace(patches=moved, begin=first, end=None if found.end is None else first + found.end)
    if kind in (b".snd", b"dns.") and len(head) == 24:
        start, stated, coding, _, n_channels = struct.unpack(">5I" if kind == b".snd" else "<5I", head[4:])
        frame = {2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8}.get(coding, 1) * max(1, n_channels)
        size, note = _held(at, start, stated, n_bytes, frame, None, source)
        return Extent(((8, b"\xff\xff\xff\xff"),) if size > stated else (), note=note)
    if head.startswith(b"NIST_1A\n"):
        numbers = dict(re.findall(rb"(\w+) -i (\d+)", at(0, 1024)))
        frame = int(numbers.get(b"channel_count", 1)) * int(numbers.get(b"sample_n_bytes", 1))
        start, stated = int(head[8:16].strip() or 0), int(numbers.get(b"sample_count", 0)) * frame
        _held(at, start, stated, n_bytes, frame, None, source)
        return Extent()
    is_named = kind in (b"caff", b"riff") or head[8:12] in (b"WAVE", b"AIFF", b"AIFC", b"8SVX", b"16SV")
    is_sound = kind in _FORMS and is_named
    form = _SVX if head[8:12] in (b"8SVX", b"16SV") else _FORMS.get(kind)
    data = _find_data(at, form, n_bytes) if is_sound else None
    if data is None:
        return Extent()
    start, stated = data.start, _stated(data, kind)
    size, note = _held(at, start, stated, n_bytes, _frame_bytes(data, kind), data.form, source)
    patches, end = _width_patches(data, kind, source), None
    if kind in (b"RIFF", b"RIFX") and size > stated:
        order = data.form.size
        patches += (4, struct.pack(order, 8)), (start - 4, struct.pack(order, 0))  # libsndfile: to the end of the file
    elif kind in (b"RF64", b"BW64") and b"ds64" in data.chunks:
        if size != stated or kind == b"BW64":
            patches += (0, b"RF64"), (data.chunks[b"ds64"][0] + 8, struct.pack("<Q", size))
    elif kind == b"FORM" and size > max(stated, 8):
        patches = ((start - 4, struct.pack(">I", min(size, 0xFFFFFFFF))),)
    elif kind == b"caff" and size != stated:
        patches = ((start - 8, struct.pack(">q", size)),)
    elif kind == b"riff":
        patches += ((start - 8, struct.pack("<q", size + 24)),) if size != stated else ()
        end = start + size if start + size < n_bytes else None  # libsndfile reads what follows as sound
    return Extent(patches, end=end, note=note)


def id3_bytes(head):
    """Size of the ID3 tag that a file's first ten bytes begin; 0 for none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _width_patches(data, kind, source):
    """libsndfile goes by the bits of a sample: 24 of them in 4 bytes it reads as noise."""
    place, body = data.chunks.get(b"fmt ", (0, b""))
    if len(body) < 16:
        return ()
    order = ">" if kind == b"RIFX" else "<"
    layout, words = wave_layout(body, order)
    n_channels, frame_bytes, n_bits = struct.unpack(f"{order}2xH8xHH", body[:16])
    is_plain = layout is None and words.startswith(("coding 1,", "coding 3,"))
    if is_plain and 0 < n_channels * n_bits <= 8 * frame_bytes - 8:
        problem = f"its header says {words}: samples do not fill frames"
        raise AudioError(source, f"{problem}; convert it: ffmpeg -i FILE OTHER.wav")
    is_wide = layout is not None and 8 * layout.width > n_bits + 7
    return ((place + 14, struct.pack(f"{order}H", 8 * layout.width)),) if is_wide else ()


def _stated(data, kind):
    """Bytes that the header promises; RF64 keeps them in a chunk of their own."""
    body = data.chunks.get(b"ds64", (0, b""))[1] if kind in (b"RF64", b"BW64") else b""
    return struct.unpack("<q", body[8:16])[0] if len(body) >= 16 and data.stated == 0xFFFFFFFF else data.stated


def _frame_bytes(data, kind):
    """Bytes of a sample of every channel (or of a packet); 1 where the header does not say."""
    body = data.chunks.get({b"FORM": b"COMM", b"caff": b"desc"}.get(kind, b"fmt "), (0, b""))[1]
    if len(body) < 14 or (kind == b"caff" and len(body) < 20):
        return 1
    if kind == b"FORM":
        n_channels, _, n_bits = struct.unpack(">HIH", body[:8])
        return max(1, n_channels * -(-n_bits // 8))
    if kind == b"caff":
        return max(1, struct.unpack(">I", body[16:20])[0])
    layout, _ = wave_layout(body, ">" if kind == b"RIFX" else "<")
    return layout.frame_bytes if layout else 1


def is_placeholder(stated):
    """Whether a size is what programs write into a pipe, where they cannot know it (sox, ffmpeg, arecord, …)."""
    near = any(low <= stated < low + 0x10100 for low in (0x7EFF0000, 0x7FFF0000, 0xFFFF0000))
    return stated <= 0 or near or stated >= 1 << 62


def _held(at, start, stated, n_bytes, frame, form, source):
    """Bytes of samples that the file holds, and a note where they are more than its header promises."""
    there = n_bytes - start
    if stated > there:
        # less than one frame is what a sloppy writer rounds away
        if stated - there < frame or is_placeholder(stated):
            return there, None
        problem = f"is cut short: its header promises {stated} bytes of samples, {max(0, there)} are there"
        raise AudioError(source, f"{problem}; fetch it again")
    size = max(stated, 0)
    place = start + size + (size % 2 if form and form.align == 2 else 0)
    if n_bytes - start - size < frame or not sound_follows(at, place, n_bytes, form, source):
        return size, None
    if is_placeholder(stated):
        return there, None
    return there, f"its header promises {stated} bytes of samples, {there} are there; all of them are read"


def sound_follows(at, place, n_bytes, form, source):
    """Whether the bytes after the promised samples are samples too, and not chunks, tags, text or a little padding.

    Arguments
    ---------
    at, n_bytes, source : As for :func:`container_extent`.
    place : int. Where these bytes begin.
    form : the container's form, or None where it has no chunks
    """
    first = place
    for _ in range(_MAX_CHUNKS if form else 0):
        if n_bytes - place < form.header or len(head := at(place, form.header)) < form.header:
            break
        name, size = head[: form.name_bytes], struct.unpack_from(form.size, head, form.name_bytes)[0] - form.counted
        if name == form.data:
            raise AudioError(source, _TWICE)
        fits = size >= 0 and all(32 <= byte < 127 for byte in name[:4]) and place + form.header + size <= n_bytes
        if head.startswith(_FILES) or not (fits or name[:4] in _CHUNKS):
            break
        place += form.header + size + -size % form.align
    tail = at(place, MAX_TAIL) if place < n_bytes else b""
    if tail.startswith(_FILES):
        raise AudioError(source, "holds another recording after its first; cut it in two")
    if place > first or tail.startswith(_TAGS):
        return False
    is_text = all(32 <= byte < 127 or byte in b"\0\t\r\n" for byte in tail)
    return not (is_text and n_bytes - place <= (MAX_TAIL if tail.strip(b"\0") else _MAX_PADDING))


class Tape:
    """A binary `stream` that is read once, by places that only grow; `source` is its name in messages."""

    def __init__(self, stream, source):
        self._stream, self._source, self._place, self._held = stream, source, 0, b""

    def at(self, place, n):
        """Up to `n` bytes from `place` on; no byte after them is read."""
        while True:
            lost = min(len(self._held), place - self._place)
            self._held, self._place = self._held[lost:], self._place + lost
            lacking = place - self._place + n - len(self._held)
            if lacking <= 0 or not (got := self._stream.read(min(lacking, MAX_TAIL))):
                return self._held[:n] if self._place == place else b""
            self._held += got

    def read(self, n):
        """The next bytes, as soon as there are any; at most `n`."""
        if self._held:
            got, self._held = self._held[:n], self._held[n:]
        else:  # read1 gives what has come, and does not wait for all of it
            got = getattr(self._stream, "read1", self._stream.read)(n)
        self._place += len(got)
        return got

    def layout(self):
        """Read a WAV header, up to the first sample: Layout. AudioError: it is none, or of neither PCM nor float."""
        head = self.at(0, 12)
        if not head:
            raise AudioError(self._source, f"ended before its first byte; {_HINT}")
        kind = head[:4]
        if kind not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
            raise AudioError(self._source, f"is not WAV: it begins with {head[:4]!r}; {_HINT}")
        form = _FORMS[kind]
        data = _find_data(self.at, form, _MAX_HEADER)
        if data is None:
            raise AudioError(self._source, f"ended within its WAV header; {_HINT}")
        if b"fmt " not in data.chunks:
            raise AudioError(self._source, f"its WAV header has no usable 'fmt ' before its samples; {_HINT}")
        layout, words = wave_layout(data.chunks[b"fmt "][1], form.size[0])
        if layout is None:
            raise AudioError(self._source, f"its WAV header says {words}, which is not plain PCM or float; {_HINT}")
        stated = _stated(data, kind)
        if self.at(data.start, 4 * (not stated)) == form.data:
            raise AudioError(self._source, _TWICE)
        return layout._replace(n_bytes=None if is_placeholder(stated) else stated)

    def sound_follows(self, n_bytes):
        """Whether more samples come after the promised `n_bytes` of them; see :func:`sound_follows`."""
        skip = n_bytes % 2
        tail = self._held = self.at(self._place, MAX_TAIL + skip)
        end = len(tail) - skip if len(tail) < MAX_TAIL + skip else 1 << 62
        return end > 0 and sound_follows(lambda place, n: tail[skip:][place:][:n], 0, end, _RIFF, self._source)
