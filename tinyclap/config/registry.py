"""Modules that remember how they were built, so that a checkpoint can rebuild them from JSON alone.

A recipe builds objects with ``!new:`` tags; a released folder holds ``config.json`` and must execute nothing. Both are
served by one rule: a class under ``@configurable`` notes its constructor's arguments, and :func:`build` turns that
note back into the object. Only classes registered here can be built.
"""

import functools
import inspect

from tinyclap.errors import ConfigError

_CLASSES = {}


def configurable(cls):
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
    cls.config = property(lambda self: {"type": type(self).__name__, **_plain(self.__dict__["_arguments"])})
    _CLASSES[cls.__name__] = cls
    return cls


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.config if hasattr(value, "_arguments") else value


def build(config):
    """Rebuild the object that ``config`` describes.

    Arguments
    ---------
    config : dict
        ``{"type": class name, argument: value, …}``; values that are such dicts are built first.

    Raises
    ------
    ConfigError
        The type is unknown, or an argument is unknown or missing; both are named.

    Example
    -------
    >>> from tinyclap.models.projection import LinearHead
    >>> head = build(LinearHead(8, 4).config)
    >>> head.config["type"]
    'LinearHead'
    """
    name = config.get("type")
    if name not in _CLASSES:
        raise ConfigError(f"unknown type {name!r} in a model's config; known: {', '.join(sorted(_CLASSES))}")
    arguments = {key: _unplain(value) for key, value in config.items() if key != "type"}
    try:
        inspect.signature(_CLASSES[name].__init__).bind(None, **arguments)
    except TypeError as error:
        raise ConfigError(f"the config of {name} does not fit its constructor: {error}") from error
    return _CLASSES[name](**arguments)


def _unplain(value):
    if isinstance(value, dict) and "type" in value:
        return build(value)
    if isinstance(value, dict):
        return {key: _unplain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unplain(item) for item in value]
    return value
