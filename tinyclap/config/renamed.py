"""Module names of 0.1 that still import, with a DeprecationWarning, and packages whose names load when first used."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tinyclap.errors import ConfigError

RENAMED = {
    "caption_metrics": "metrics.captioning",
    "configurable": "config.registry",
    "distill_losses": "losses.distillation",
    "download": "published.download",
    "hub": "inference.hub",
    "label_bank": "text.bank",
    "many_clips": "audio.batch",
    "model_card": "inference.model_card",
    "probe": "inference.probe",
    "prompts": "text.prompts",
    "resample": "features.resample",
    "search_index": "search.index",
    "shipped": "config.shipped",
    "window_policy": "audio.windows",
    "windows": "features.windows",
}


class RenamedModules:
    """A finder for ``sys.meta_path``: the old name gives the module itself."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for an old name; None for any other."""
        parent, _, child = name.rpartition(".")
        is_old = parent == "tinyclap" and child in RENAMED
        return ModuleSpec(name, self) if is_old else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system's default."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the renamed module in the place of `module`."""
        new = f"tinyclap.{RENAMED[module.__name__.rpartition('.')[2]]}"
        warnings.warn(f"{module.__name__} is now {new}", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(new)


def install_renamed_modules() -> None:
    """Make the old names importable; they are looked up last."""
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        sys.meta_path.append(RenamedModules())


def lazy_names(package: str, **names: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose public `names` load their submodule when they are first used.

    Example
    -------
    >>> load, _ = lazy_names("tinyclap.config", DEFAULT_MODEL="shipped")
    >>> load("DEFAULT_MODEL")
    'tinyclap-phinet-m'
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f"{package}.{names[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name == "torch":
                raise ConfigError(f"{name} needs torch; run: pip install 'tinyclap[train]'") from error
            raise

    ours = {"TYPE_CHECKING", "install_renamed_modules", "lazy_names"}
    return load, lambda: sorted({*vars(sys.modules[package]), *names} - ours)
