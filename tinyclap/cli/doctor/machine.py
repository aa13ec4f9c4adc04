"""The machine: processor and what it can do, cores, memory, and room on the disks."""

import errno
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from tinyclap.audio.cpu import instructions, n_cores, processor
from tinyclap.cli.doctor.caches import hub_cache, tinyclap_cache
from tinyclap.cli.doctor.finding import FAULT, OK, WARNING, Finding

_MB = 1 << 20
# What a purpose writes at most in ordinary use, in MB, and what it is.
SPACE_MB = {
    "runtime": (100, "tables, vectors and an index"),
    "export": (500, "a model as graphs, in several precisions, twice while it is written"),
    "train": (5000, "the teacher's weights (2 GB), checkpoints and stored embeddings"),
    "metrics": (3000, "the networks and Java programs of FENSE, METEOR and SPICE"),
}
_TRIAL_BYTES = 4 * _MB


def memory_mb():
    """Memory of the machine, or of its container where that is less, and how much is free: (int, int) or None."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    numbers = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in path.read_text().splitlines()}
    total, free = numbers["MemTotal"], numbers.get("MemAvailable", numbers["MemFree"])
    limit = _number("/sys/fs/cgroup/memory.max")
    if limit is not None and limit // _MB < total:
        total = limit // _MB
        free = min(free, total - (_number("/sys/fs/cgroup/memory.current") or 0) // _MB)
    return total, free


def _number(path):
    """A number in a file of the control group; None where there is none, or no limit."""
    try:
        text = Path(path).read_text().split()[0]
    except (OSError, IndexError):
        return None
    return int(text) if text.isdigit() else None


def check_machine():
    """Processor, cores, threads and memory: list of Finding."""
    name, features = processor(), instructions()
    can = " ".join(features) or "no vector instructions known"
    found = [Finding("processor", OK, f"{name}, {n_cores()} cores, {can}")]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > n_cores():
        why = "more threads than cores wait for each other"
        mend = f"export OMP_NUM_THREADS={n_cores()}"
        found.append(Finding("threads", WARNING, f"OMP_NUM_THREADS={asked}, {n_cores()} cores", why, mend))
    memory = memory_mb()
    if memory is not None:
        total, free = memory
        status = OK if free >= 300 else WARNING
        why = "" if status == OK else "a model with its text side needs about 200 MB, training several thousand"
        mend = "" if status == OK else "ps -eo rss,comm --sort=-rss | head"
        found.append(Finding("memory", status, f"{total:,} MB, {free:,} MB free", why, mend))
    return found


def check_disks(asked, space_mb=None, folder="."):
    """Room, and the right to write, where tinyclap writes: list of Finding.

    Arguments
    ---------
    asked : sequence of str
        Purposes.
    space_mb : int or None
        What must be free in `folder`; None takes what the purposes usually need, and less is then a warning.
    folder : str or os.PathLike
        Where results go.
    """
    usual = max(SPACE_MB[purpose][0] for purpose in asked)
    fetched = max((SPACE_MB[purpose][0] for purpose in asked if purpose != "export"), default=100)
    places = [
        ("results", Path(folder), usual if space_mb is None else space_mb, space_mb is not None, None),
        ("temporary files", Path(tempfile.gettempdir()), 100, False, "TMPDIR"),
        ("cache of tinyclap", tinyclap_cache(), fetched, False, "TINYCLAP_CACHE"),
        ("cache of the hub", hub_cache(), fetched, False, "HF_HUB_CACHE"),
    ]
    return [_check_disk(*place) for place in places]


def _check_disk(what, folder, needed_mb, is_asked, variable):
    """Try to write into a folder, or the nearest above it that exists."""
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    free_mb = shutil.disk_usage(place).free // _MB
    part = f"disk for {what}"
    problem = _try_to_write(place)
    said = f"{folder}: {free_mb:,} MB free"
    if problem is not None:
        return Finding(part, FAULT, f"{said}; {problem[0]}", problem[1], _elsewhere(place, needed_mb, variable))
    if free_mb < needed_mb:
        why = f"{needed_mb:,} MB are {'asked for' if is_asked else 'usual for that'}"
        return Finding(part, FAULT if is_asked else WARNING, said, why, _elsewhere(place, needed_mb, variable))
    return Finding(part, OK, said)


def _try_to_write(place):
    """Write a few MB and take them away again: None, or what went wrong and what it means."""
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".tinyclap-doctor-") as file:
            file.write(bytes(_TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        meanings = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "your quota is used up",
            errno.EFBIG: "files are limited to less than 4 MB here (ulimit -f)",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "you may not write there",
        }
        meaning = meanings.get(error.errno, "nothing can be kept there")
        return f"cannot write {_TRIAL_BYTES // _MB} MB ({error.strerror})", meaning
    return None


def _elsewhere(place, needed_mb, variable):
    """The command that makes room, or goes to where there is some."""
    here = os.stat(place).st_dev
    for other in (Path.home(), Path("/var/tmp"), Path("/tmp"), Path.cwd()):
        if other.is_dir() and shutil.disk_usage(other).free // _MB >= needed_mb and _try_to_write(other) is None:
            if os.stat(other).st_dev != here or not os.access(place, os.W_OK):
                target = shlex.quote(str(other / "tinyclap-files" / (variable or "results").lower()))
                then = f"cd {target}" if variable is None else f"export {variable}={target}"
                return f"mkdir -p {target} && {then}"
    if _try_to_write(place) is not None and hasattr(os, "getuid") and _limited():
        return "ulimit -f unlimited"
    return f"du -xh --max-depth=2 {shlex.quote(str(place))} | sort -h | tail -20  # then remove what you do not need"


def _limited():
    import resource

    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
