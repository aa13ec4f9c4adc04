"""Fetch a published file: resumable, with its size and checksum verified, and nothing half-written in its place."""

import hashlib
import json
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from tinyclap.errors import DownloadError

logger = logging.getLogger(__name__)

ZENODO_RECORD = "https://zenodo.org/api/records/{record}"
_CHUNK = 1 << 20
_TIMEOUT_S = 60


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
    except (OSError, ValueError, KeyError) as error:
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
    beside, in the format of ``md5sum``, and a file that agrees with it is not fetched again.

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
    if target.exists() and sums.exists() and (size_bytes is None or target.stat().st_size == size_bytes):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if size_bytes is None or have < size_bytes:
        _fetch(url, part, have, size_bytes)
    if size_bytes is not None and part.stat().st_size != size_bytes:
        raise DownloadError(
            f"{url}: {part.stat().st_size:,} of {size_bytes:,} bytes came; run the same command again to go on"
        )
    found = md5_of(part)
    if md5 is not None and found != md5:
        part.unlink()
        raise DownloadError(f"{url}: MD5 is {found}, published is {md5}; the broken file was removed, try again")
    os.replace(part, target)
    sums.write_text(f"{found}  {target.name}\n")
    return target


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
    except (urllib.error.URLError, OSError) as error:
        kept = part.stat().st_size if part.exists() else 0
        raise DownloadError(
            f"cannot fetch {url} ({error}); {kept:,} bytes are kept in {part}: run the same command again to go on, "
            f"or fetch the file by hand into {part.parent}"
        ) from error
