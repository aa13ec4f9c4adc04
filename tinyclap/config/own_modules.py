"""Modules of one's own (``my_net.py`` beside a recipe), imported by the names that a user gives, never by a folder."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from tinyclap.errors import ConfigError

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_modules(names: str | Iterable[str], beside: str | os.PathLike[str] | None = None) -> list[ModuleType]:
    """Import a user's modules: from the current folder, the folder `beside`, or what is installed.

    Both folders go to the end of ``sys.path``, also without names, so that a recipe's ``!new:my_net.MyNet`` is found.

    Arguments
    ---------
    names : str or iterable of str. Names as in an import statement, in a text with commas between: ``my_net``.
    beside : str or os.PathLike, optional. The recipe's folder.

    Raises
    ------
    ConfigError: A name is no module's, is not found, or stands for two files; or the module does not import.
    """
    folders = list(dict.fromkeys(str(Path(folder).resolve()) for folder in (os.curdir, beside) if folder is not None))
    texts = [names] if isinstance(names, str) else names
    names, modules = [name for text in texts for name in str(text).replace(",", " ").split()], []
    for name in names:
        _check(name, folders)
    sys.path += [folder for folder in folders if folder not in sys.path]
    importlib.invalidate_caches()
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except Exception as error:  # a module of one's own raises anything
            raise ConfigError(f"--import {name}: does not import ({type(error).__name__}: {error})") from error
    return modules


def _check(name: str, folders: list[str]) -> None:
    """Refuse a name that is none, or that stands for more than one file."""
    if not _NAME.fullmatch(name) or name.endswith(".py"):
        stem = Path(name).stem
        raise ConfigError(f"--import {name}: give a module's name as in Python, without folder and .py: {stem}")
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "tinyclap":
        owner = "tinyclap's own" if top == "tinyclap" else "a module of Python itself"
        raise ConfigError(f"--import {name}: {top} is {owner}; give your file another name")
    elsewhere = [entry for entry in sys.path if entry and str(Path(entry).resolve()) not in folders]
    found = [PathFinder.find_spec(top, [folder]) for folder in folders] + [PathFinder.find_spec(top, elsewhere)]
    places = sorted({str(spec.origin) for spec in found if spec is not None and spec.origin})
    if not any(spec is not None for spec in found):
        raise ConfigError(f"--import {name}: there is no {top}.py in {' or '.join(folders)}, and none is installed")
    if len(places) > 1:
        raise ConfigError(f"--import {name}: {' and '.join(places)} have that name; rename one of them")
