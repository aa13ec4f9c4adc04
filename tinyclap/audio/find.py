"""Find recordings: files, folders, patterns, and lists in files or on standard input; one walker for all of them."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from tinyclap.errors import AudioError, ConfigError

Note = Callable[[str], object]
Unreadable = Callable[[AudioError], object]

# what libsndfile reads, by the names that people give it
SUFFIXES = tuple(
    ".wav .wave .bwf .wavex .rf64 .w64 .flac .mp3 .mp2 .mp1 .mpga .ogg .oga .opus .aiff .aif .aifc .au .snd .caf .voc "
    ".nist .sph .iff .svx .8svx".split()
)
# sound that it does not read, which nobody should miss in silence
_UNREADABLE = frozenset(
    ".m4a .m4b .m4r .aac .mp4 .m4v .mov .qt .wma .wmv .asf .webm .weba .mkv .mka .avi .flv .ogv .mpg .mpeg .m2ts "
    ".vob .3gp .3g2 .amr .awb .ac3 .eac3 .dts .thd .wv .ape .mac .tta .tak .ofr .shn .mpc .ra .rm .dsf .dff .dss "
    ".spx .gsm .vox .oma .at3 .aa .aax .aud .mid .midi".split()
)
_BLOCK = 1 << 16

HELP = (
    "recordings: files, folders (searched whole, hidden ones left out), quoted patterns ('**/*.wav'), @list.txt with a "
    "name a line, or - for such a list on standard input (lines, or as find -print0 writes them)"
)


def find_recordings(
    words: Sequence[str | os.PathLike[str]],
    stdin: BinaryIO | None = None,
    note: Note | None = None,
    unreadable: Unreadable | None = None,
) -> Iterator[str]:
    """The recordings that words on a command line name, each once, in a fixed order; paths begin as they were given.

    Arguments
    ---------
    words : sequence of str
        Files; folders (see :func:`recordings_in`); patterns with ``*``, ``?`` or ``[…]``, where ``**`` is any depth;
        ``@FILE``, a list; ``-``, a list on standard input. Paths in lists are not looked at.
    stdin : binary file, optional. In place of standard input.
    note, unreadable : callable, optional. See :func:`walk`.

    Raises
    ------
    ConfigError: At once: a word names nothing, or none was given. Later: a folder has no recording.
    AudioError: A folder cannot be read, without `unreadable`.

    Example
    -------
    >>> import io
    >>> list(find_recordings(["-"], io.BytesIO(b"a.wav\\nwith space.flac\\na.wav\\n")))
    ['a.wav', 'with space.flac']
    """
    if not words:
        raise ConfigError("no recordings; name files, folders, '*.wav', @list.txt, or - for a list on standard input")
    lost = [word if len(word) < 100 else f"{word[:100]}…" for word in words if not _is_there(word)]
    if lost:
        raise ConfigError(f"nothing there: {', '.join(lost[:5])}{', …' if len(lost) > 5 else ''}; check the names")
    stream = (standard_input() if stdin is None else stdin) if is_list(words) else None
    return _each_once(words, stream, note, unreadable)


def is_list(words: Sequence[str]) -> bool:
    """Whether some of the words stand for a list on standard input, whose length nobody knows."""
    return "-" in words


def standard_input() -> BinaryIO:
    """Standard input as a binary file; ConfigError where it is closed."""
    if sys.stdin is None or sys.stdin.closed:
        raise ConfigError("standard input is closed, so nothing can be read from it; give a file, or < FILE")
    return sys.stdin.buffer


def recordings_in(
    folder: str | os.PathLike[str], note: Note | None = None, unreadable: Unreadable | None = None
) -> Iterator[str]:
    """Yields recordings anywhere below a folder, by their names' endings: folder by folder, sorted.

    `note` and `unreadable`: see :func:`walk`; `note` is also told of sound that libsndfile does not read. ConfigError:
    there is no recording.
    """
    left_out: Counter[str] = Counter()
    n_found, closed = 0, []

    def tell(error):
        closed.append(error)
        if unreadable is None:
            raise error
        unreadable(error)

    for place, names in walk(folder, note, tell):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                n_found += 1
                yield os.path.join(place, name)
            elif suffix in _UNREADABLE:
                left_out[suffix] += 1
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(left_out.items()))
    if not n_found and not closed:
        only = f", only {kinds} that libsndfile does not read" if kinds else ""
        raise ConfigError(f"{folder}: no recordings in this folder{only}; it reads {' '.join(SUFFIXES)}")
    if left_out and note is not None:
        note(f"{folder}: left out {kinds}, which libsndfile does not read; convert: ffmpeg -i FILE -vn FILE.wav")


def walk(
    folder: str | os.PathLike[str], note: Note | None = None, unreadable: Unreadable | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yields every folder below a folder, and itself, without hidden ones, and the names of its files, sorted.

    Links to folders are followed once; ``note(text)`` is told of those that are not, because their folder is searched
    already. ``unreadable(error)`` is given an AudioError for each folder that cannot be read, its ``source``; without
    it, the first is raised. Hidden files, pipes and devices are left out.
    """
    folder = os.fspath(folder)
    root, seen, waiting = os.path.realpath(folder), set(), [folder]
    while waiting:
        place = waiting.pop()
        try:
            facts = os.stat(place)
            is_again = (facts.st_dev, facts.st_ino) in seen
            if place != folder and os.path.islink(place):
                target = os.path.realpath(place)
                is_again = is_again or _is_within(target, root) or _is_within(root, target)
                if is_again and note is not None:
                    note(f"{place}: not followed, a link to {target}, which is searched already")
            if is_again:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(place) as all_entries:
                entries = sorted((entry for entry in all_entries if entry.name[0] != "."), key=lambda entry: entry.name)
            folders = [entry.name for entry in entries if entry.is_dir()]
            files = [entry.name for entry in entries if entry.is_file() or (entry.is_symlink() and not entry.is_dir())]
        except OSError as error:
            _tell(place, error, unreadable)
            continue
        yield place, files
        waiting += [os.path.join(place, name) for name in reversed(folders)]


