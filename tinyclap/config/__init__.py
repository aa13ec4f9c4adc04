"""Objects that remember how they were built, so that JSON alone can rebuild them; modules of one's own."""

from tinyclap.config.own_modules import import_modules as import_modules
from tinyclap.config.registry import configurable as configurable
