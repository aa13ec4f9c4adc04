"""What was fetched and what came with the package, by their checksums; and what an interrupted download left."""

import hashlib
import os
import shlex
from pathlib import Path

from tinyclap.checkpoints.exported import file_sha256, read_config
from tinyclap.cli.doctor.finding import FAULT, OK, WARNING, Finding
from tinyclap.config.shipped import shipped_folder, shipped_names
from tinyclap.errors import TinyclapError

LIMIT_BYTES = 1 << 30  # of all checksums together; reading a gigabyte takes about a second where it is in memory


def tinyclap_cache():
    """Where tinyclap keeps weights that it fetches from elsewhere than the hub: pathlib.Path."""
    return Path(os.environ.get("TINYCLAP_CACHE") or Path.home() / ".cache" / "tinyclap")


def hub_cache():
    """Where the Hugging Face hub's library keeps what it fetches: pathlib.Path."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(os.path.expandvars(named)).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", os.path.join(base, "huggingface"))
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def check_shipped():
    """The files of the models that come with the package: list of Finding."""
    findings = []
    for name in shipped_names():
        folder = shipped_folder(name)
        try:
            files = read_config(folder)["files"]
            wrong = [file for file, sha256 in files.items() if not _is(folder / file, sha256)]
        except TinyclapError as error:
            findings.append(Finding(f"model {name}", FAULT, str(error), "it cannot be opened", _again(folder)))
            continue
        if wrong:
            found = f"{', '.join(wrong)}: missing, or not the file that was shipped"
            findings.append(Finding(f"model {name}", FAULT, found, "it cannot be opened", _again(folder)))
        else:
            findings.append(Finding(f"model {name}", OK, f"{len(files)} files, checksums right"))
    if findings:
        return findings
    return [Finding("models", WARNING, "none came with the package", "commands then need --model FOLDER or a hub name")]


def _is(path, sha256):
    return path.is_file() and file_sha256(path) == sha256


def _again(folder):
    """The command that brings the files of a shipped model back."""
    checkout = folder.parents[2]
    if (checkout / ".git").exists():
        return shlex.join(["git", "-C", str(checkout), "checkout", "--", str(folder.relative_to(checkout))])
    from tinyclap.cli.doctor.requirements import pip

    return pip("--force-reinstall", "--no-deps", "tinyclap")


def check_tinyclap_cache(limit_bytes=LIMIT_BYTES):
    """Fetched weights against the checksums noted beside them: list of Finding."""
    folder = tinyclap_cache()
    if not folder.is_dir():
        return [Finding("cache of tinyclap", OK, f"{folder}: nothing fetched yet")]
    sums = sorted(folder.rglob("*.md5"))
    files = [(path.with_suffix(""), path.read_text().split()[0], _md5) for path in sums if path.read_text().strip()]
    wrong, n_unread = _wrong(files, limit_bytes)
    parts = sorted(folder.rglob("*.part"))
    findings = _found_wrong("cache of tinyclap", wrong, lambda path: [path, f"{path}.md5"])
    for part in parts:
        found = f"{part}: {part.stat().st_size:,} bytes of a download that was interrupted"
        why = "it goes on when the same thing is fetched again; this removes it"
        findings.append(Finding("cache of tinyclap", WARNING, found, why, shlex.join(["rm", str(part)])))
    return findings or [Finding("cache of tinyclap", OK, _said(folder, len(files), n_unread))]


def check_hub_cache(limit_bytes=LIMIT_BYTES):
    """Fetched files of the hub against their names, which are checksums: list of Finding.

    Arguments
    ---------
    limit_bytes : int
        How much is read at most, the smallest files first; what is left is counted in the finding.

    Notes
    -----
    A blob is named by its SHA-256 (large files) or by git's SHA-1 of it: of ``blob <size>\\0`` and the content.
    """
    folder = hub_cache()
    if not folder.is_dir():
        return [Finding("cache of the hub", OK, f"{folder}: nothing fetched yet")]
    files = [
        (path, path.name, file_sha256 if len(path.name) == 64 else _git_sha1)
        for path in sorted(folder.glob("*/blobs/*"))
        if path.is_file() and len(path.name) in (40, 64)
    ]
    wrong, n_unread = _wrong(files, limit_bytes)
    links = [path for path in sorted(folder.glob("*/snapshots/**/*")) if path.is_symlink()]
    targets = {link: link.resolve() for link in links}
    findings = _found_wrong(
        "cache of the hub", wrong, lambda path: [path, *(link for link in links if targets[link] == path.resolve())]
    )
    dangling = [link for link in links if not link.exists()]
    if dangling:
        found = f"{len(dangling)} files are links to nothing, e.g. {dangling[0]}"
        mend = shlex.join(["rm", *map(str, dangling)])
        findings.append(
            Finding("cache of the hub", FAULT, found, "the model looks fetched and cannot be opened offline", mend)
        )
    for path in sorted(folder.glob("*/blobs/*.incomplete")):
        found = f"{path}: {path.stat().st_size:,} bytes of a download that was interrupted"
        why = "the file is not there yet; fetch it again (tinyclap download), and this one can go"
        findings.append(Finding("cache of the hub", WARNING, found, why, shlex.join(["rm", str(path)])))
    return findings or [Finding("cache of the hub", OK, _said(folder, len(files), n_unread))]


def _wrong(files, limit_bytes):
    """Those of (path, checksum, how it is worked out) that differ, and how many were left unread: list, int."""
    wrong, n_unread, left = [], 0, limit_bytes
    for path, expected, digest in sorted(files, key=lambda file: file[0].stat().st_size if file[0].is_file() else 0):
        size = path.stat().st_size if path.is_file() else 0
        if size > left:
            n_unread += 1
            continue
        left -= size
        if not path.is_file() or digest(path) != expected:
            wrong.append(path)
    return wrong, n_unread


def _found_wrong(part, wrong, files_of):
    if not wrong:
        return []
    found = (
        f"{', '.join(map(str, wrong[:3]))}{' …' if len(wrong) > 3 else ''}: not the published file (checksum differs)"
    )
    mend = shlex.join(["rm", "-f", *(str(file) for path in wrong for file in files_of(path))])
    why = "cut short or changed; a model that needs it fails, or computes something else. Removed, it is fetched again"
    return [Finding(part, FAULT, found, why, mend)]


def _said(folder, n_files, n_unread):
    unread = f"; {n_unread} too large to be read without --all-checksums" if n_unread else ""
    return f"{folder}: {n_files - n_unread} files, checksums right{unread}"


def _md5(path):
    # not by tinyclap.published.download, which imports tqdm: that may be what is missing
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _git_sha1(path):
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
