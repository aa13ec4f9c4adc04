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
from typing import Any

from tinyclap.errors import ConfigError

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_modules(names: str | Iterable[str], *beside: str | os.PathLike[str]) -> list[ModuleType]:
    """Import a user's modules: from the current folder, folders `beside`, or what is installed.

    These folders go to the end of ``sys.path``, also without names, so that a recipe's ``!new:my_net.MyNet`` is found.

    Arguments
    ---------
    names : str or iterable of str. Names as in Python (``my_net``) or paths (``mine/my_net.py``); commas between them.
    *beside : str or os.PathLike. The folders of a recipe and its parts.

    Raises
    ------
    ConfigError: A name is no module's, is not found, or stands for two files; or the module does not import.
    """
    texts = names.split() if isinstance(names, str) else names
    wanted = [_name_and_file(name.strip()) for text in texts for name in str(text).split(",") if name.strip()]
    folders = [Path(), *map(Path, beside), *(file.parent for _, file in wanted if file)]
    places = list(dict.fromkeys(str(folder.resolve()) for folder in folders))
    for name, _ in wanted:
        _check(name, places)
    sys.path += [place for place in places if place not in sys.path]
    importlib.invalidate_caches()
    return [_imported(name, file) for name, file in wanted]


def imported_class(name: str, parent: type = object) -> Any:
    """The class ``module.Class`` of a module that was imported before; nothing is imported by its name.

    ConfigError: It is not there, or is no subclass of `parent`.

    Example
    -------
    >>> imported_class("my_losses.Angle")
    Traceback (most recent call last):
    tinyclap.errors.ConfigError: my_losses.Angle is a class of one's own; give --import my_losses, or import it before
    """
    module, _, cls = name.rpartition(".")
    if module not in sys.modules:
        raise ConfigError(f"{name} is a class of one's own; give --import {module}, or import it before")
    found = getattr(sys.modules[module], cls, None)
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise ConfigError(f"{name}: the module {module} has no class {cls} that is a {parent.__name__}")
    return found


def _name_and_file(text: str) -> tuple[str, Path | None]:
    """The name of a module, and its file where a path was given."""
    path = Path(text)
    if path.suffix != ".py" and path.name == text:
        return text, None
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(
            f"--import {text}: no such file; give a module's name as in Python, or the path of a .py file"
        )
    return path.stem, path.resolve()


def _check(name: str, places: list[str]) -> None:
    """Refuse a name that is none, or that stands for more than one file."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--import {name}: no name of a module; write it as in Python, such as my_net")
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "tinyclap":
        owner = "tinyclap's own" if top == "tinyclap" else "a module of Python itself"
        raise ConfigError(f"--import {name}: {top} is {owner}; give your file another name")
    elsewhere = [entry for entry in sys.path if entry and str(Path(entry).resolve()) not in places]
    found = [PathFinder.find_spec(top, [place]) for place in places] + [PathFinder.find_spec(top, elsewhere)]
    files = sorted({str(spec.origin) for spec in found if spec is not None and spec.origin})
    if not any(spec is not None for spec in found):
        raise ConfigError(f"--import {name}: there is no {top}.py in {' or '.join(places)}, and none is installed")
    if len(files) > 1:
        raise ConfigError(f"--import {name}: {' and '.join(files)} have that name; rename one of them")


def _imported(name: str, file: Path | None) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a module of one's own raises anything
        raise ConfigError(f"--import {name}: does not import ({type(error).__name__}: {error})") from error
    there = getattr(module, "__file__", None)
    if file is not None and (there is None or Path(there).resolve() != file):
        raise ConfigError(f"--import {file}: {name} is imported already, from {there}; give your file another name")
    return module
