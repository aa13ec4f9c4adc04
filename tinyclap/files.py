"""Files: atomic writes, checksums, JSON with one error, and where a model's folder is. Standard library alone."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from tinyclap.errors import CheckpointError

CONFIG = "config.json"


@contextlib.contextmanager
def atomic_path(path, flush=True):
    """Yield a temporary path beside `path`; without an error it is flushed to the disk and renamed to `path`.

    A crash at any moment leaves the earlier file or the whole new one; without `flush`, which is faster for caches of
    many small files, a crash of the machine can lose it. A link is written through; what is no regular file (a device,
    a pipe) is yielded itself.

    Raises
    ------
    OSError
        The folder cannot be written; the temporary file is removed.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(f"{folder}/a.txt") as part:
    ...         _ = part.write_text("a")
    ...     os.listdir(folder)
    ['a.txt']
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield part
        if flush:
            _flush(part)
        os.replace(part, path)
        if flush:
            _flush(path.parent)
    except OSError as error:  # a full disk names no file, a closed folder the temporary one
        if error.errno is None or error.filename not in (None, part, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text):
    """Write a UTF-8 text file atomically; lone surrogates (names that are no UTF-8) keep their bytes."""
    with atomic_path(path) as part, open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def write_json(path, content):
    """Write `content` as indented JSON atomically; NaN is refused (ValueError)."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path, advice="fetch it again", error: type[Exception] = CheckpointError, kind: Any = dict) -> Any:
    """Read a JSON file whose top level is a `kind`.

    Arguments
    ---------
    path : str or os.PathLike
    advice : str
        What the user should do about a broken file.
    error : type
        The class of :mod:`tinyclap.errors` to raise.
    kind : type or tuple of type

    Returns
    -------
    dict, or another `kind`

    Raises
    ------
    CheckpointError
        Or `error`: the file is missing, unreadable, no JSON, or of another kind.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise error(f"{path}: no such file; {advice}") from None
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"{path}: not readable as JSON ({cause}); {advice}") from cause
    if not isinstance(content, kind):
        raise error(f"{path}: holds a JSON {type(content).__name__}, which it should not; {advice}")
    return content


def sha256_of_json(value):
    """SHA-256 of a value as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256_of(path):
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder():
    """Where fetched weights are kept: ``$TINYCLAP_CACHE``, or ``~/.cache/tinyclap``."""
    return Path(os.environ.get("TINYCLAP_CACHE") or Path.home() / ".cache" / "tinyclap")


def model_folder(path):
    """The folder that holds ``config.json``: `path`, or ``student`` in it (the folder of a run).

    Raises
    ------
    CheckpointError
        Neither holds one.
    """
    for folder in (Path(path), Path(path) / "student"):
        if (folder / CONFIG).is_file():
            return folder
    raise CheckpointError(
        f"{path}: no model there (neither {CONFIG} nor student/{CONFIG}); give an exported folder, a saved model, or "
        "the folder of a finished run"
    )


@contextlib.contextmanager
def atomic_folder(target):
    """Yield a temporary folder beside `target`; without an error it takes the place of `target`.

    An earlier `target` is moved aside first, and moved back where the rename fails.

    Raises
    ------
    OSError
        The parent folder cannot be written.
    """
    target = Path(os.path.abspath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    part, old = (target.with_name(f".{token}.{ending}") for ending in ("part", "old"))
    part.mkdir()
    try:
        yield part
        for place, _, names in os.walk(part):
            for name in names:
                _flush(os.path.join(place, name))
            _flush(place)
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(part, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
        _flush(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _flush(path):
    """Flush a file or folder to the disk (fsync)."""
    is_folder = os.path.isdir(path)
    if is_folder and os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
