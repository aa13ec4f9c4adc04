"""Keep memory that was freed, so that the next training step need not fetch it from the kernel page by page again.

glibc gives large blocks back when they are freed, and every new one comes as pages that the kernel clears at the first
touch. A training step frees and asks for gigabytes, so on CPUs more than half of its time can go into that.
"""

import ctypes
import logging
import sys

logger = logging.getLogger(__name__)

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory(wanted=True):
    """Let this process keep what it frees, for its own next use; once, before the first large tensor.

    Arguments
    ---------
    wanted : bool
        False does nothing, for a recipe's key.

    Returns
    -------
    bool
        Whether freed memory is kept now.
    str
        Why not, or what was set.

    Notes
    -----
    ``mallopt(M_MMAP_MAX, 0)`` and ``mallopt(M_TRIM_THRESHOLD, −1)``. The cost is memory: what a process ever used stays
    its own, with gaps between blocks of different sizes, so its peak grows (``benchmarks/training_step.py`` measures it
    both ways). Only with glibc, so not on macOS, on Windows, or with musl.

    Example
    -------
    >>> keep_freed_memory(False)
    (False, 'not asked for')
    """
    if not wanted:
        return False, "not asked for"
    kept, reason = _keep()
    if not kept:
        logger.warning("freed memory cannot be kept here: %s", reason)
    return kept, reason


def _keep():
    if not sys.platform.startswith("linux"):
        return False, f"{sys.platform} has no glibc"
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
        return False, "the C library is not glibc"
    set_all = [libc.mallopt(_M_MMAP_MAX, 0), libc.mallopt(_M_TRIM_THRESHOLD, -1)]
    if not all(set_all):
        return False, f"mallopt refused: {set_all}"
    return True, "mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1)"