def _is_within(path, folder):
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _tell(place, error, unreadable):
    problem = AudioError(place, f"this folder cannot be read ({error.strerror or error}); look at its permissions")
    if unreadable is None:
        raise problem from error
    unreadable(problem)


def _each_once(words, stream, note, unreadable):
    seen = set()
    for word in words:
        for path in _named_by(word, stream, note, unreadable):
            if path not in seen:
                seen.add(path)
                yield path


def _is_there(word):
    if word == "-" or os.path.lexists(word):
        return True
    if word.startswith("@"):
        return os.path.isfile(word[1:])
    return next(_matches(word), None) is not None


def _named_by(word, stream, note, unreadable):
    if word == "-":
        yield from listed(stream)
    elif os.path.isdir(word):
        yield from recordings_in(word, note, unreadable)
    elif os.path.lexists(word):
        yield word
    elif word.startswith("@"):
        try:
            with open(word[1:], "rb") as file:
                yield from listed(file)
        except OSError as error:
            raise ConfigError(f"{word[1:]}: this list cannot be read ({error.strerror})") from error
    else:
        for path in sorted(set(_matches(word, note, unreadable))):
            if not os.path.isdir(path):
                yield path
            elif "**" not in word:
                yield from recordings_in(path, note, unreadable)


def _matches(pattern, note=None, unreadable=lambda error: None):
    """Paths that fit a pattern; a part of it that is there as it stands (a folder ``take [2024]``) is no pattern."""
    parts = (pattern.replace("/", os.sep) if os.name == "nt" else pattern).split(os.sep)
    return _below("", parts, note, unreadable) if any(sign in pattern for sign in "*?[") else iter(())


def _below(place, parts, note, unreadable):
    if not parts:
        yield place
        return
    part, rest = parts[0], parts[1:]
    path = f"{place}{part}"
    if not part or os.path.lexists(path):
        yield from _below(f"{path}{os.sep}" if rest else path, rest, note, unreadable)
    elif part == "**":
        for folder, names in walk(place or ".", note, unreadable):
            inside = os.path.join(folder, "").removeprefix("" if place.startswith(".") else f".{os.sep}")
            if rest:
                yield from _below(inside, rest, note, unreadable)
            else:
                yield from (f"{inside}{name}" for name in names)
    elif any(sign in part for sign in "*?["):
        try:
            names = sorted(os.listdir(place or "."))
        except OSError as error:
            if not isinstance(error, NotADirectoryError):
                _tell(place, error, unreadable)
            return
        for name in fnmatch.filter(names, part):
            if name[0] != "." or part[0] == ".":
                yield from _below(f"{place}{name}{os.sep if rest else ''}", rest, note, unreadable)


def listed(stream: BinaryIO) -> Iterator[str]:
    """Yields the names in a list, as they come: one a line, or divided by NUL where there is one; no empty ones.

    The binary `stream` is UTF-8 with or without its mark, or UTF-16 with one; other bytes are kept as the file system's
    names keep them.

    Example
    -------
    >>> import io
    >>> list(listed(io.BytesIO(b"a\\nb.wav\\0c.wav\\0")))
    ['a\\nb.wav', 'c.wav']
    """
    rest, divider, is_first = b"", None, True
    read = getattr(stream, "read1", stream.read)
    while block := read(_BLOCK):
        if is_first and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
            block = (block + stream.read()).decode("utf-16", "replace").encode()
        rest, is_first = rest + (block.removeprefix(b"\xef\xbb\xbf") if is_first else block), False
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
