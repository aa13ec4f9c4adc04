"""FLAC, Ogg and MP3: how many samples a file holds where its header does not say, or says too few.

Sources: RFC 9639 (FLAC); RFC 3533 (Ogg); ISO 11172-3 and 13818-3 (MPEG audio), with the headers of Xing and Fraunhofer.
"""

import functools
import struct
import zlib

from tinyclap.audio.headers import Extent, id3_bytes
from tinyclap.errors import AudioError

_CUT = "is cut short: it ends within {}; fetch it again"
_CHECKSUM = "is damaged at its {}: the checksum of a page is wrong; fetch it again"
_TAIL = 1 << 17  # more than a page of Ogg or a frame of FLAC
_PAGE, _BEGIN = b"OggS\0", b"OggS\0\2"  # of Ogg: the start of a page, of the first page of a stream
_SCAN, _MAX_HEADER_PAGES = 1 << 20, 16
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SLACK = 512  # bytes of tags after the frames that a Xing header counts


def compressed_extent(at, n_bytes, source):
    """As :func:`tinyclap.audio.headers.container_extent`, of a FLAC, Ogg or MP3 file.

    AudioError: it is cut within a page of Ogg, or within a frame of a FLAC file of unknown length. Other cuts show when
    the file is decoded: fewer samples come than are promised.
    """
    first = id3_bytes(at(0, 10))
    start = at(first, 4)
    if start == b"OggS":
        _require_whole_page(at, n_bytes, source)
        _require_first_page(at, first, source)
        _require_one_stream(at, first, n_bytes, source)
    elif start == b"fLaC":
        return _flac_extent(at, first, n_bytes, source)
    elif found := _frame(start):
        return _mpeg_extent(at, first, n_bytes, found[0])
    return Extent()


def _require_whole_page(at, n_bytes, source):
    """Refuse an Ogg file whose last page is not whole."""
    tail = at(max(0, n_bytes - _TAIL), _TAIL)
    place = tail.rfind(b"OggS\0")
    if place < 0:
        return
    n_segments = tail[place + 26] if place + 26 < len(tail) else 256
    lengths = tail[place + 27 : place + 27 + n_segments]
    end = place + 27 + n_segments + sum(lengths)
    begun = len(tail) > end and b"OggS".startswith(tail[end:])  # of one more page
    if len(lengths) < n_segments or end > len(tail) or begun:
        raise AudioError(source, _CUT.format("a page"))
    if not _is_right(tail[place:end]):
        raise AudioError(source, _CHECKSUM.format("end"))


def _require_first_page(at, first, source):
    """Refuse an Ogg file whose first page of sound is damaged: libsndfile passes over it in silence."""
    place = first
    for _ in range(_MAX_HEADER_PAGES):
        head = at(place, 282)
        n_segments = head[26] if len(head) > 26 else 0
        page = at(place, 27 + n_segments + sum(head[27 : 27 + n_segments]))
        is_header = int.from_bytes(head[6:14], "little", signed=True) <= 0
        if head and (not head.startswith(_PAGE) or not is_header and not _is_right(page)):
            raise AudioError(source, _CHECKSUM.format("start"))
        if not head or not is_header:
            return
        place += len(page)


