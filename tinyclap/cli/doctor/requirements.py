"""What tinyclap says it needs, what is installed, and whether they fit: by metadata, without importing anything."""

import functools
import importlib.util
import re
import shlex
import shutil
import sys
from importlib import metadata

_LINE = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_BOUND = re.compile(r"(>=|<=|==|!=|~=|<|>)\s*([0-9][^,\s]*)")


@functools.cache
def requirements(distribution="tinyclap"):
    """What an installed distribution asks for.

    Arguments
    ---------
    distribution : str

    Returns
    -------
    dict of str to dict
        Name (lower case, with dashes) to ``bounds`` (str, e.g. ">=2.11,<2.15") and ``extras`` (set of str; "" stands
        for the base install). Empty where the distribution is not installed.
    """
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for line in lines:
        name, bounds, marker = _LINE.match(line).groups()
        extras = _EXTRA.findall(marker or "") or [""]
        # as people write them, the least version first
        bounds = ",".join(sorted((part.strip() for part in bounds.split(",")), key=lambda part: part[:1] != ">"))
        entry = found.setdefault(name.lower().replace("_", "-"), {"bounds": bounds, "extras": set()})
        entry["extras"] |= set(extras)
    return found


def installed_version(name):
    """The version of a distribution by its metadata, or None: str."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def release(version):
    """The numbers of a version: tuple of int.

    Example
    -------
    >>> release("2.14.1+cu130"), release("2.0rc1")
    ((2, 14, 1), (2, 0))
    """
    return tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))


def fits(version, bounds):
    """Whether a version lies within bounds, by their numbers.

    Arguments
    ---------
    version : str
    bounds : str
        As in a requirement: ``>=2.11,<2.15``.

    Example
    -------
    >>> [fits(version, ">=2.11,<2.15") for version in ("2.10", "2.11.0", "2.14.1+cu130", "2.15")]
    [False, True, True, False]
    """
    for how, bound in _BOUND.findall(bounds):
        ours, theirs = _same_length(release(version), release(bound))
        if not {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            ">": ours > theirs,
            "<": ours < theirs,
            "==": ours == theirs,
            "!=": ours != theirs,
            "~=": ours >= theirs and ours[: len(release(bound)) - 1] == theirs[: len(release(bound)) - 1],
        }[how]:
            return False
    return True


def _same_length(*numbers):
    longest = max(map(len, numbers))
    return [each + (0,) * (longest - len(each)) for each in numbers]


def wanted(name):
    """A distribution as tinyclap asks for it: ``torch>=2.11,<2.15``; its name alone where it asks for none."""
    return name + requirements().get(name, {"bounds": ""})["bounds"]


def pip(*words):
    """The command that installs something for this very Python; uv's where it has no pip, as in uv's environments.

    Example
    -------
    >>> pip("--no-deps", "torch>=2.11").partition("install ")[2].endswith("--no-deps 'torch>=2.11'")
    True
    """
    if importlib.util.find_spec("pip") is not None:
        return shlex.join([sys.executable, "-m", "pip", "install", *words])
    if shutil.which("uv"):
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *words])
    first = shlex.join([sys.executable, "-m", "ensurepip"])
    return f"{first} && {shlex.join([sys.executable, '-m', 'pip', 'install', *words])}"
