"""Prompts: class names in sentence templates.

Source of the templates: the official tinyCLAP code ("this is the sound of "), the CLAP paper and repository ("this is
a sound of "). The official code leaves UrbanSound8K's underscores in (defect D13); ``underscores="keep"`` does.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinyclap.errors import ConfigError

TINYCLAP_TEMPLATE = "this is the sound of {}"
CLAP_TEMPLATE = "this is a sound of {}"
ENSEMBLE = ("{}", "the sound of {}", "this is a sound of {}", "a recording of {}", "{} can be heard")
_REPLACEMENTS = {"space": " ", "or": " or ", "keep": ""}


def readable(class_name: str, underscores: str = "space", slashes: str = "space") -> str:
    """A class name as a person would write it; each key is "space", "or" (``" or "``) or "keep".

    Example
    -------
    >>> readable("cafe/restaurant", slashes="or"), readable("air_conditioner")
    ('cafe or restaurant', 'air conditioner')
    """
    for key, character, value in (("underscores", "_", underscores), ("slashes", "/", slashes)):
        if value not in _REPLACEMENTS:
            raise ConfigError(f"prompts: {key}={value!r}; choose 'space', 'or' or 'keep'")
        if value != "keep":
            class_name = class_name.replace(character, _REPLACEMENTS[value])
    return class_name


def make_prompts(
    class_names: Iterable[str],
    templates: str | Iterable[str] = TINYCLAP_TEMPLATE,
    underscores: str = "space",
    slashes: str = "space",
) -> list[list[str]]:
    """The prompts of each of N classes by each of K templates: list of list of str, N × K.

    Arguments
    ---------
    class_names : sequence of str
    templates : str or sequence of str. Each with exactly one ``{}``; the embeddings of several are averaged.
    underscores, slashes : str. See :func:`readable`.

    Example
    -------
    >>> make_prompts(["dog_bark"], "this is the sound of {}")
    [['this is the sound of dog bark']]
    """
    templates = [templates] if isinstance(templates, str) else list(templates)
    if not templates:
        raise ConfigError("prompts: no template was given, so the classes have no text")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ConfigError(f"prompt template {template!r} must hold the class name's place, {{}}, exactly once")
    names = [readable(name, underscores, slashes) for name in class_names]
    return [[template.replace("{}", name) for template in templates] for name in names]
