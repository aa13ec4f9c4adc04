"""Which recordings a command works on: files, folders, patterns, lists in files and on standard input."""

import glob
import os
import sys
from collections import Counter

from tinyclap.errors import ConfigError

# what libsndfile reads, by the names that people give it
SUFFIXES = tuple(".wav .wave .flac .mp3 .ogg .oga .opus .aiff .aif .aifc .au .snd .caf .w64 .rf64 .wavex".split())
# sound that it does not read, which nobody should miss in silence
_UNREADABLE = frozenset((".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka", ".amr", ".ac3"))
_BLOCK = 1 << 16

HELP = (
    "recordings: files, folders (searched whole, hidden ones left out), quoted patterns ('**/*.wav'), @list.txt with a "
    "name a line, or - for such a list on standard input (lines, or as find -print0 writes them)"
)


def find_recordings(words, stdin=None, note=None):
    """The recordings that words on a command line name, each once, in a fixed order.

    Arguments
    ---------
    words : sequence of str
        Files; folders, of which everything that libsndfile reads is taken, by its name, sorted; patterns with ``*``,
        ``?`` or ``[…]``, where ``**`` is any depth; ``@FILE``, a list; ``-``, a list on standard input.
    stdin : io.RawIOBase or io.BufferedIOBase, optional
        In place of standard input: bytes.
    note : callable, optional
        ``note(text)`` is told of sound in folders that libsndfile does not read.

    Returns
    -------
    iterator of str
        Paths as they were given, or below the folder that was given; those of lists are not looked at.

    Raises
    ------
    ConfigError
        At once: a word names nothing, or none was given. Later: a folder has no recording.

    Example
    -------
    >>> import io
    >>> list(find_recordings(["-"], io.BytesIO(b"a.wav\\nwith space.flac\\na.wav\\n")))
    ['a.wav', 'with space.flac']
    """
    if not words:
        raise ConfigError("no recordings; name files, folders, '*.wav', @list.txt, or - for a list on standard input")
    lost = [word for word in words if not _is_there(word)]
    if lost:
        raise ConfigError(f"nothing there: {', '.join(lost[:5])}{', …' if len(lost) > 5 else ''}; check the names")
    return _each_once(words, stdin, note)


def is_list(words):
    """Whether some of the words stand for a list on standard input, whose length nobody knows."""
    return "-" in words


def _each_once(words, stdin, note):
    seen = set()
    for word in words:
        for path in _named_by(word, stdin, note):
            if path not in seen:
                seen.add(path)
                yield path


def _is_there(word):
    if word == "-" or os.path.lexists(word):
        return True
    if word.startswith("@"):
        return os.path.isfile(word[1:])
    return glob.has_magic(word) and next(glob.iglob(word, recursive=True), None) is not None


def _named_by(word, stdin, note):
    if word == "-":
        yield from listed(sys.stdin.buffer if stdin is None else stdin)
    elif os.path.isdir(word):
        yield from _of_folder(word, note)
    elif os.path.lexists(word):
        yield word
    elif word.startswith("@"):
        with open(word[1:], "rb") as stream:
            yield from listed(stream)
    else:
        for path in sorted(glob.glob(word, recursive=True)):
            if not os.path.isdir(path):
                yield path
            elif "**" not in word:
                yield from _of_folder(path, note)


def listed(stream):
    """Names in a list of bytes, as they come: one a line, or divided by NUL where there is one.

    Arguments
    ---------
    stream : io.RawIOBase or io.BufferedIOBase

    Yields
    ------
    str
        Not empty; bytes that are no UTF-8 are kept as the file system's names keep them.

    Example
    -------
    >>> import io
    >>> list(listed(io.BytesIO(b"a\\nb.wav\\0c.wav\\0")))
    ['a\\nb.wav', 'c.wav']
    """
    rest, divider = b"", None
    read = getattr(stream, "read1", stream.read)
    while block := read(_BLOCK):
        rest += block
        divider = divider or (b"\0" if b"\0" in rest else b"\n" if len(rest) >= _BLOCK or b"\n" in block else None)
        if divider is not None:
            *whole, rest = rest.split(divider)
            yield from _names(whole, divider)
    yield from _names([rest] if divider else rest.split(b"\n"), divider)


def _names(parts, divider):
    for part in parts:
        name = os.fsdecode(part if divider == b"\0" else part.rstrip(b"\r"))
        if name:
            yield name


def _of_folder(folder, note):
    """Recordings anywhere below a folder, sorted folder by folder; links to folders are not followed."""
    left_out, n_found = Counter(), 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()
            if not name.startswith(".") and suffix in SUFFIXES:
                n_found += 1
                yield os.path.join(place, name)
            elif suffix in _UNREADABLE:
                left_out[suffix] += 1
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items()))
    if not n_found:
        raise ConfigError(
            f"{folder}: no recordings in this folder ({kinds or 'nothing'} that libsndfile does not read); it reads "
            f"{' '.join(SUFFIXES)}"
        )
    if left_out and note is not None:
        note(f"{folder}: left out {kinds}, which libsndfile does not read; convert: ffmpeg -i FILE -vn FILE.wav")
