"""``@configurable`` modules, which note their constructor's arguments, so that ``config.json`` alone rebuilds them.

Only registered classes are built, so a model's folder executes nothing: a class of one's own is found where its module
was imported before, and its config says which module that is.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from tinyclap.errors import ConfigError

_CLASSES: dict[tuple[str | None, str], type] = {}  # (module, or None for ours; name) → class
_RESERVED = ("type", "module")


def configurable(cls: Any) -> Any:
    """Class decorator: register `cls` by name and give its objects a ``config`` property (JSON-able dict).

    Arguments of the constructor must be JSON values (also lists and dicts of them) or configurable objects.

    Raises
    ------
    ConfigError: The constructor takes ``*args``, ``type`` or ``module``; or a class of one's own has a name of ours.
    """
    build_object = cls.__init__
    signature = inspect.signature(build_object)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.name in _RESERVED:
            raise ConfigError(
                f"{cls.__name__}: its constructor cannot take {parameter}; give it named arguments, others"
            )

    @functools.wraps(build_object)
    def remember(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = {}
        for name, value in list(bound.arguments.items())[1:]:
            arguments |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        build_object(self, *args, **kwargs)
        if type(self) is cls:
            self.__dict__["_arguments"] = arguments

    _register(cls)
    cls.__init__ = remember
    cls.config = property(_config_of)
    return cls


def _register(cls: type) -> None:
    """Add a class; a class of one's own that is defined anew, as in a notebook, replaces the earlier one."""
    module, name = _module_of(cls), cls.__name__
    theirs = next((key for key in _CLASSES if key[1] == name and key[0] is not None), None)
    if module is None and theirs is not None or module is not None and (None, name) in _CLASSES:
        raise ConfigError(f"{(theirs or [module])[0]}: tinyclap has a class {name}; give yours another name")
    _CLASSES[module, name] = cls


def _module_of(cls: type) -> str | None:
    """The module of a class of one's own; None for ours."""
    return None if cls.__module__.split(".")[0] == "tinyclap" else cls.__module__


def _config_of(self: Any) -> dict[str, Any]:
    """What rebuilds an object: ``type``, ``module`` of a class that is not ours, and the constructor's arguments."""
    cls = type(self)
    if "_arguments" not in self.__dict__:
        raise ConfigError(f"{cls.__name__} cannot be saved: write @configurable above its class (tinyclap.config)")
    module = _module_of(cls)
    head = {"type": cls.__name__} if module is None else {"type": cls.__name__, "module": module}
    return head | {
        name: _plain(value, f"{cls.__name__}: {name}") for name, value in self.__dict__["_arguments"].items()
    }


def build(config: dict[str, Any]) -> Any:
    """Rebuild the object of ``{"type": class name, argument: value, …}``; values that are such dicts are built first.

    Example
    -------
    >>> from tinyclap.models.projection import LinearHead
    >>> build(LinearHead(8, 4).config).config["type"]
    'LinearHead'
    """
    if found := unknown_class(config):
        raise ConfigError(found)
    name = config["type"]
    cls = _CLASSES[config.get("module"), name]
    arguments = {key: _built(value) for key, value in config.items() if key not in _RESERVED}
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"the config of {name} does not fit its constructor: {error}") from error
    return cls(**arguments)


def unknown_class(config: Any) -> str | None:
    """What is to be done about the first class of a config, or of one inside it, that is not registered; else None.

    Example
    -------
    >>> unknown_class({"type": "MyNet", "module": "my_net"})
    "it needs the class MyNet of my_net.py: give --import my_net, in Python imports=['my_net'] or import my_net before"
    """
    if isinstance(config, list):
        return next(filter(None, map(unknown_class, config)), None)
    if not isinstance(config, dict):
        return None
    if "type" in config:
        name, module = config["type"], config.get("module")
        if not isinstance(name, str) or not isinstance(module, (str, type(None))):
            return f"no class is called {name!r} of {module!r}"
        if (module, name) not in _CLASSES:
            return _advice(name, module)
    return unknown_class(list(config.values()))


def _advice(name: str, module: str | None) -> str:
    if module is None:
        ours = sorted(known for owner, known in _CLASSES if owner is None)
        return f"unknown type {name!r} in a model's config; known: {', '.join(ours)}"
    if module == "__main__":
        return f"its class {name} was defined in a script or notebook; run that again, or move the class into a module"
    if module in sys.modules:
        return f"the module {module} has no class {name} with @configurable; it was changed since"
    how = f"give --import {module}, in Python imports=[{module!r}] or import {module} before"
    return f"it needs the class {name} of {module.replace('.', '/')}.py: {how}"


def _plain(value: Any, place: str) -> Any:
    """A value as JSON has it; `place` names it in messages."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(getattr(type(value), "config", None), property):
        return value.config
    if isinstance(value, (list, tuple)):
        return [_plain(item, place) for item in value]
    if isinstance(value, dict) and not set(_RESERVED) & set(value) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
    raise ConfigError(
        f"{place} is a {type(value).__name__}, which config.json cannot hold: pass numbers, texts, lists or dicts of "
        "them (without a key 'type' or 'module'), or an object whose class is @configurable (tinyclap.config)"
    )


def _built(value: Any) -> Any:
    if isinstance(value, dict):
        return build(value) if "type" in value else {key: _built(item) for key, item in value.items()}
    return [_built(item) for item in value] if isinstance(value, list) else value
