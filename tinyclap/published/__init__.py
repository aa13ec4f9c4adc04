"""Networks as their authors released them, loaded by name."""

from typing import TYPE_CHECKING

from tinyclap.config.renamed import lazy_names

if TYPE_CHECKING:
    from tinyclap.published.networks import load_published as load_published
else:
    __getattr__, __dir__ = lazy_names(__name__, load_published="networks")
