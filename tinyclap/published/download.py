"""Download a published file: resumable, checked by size and MD5, by one process at a time."""

import contextlib
import hashlib
import http.client
import json
import logging
import os
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tinyclap.errors import DownloadError
from tinyclap.files import atomic_path, write_text

logger = logging.getLogger(__name__)

ZENODO_RECORD = "https://zenodo.org/api/records/{record}"
_CHUNK = 1 << 20
_TIMEOUT_S = 60
_NO_SUCH_RANGE = 416  # HTTP status


def md5_of(path: str | os.PathLike[str]) -> str:
    """The MD5 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def zenodo_file(record: str, name: str, api: str = ZENODO_RECORD) -> dict[str, Any]:
    """Look a file of a Zenodo record up: dict of ``url``, ``size_bytes``, ``md5``.

    Raises
    ------
    DownloadError: The record cannot be read or has no such file.
    """
    page = api.format(record=record)
    try:
        with urllib.request.urlopen(page, timeout=_TIMEOUT_S) as answer:
            files = {file["key"]: file for file in json.load(answer)["files"]}
        if name in files:
            file = files[name]
            md5 = file["checksum"].removeprefix("md5:")
            return {"url": file["links"]["self"], "size_bytes": int(file["size"]), "md5": md5}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"cannot read {page} ({error}); fetch {name} by hand and give its path instead") from error
    raise DownloadError(f"{page} has no file {name!r}; it has: {', '.join(files)}")


def download(url: str, target: str | os.PathLike[str], size_bytes: int | None = None, md5: str | None = None) -> Path:
    """Download `url` to `target`, unless it is there; an interrupted download is resumed.

    The data are collected in ``<target>.part`` and renamed when size and checksum are right; ``<target>.md5`` is
    written beside, in the format of ``md5sum``. A second process that wants the same file waits for the first.

    Arguments
    ---------
    url, target : str, and str or os.PathLike. `target` is returned as a Path.
    size_bytes, md5 : int and str, optional

    Raises
    ------
    DownloadError: No connection, another file than published, or `target` cannot be written.
    """
    try:
        from filelock import FileLock
    except ImportError as error:
        raise DownloadError(f"downloads need filelock ({error}); run: pip install filelock") from error
    target = Path(target)
    try:
        if not _is_complete(target, size_bytes, md5):
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = Path(f"{target}.lock")
            with FileLock(lock):
                if not _is_complete(target, size_bytes, md5):  # another process may have fetched it meanwhile
                    _fetch_checked(url, target, size_bytes, md5)
            with contextlib.suppress(OSError):  # not needed once the file is there
                lock.unlink()
    except OSError as error:
        raise DownloadError(f"cannot write {target} ({error}); make room, or choose another folder") from error
    return target


def _is_complete(target, size_bytes, md5):
    """Whether the target is the published file, by its size and the checksum noted beside it, or by its content."""
    sums = Path(f"{target}.md5")
    if not target.exists() or (size_bytes is not None and target.stat().st_size != size_bytes):
        return False
    if sums.exists():
        return md5 is None or sums.read_text(encoding="utf-8").split()[:1] == [md5]
    if md5 is None or md5_of(target) != md5:
        return False
    with contextlib.suppress(OSError):  # a folder of another user: checked again next time
        write_text(sums, f"{md5}  {target.name}\n")
    return True


def _fetch_checked(url, target, size_bytes, md5):
    part = Path(f"{target}.part")
    if size_bytes is not None and _size(part) > size_bytes:
        part.unlink()
    if size_bytes is None or _size(part) < size_bytes:
        _fetch(url, part, size_bytes)
    if size_bytes is not None and _size(part) > size_bytes:
        message = f"{url}: {_size(part):,} bytes came, published are {size_bytes:,}: another file; it was removed"
        part.unlink()
        raise DownloadError(message)
    found = md5_of(part)
    if md5 is not None and found != md5:
        part.unlink()
        raise DownloadError(f"{url}: MD5 is {found}, published is {md5}; the broken file was removed, try again")
    with atomic_path(target) as new:
        os.replace(part, new)
    write_text(f"{target}.md5", f"{found}  {target.name}\n")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _fetch(url, part, size_bytes):
    """Append to `part` what it lacks of the file at `url`."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if have and answer.status != 206:
                logger.info("%s cannot be resumed by its server; starting again", part)
                have = 0
            total = size_bytes or (int(answer.headers.get("Content-Length", 0)) + have) or None
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
            ):
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is not None and _size(part) < total:
                raise ConnectionError(f"the connection ended before all {total:,} bytes had come")
    except (OSError, http.client.HTTPException) as error:
        if have and getattr(error, "code", None) == _NO_SUCH_RANGE:
            part.unlink()  # longer than the file, so not a part of it
            _fetch(url, part, size_bytes)
            return
        raise DownloadError(
            f"cannot fetch {url} ({error}); {_size(part):,} bytes are kept in {part}: run the same command again to go "
            f"on, or fetch the file by hand into {part.parent}"
        ) from error
