"""``local_files_only``: whether what is called from here may use the network."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar

_is_local = ContextVar("local_files_only", default=False)


@contextlib.contextmanager
def local_files_only(is_local: bool) -> Iterator[None]:
    """Within the block, :func:`hub_options` is ``{"local_files_only": True}`` where `is_local`.

    Example
    -------
    >>> with local_files_only(True):
    ...     hub_options()
    {'local_files_only': True}
    """
    if is_local:
        disable_hub_telemetry()
    token = _is_local.set(is_local or _is_local.get())
    try:
        yield
    finally:
        _is_local.reset(token)


def hub_options() -> dict[str, bool]:
    """What to give to every ``from_pretrained`` of `transformers`."""
    return {"local_files_only": True} if _is_local.get() else {}


def disable_hub_telemetry() -> None:
    """Keep `huggingface_hub` (≥ 2) from a request of its own for who runs it, which local_files_only does not stop."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if constants := sys.modules.get("huggingface_hub.constants"):  # it has read the environment already
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
