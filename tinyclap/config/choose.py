"""A choice inside a recipe."""

from typing import Any


def value_if(condition: Any, value: Any, otherwise: Any = None) -> Any:
    """`value` where `condition` is true, else `otherwise`.

    Example
    -------
    >>> value_if(False, "mixtures", "crops")
    'crops'
    """
    return value if condition else otherwise
