"""The terms of a recipe's loss: ``{name: {loss: module, student: output, teacher: target, weight: 1.0}}``."""

from typing import NamedTuple

from torch import nn

from tinyclap.errors import ConfigError


class Term(NamedTuple):
    """A term of the loss: ``weight · loss(student output, teacher target)``."""

    loss: nn.Module
    weight: float = 1.0
    student: str | None = None
    teacher: str | None = None


def read_terms(terms):
    """The terms with a weight above 0 of the YAML's `terms`: dict of name → Term.

    Raises
    ------
    ConfigError: A term is malformed, or none has a weight above 0.

    Example
    -------
    >>> terms = {"mse": {"loss": nn.MSELoss(), "student": "clip", "teacher": "clip"}, "off": {"weight": 0}}
    >>> read_terms(terms)
    {'mse': Term(loss=MSELoss(), weight=1.0, student='clip', teacher='clip')}
    """
    if not isinstance(terms, dict):
        raise ConfigError("terms is no map; write terms: {name: {loss: …, student: clip, teacher: clip, weight: 1.0}}")
    active = {}
    for name, fields in terms.items():
        fields = {} if fields is None else fields
        unknown = set(fields) - set(Term._fields) if isinstance(fields, dict) else {repr(fields)}
        if unknown:
            known = ", ".join(Term._fields)
            raise ConfigError(f"the term {name!r} has {', '.join(sorted(unknown))}; a term is a map of {known}")
        weight = fields.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ConfigError(f"the term {name!r} has weight {weight!r}; it is a number from 0 on (0: not computed)")
        if weight == 0:
            continue
        if not isinstance(fields.get("loss"), nn.Module):
            raise ConfigError(f"the term {name!r} has no loss; give a module, as loss: !new:tinyclap.losses.CosineLoss")
        if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"a term cannot be called {name!r}; take a plain word that is no method of a dict")
        active[name] = Term(**{**fields, "weight": float(weight)})
    if not active:
        raise ConfigError("every term has weight 0: there is nothing to learn; give one of terms a weight above 0")
    return active