def _is_right(page):
    """Whether a page of Ogg has its checksum: zlib's from 0, with the bits of all bytes reversed."""
    reverse = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    check = (zlib.crc32(reverse, 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4, "little").translate(_REVERSED)
    return check[::-1] == page[22:26]


def _require_one_stream(at, first, n_bytes, source):
    """Refuse Ogg files one after the other, of which libsndfile reads the first alone."""
    place, has_begun, size = first, False, len(_BEGIN)
    while place < n_bytes:
        block = at(place, _SCAN)
        if not has_begun:  # the first pages of streams that run side by side stand together
            while block.startswith(_BEGIN):
                block, place = block[1:], place + 1
                step = block.find(_PAGE)
                block, place = block[max(step, 0) :], place + max(step, 0)
            has_begun = True
        if _BEGIN in block:
            raise AudioError(source, "holds another recording after its first; convert it: ffmpeg -i FILE OTHER.wav")
        place += max(1, len(block) - size + 1)


def _flac_extent(at, first, n_bytes, source):
    """STREAMINFO has the number of samples: 0 where it was written into a pipe."""
    facts = at(first + 8, 34)
    if len(facts) < 34:
        return Extent()
    packed = int.from_bytes(facts[10:18], "big")
    n_stated = packed & (1 << 36) - 1
    tail = at(max(0, n_bytes - _TAIL), _TAIL)
    tail = tail[:-128] if tail[-128:-125] == b"TAG" else tail
    n_samples = _last_sample(tail, int.from_bytes(facts[:2], "big"), n_stated)
    if n_stated and (n_samples is None or n_samples <= n_stated):
        return Extent()  # what lacks shows when it is decoded
    if n_samples is None:
        raise AudioError(source, _CUT.format("a frame") + ", or encode it again")
    patch = (packed & ~((1 << 36) - 1) | n_samples).to_bytes(8, "big")
    note = f"its header promises {n_stated} samples, {n_samples} are there; all of them are read" if n_stated else None
    return Extent(((first + 18, patch),), note=note)


def _last_sample(tail, block_size, n_stated):
    """How many samples there are up to the end of the last frame of FLAC; None where no frame ends with `tail`."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        head = tail[place : place + 16]
        if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[3] & 1:
            continue
        ones = 8 - (head[4] ^ 0xFF).bit_length()  # the number is coded as in UTF-8
        n_more = max(0, ones - 1)
        number = head[4] & (0x7F >> ones) if ones else head[4]
        for byte in head[5 : 5 + n_more]:
            number = number << 6 | byte & 0x3F
        code, end = head[2] >> 4, 5 + n_more
        extra = {6: 1, 7: 2}.get(code, 0)
        size = int.from_bytes(head[end : end + extra], "big") + 1
        size = {1: 192, 6: size, 7: size}.get(code) or (576 << code - 2 if code < 6 else 256 << code - 8)
        end += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        n_samples = (number if head[1] & 1 else number * block_size) + size
        if ones == 1 or end >= len(head) or _crc(head[:end], 8, 0x07) != head[end]:
            continue
        if n_samples == n_stated or not _crc(tail[place:], 16, 0x8005):
            return n_samples
    return None


def _crc(content, n_bits, polynomial):
    """Cyclic redundancy check, most significant bit first, from zero."""
    table, mask = _crc_table(n_bits, polynomial), (1 << n_bits) - 1
    check = 0
    for byte in content:
        check = check << 8 & mask ^ table[check >> n_bits - 8 ^ byte]
    return check


@functools.cache
def _crc_table(n_bits, polynomial):
    top, mask = 1 << n_bits - 1, (1 << n_bits) - 1
    table = []
    for byte in range(256):
        check = byte << n_bits - 8
        for _ in range(8):
            check = check << 1 & mask ^ (polynomial if check & top else 0)
        table.append(check)
    return table


# kbit/s by (MPEG 1?, layer), and Hz by version (3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5)
_RATES_KBPS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _frame(head):
    """(bytes, samples) of a frame of MPEG audio with this header of 4 bytes; None where it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, hz, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or hz == 3:
        return None
    rate, hz = 1000 * _RATES_KBPS[version == 3, layer][rate], _RATES_HZ[version][hz]
    if layer == 1:
        return 4 * (12 * rate // hz + padding), 384
    n_samples = 1152 if layer == 2 or version == 3 else 576
    return n_samples // 8 * rate // hz + padding, n_samples


def _mpeg_extent(at, first, n_bytes, n_frame_bytes):
    """A Xing, Info or VBRI header has the number of frames; without one, or if it tells of a part, they are counted."""
    head = at(first, 200)
    side = (17 if head[3] >> 6 == 3 else 32) if head[1] >> 3 & 3 == 3 else (9 if head[3] >> 6 == 3 else 17)
    place, frames_at, bytes_at = 4 + side, 0, 0
    if head[place : place + 4] in (b"Xing", b"Info"):
        flags = head[place + 7]
        frames_at = place + 8 if flags & 1 else 0
        bytes_at = place + 8 + 4 * (flags & 1) if flags & 2 else 0
    elif head[36:40] == b"VBRI":
        bytes_at, frames_at = 46, 50
    n_stated, n_stated_bytes = (int.from_bytes(head[at_:][:4], "big") if at_ else 0 for at_ in (frames_at, bytes_at))
    if n_stated and n_bytes - first <= n_stated_bytes + _SLACK:
        return Extent()
    has_header = bool(frames_at)
    n_frames, is_cut = _count_frames(at, first + (n_frame_bytes if has_header else 0), n_bytes, head)
    if n_stated and n_frames <= n_stated + 1:
        return Extent()
    note = "ends within a frame; it may be cut short" if is_cut else None
    if has_header:
        if n_stated:
            note = f"its header promises {n_stated} frames, {n_frames} are there; all of them are read"
        numbers = (frames_at, n_frames), (bytes_at, min(n_bytes - first, 0xFFFFFFFF))
        return Extent(tuple((first + at_, struct.pack(">I", n)) for at_, n in numbers if at_), note=note)
    # a header frame of our own: without one libsndfile goes by the first frames' bit rate
    mine = bytearray(head[:4])
    mine[1] |= 1  # no check sum
    size = 0
    for index in range(1, 15):
        mine[2] = index << 4 | head[2] & 0x0C
        size = (_frame(mine) or (0, 0))[0]
        if size >= place + 16:
            break
    counts = struct.pack(">3I", 3, n_frames, min(n_bytes - first + size, 0xFFFFFFFF))
    content = bytes(mine) + bytes(side) + b"Xing" + counts
    return Extent(prefix=content.ljust(size, b"\0"), begin=first, note=note)


def _count_frames(at, place, n_bytes, like):
    """How many frames of MPEG audio there are from a place on, and whether the last one is cut."""
    n_frames, block, begin = 0, b"", 0
    while place + 4 <= n_bytes:
        if place + 4 > begin + len(block):
            block, begin = at(place, 1 << 20), place
        head = block[place - begin : place - begin + 4]
        found = _frame(head) if len(head) == 4 and (head[1] ^ like[1]) & 0xFE == 0 else None
        if found is None:
            sync = _next_frame(block, place - begin, like)
            if sync is None and begin + len(block) >= n_bytes:
                return n_frames, False
            place = begin + (max(place - begin + 1, len(block) - 3) if sync is None else sync)
            continue
        if place + found[0] > n_bytes:
            return n_frames, True
        place, n_frames = place + found[0], n_frames + 1
    return n_frames, False


def _next_frame(block, place, like):
    """Where, after tags or damage, a frame stands that another follows; None where there is none within reach."""
    while (place := block.find(like[:1], place + 1)) >= 0:
        found = _frame(block[place : place + 4])
        if found and (block[place + 1] ^ like[1]) & 0xFE == 0 and _frame(block[place + found[0] :][:4]):
            return place
    return None
