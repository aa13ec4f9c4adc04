"""``@configurable`` modules, which note their constructor's arguments, so that ``config.json`` alone rebuilds them.

Only classes registered here can be built, so a model's folder executes nothing.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from tinyclap.errors import ConfigError

_CLASSES: dict[str, type] = {}


def configurable(cls: Any) -> Any:
    """Class decorator: register `cls` by name and give its objects a ``config`` property (JSON-able dict).

    Arguments of the constructor must be JSON values (also lists and dicts of them) or configurable objects.
    """
    build_object = cls.__init__
    signature = inspect.signature(build_object)

    @functools.wraps(build_object)
    def remember(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        build_object(self, *args, **kwargs)
        if type(self) is cls:
            self.__dict__["_arguments"] = arguments

    cls.__init__ = remember
    cls.config = property(lambda self: {"type": type(self).__name__} | _plain(self.__dict__["_arguments"]))
    _CLASSES[cls.__name__] = cls
    return cls


def build(config: dict[str, Any]) -> Any:
    """Rebuild the object of ``{"type": class name, argument: value, …}``; values that are such dicts are built first.

    Example
    -------
    >>> from tinyclap.models.projection import LinearHead
    >>> build(LinearHead(8, 4).config).config["type"]
    'LinearHead'
    """
    name = config.get("type")
    if not isinstance(name, str) or name not in _CLASSES:
        raise ConfigError(f"unknown type {name!r} in a model's config; known: {', '.join(sorted(_CLASSES))}")
    arguments = {key: _unplain(value) for key, value in config.items() if key != "type"}
    try:
        inspect.signature(_CLASSES[name]).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"the config of {name} does not fit its constructor: {error}") from error
    return _CLASSES[name](**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.config if hasattr(value, "_arguments") else value


def _unplain(value: Any) -> Any:
    if isinstance(value, dict):
        return build(value) if "type" in value else {key: _unplain(item) for key, item in value.items()}
    return [_unplain(item) for item in value] if isinstance(value, list) else value
