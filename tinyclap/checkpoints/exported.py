"""Earlier place of :mod:`tinyclap.checkpoints.folder`."""

from tinyclap.checkpoints.folder import CONFIG, FORMAT, checked_file, sha256_of  # noqa: F401
from tinyclap.checkpoints.folder import read_export as read_config  # noqa: F401

file_sha256 = sha256_of
