"""Fetch a published file: resumable, with its size and checksum verified, and nothing half-written in its place."""

import hashlib
import http.client
import json
import logging
import os
import urllib.request
from pathlib import Path

from tqdm import tqdm

from tinyclap.errors import DownloadError

logger = logging.getLogger(__name__)

ZENODO_RECORD = "https://zenodo.org/api/records/{record}"
_CHUNK = 1 << 20
_TIMEOUT_S = 60
_NO_SUCH_RANGE = 416  # HTTP status


def md5_of(path):
    """MD5 of a file, as lower-case hexadecimal digits.

    Arguments
    ---------
    path : str or os.PathLike
    """
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def zenodo_file(record, name, api=ZENODO_RECORD):
    """Address, size and checksum of one file of a Zenodo record, as the record itself states them.

    Arguments
    ---------
    record : str or int
    name : str
    api : str
        Address of a record's description, with ``{record}`` in it.

    Returns
    -------
    dict
        ``url``, ``size_bytes``, ``md5``.

    Raises
    ------
    DownloadError
        The record cannot be read or has no such file.
    """
    page = api.format(record=record)
    try:
        with urllib.request.urlopen(page, timeout=_TIMEOUT_S) as answer:
            files = json.load(answer)["files"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"cannot read {page} ({error}); fetch {name} by hand and give its path instead") from error
    for file in files:
        if file["key"] == name:
            return {
                "url": file["links"]["self"],
                "size_bytes": int(file["size"]),
                "md5": file["checksum"].removeprefix("md5:"),
            }
    raise DownloadError(f"{page} has no file {name!r}; it has: {', '.join(file['key'] for file in files)}")


def download(url, target, size_bytes=None, md5=None):
    """Fetch `url` into `target`, going on where an earlier call stopped.

    The bytes go to ``<target>.part`` and are renamed when size and checksum are right; ``<target>.md5`` is written
    beside, in the format of ``md5sum``, and a file that it vouches for is not fetched again, nor is one that was put
    there by hand and has the published checksum.

    Arguments
    ---------
    url : str
    target : str or os.PathLike
    size_bytes : int, optional
    md5 : str, optional

    Returns
    -------
    pathlib.Path
        `target`.

    Raises
    ------
    DownloadError
        No answer, or another file than published; what to do is said.
    """
    target = Path(target)
    part, sums = Path(f"{target}.part"), Path(f"{target}.md5")
    if _is_there(target, sums, size_bytes, md5):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if size_bytes is not None and have > size_bytes:
        part.unlink()  # of another file: nothing to go on with
        have = 0
    if size_bytes is None or have < size_bytes:
        _fetch(url, part, have, size_bytes)
    came = part.stat().st_size
    if size_bytes is not None and came > size_bytes:
        part.unlink()
        raise DownloadError(f"{url}: {came:,} bytes came, published are {size_bytes:,}: another file; it was removed")
    found = md5_of(part)
    if md5 is not None and found != md5:
        part.unlink()
        raise DownloadError(f"{url}: MD5 is {found}, published is {md5}; the broken file was removed, try again")
    os.replace(part, target)
    sums.write_text(f"{found}  {target.name}\n")
    return target


def _is_there(target, sums, size_bytes, md5):
    """Whether the target is whole: by its size and the checksum noted beside it, else by the published checksum."""
    if not target.exists() or (size_bytes is not None and target.stat().st_size != size_bytes):
        return False
    if sums.exists():
        return md5 is None or sums.read_text().split()[:1] == [md5]
    if md5 is None or md5_of(target) != md5:
        return False
    sums.write_text(f"{md5}  {target.name}\n")
    return True


def _fetch(url, part, have, size_bytes):
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            resumed = answer.status == 206
            if have and not resumed:
                logger.info("%s cannot be resumed by its server; starting again", part)
            total = size_bytes or (int(answer.headers.get("Content-Length", 0)) + have * resumed) or None
            with (
                open(part, "ab" if resumed else "wb") as file,
                tqdm(total=total, initial=have * resumed, unit="B", unit_scale=True, desc=part.stem) as bar,
            ):
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is not None and part.stat().st_size < total:
                raise ConnectionError(f"the connection ended before all {total:,} bytes had come")
    except (OSError, http.client.HTTPException) as error:
        if have and getattr(error, "code", None) == _NO_SUCH_RANGE:
            part.unlink()  # the server has no more than that: what is kept is not a beginning of this file
            _fetch(url, part, 0, size_bytes)
            return
        kept = part.stat().st_size if part.exists() else 0
        raise DownloadError(
            f"cannot fetch {url} ({error}); {kept:,} bytes are kept in {part}: run the same command again to go on, "
            f"or fetch the file by hand into {part.parent}"
        ) from error
