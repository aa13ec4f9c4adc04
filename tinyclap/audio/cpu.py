"""What computes here: the processor's name, the instructions that it has, and how many cores a process may use."""

import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# those that inference engines look for
_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "bf16",
)


def processor():
    """Name of the processor, as Linux has it; elsewhere what Python knows, or the machine's kind: str.

    Example
    -------
    >>> bool(processor())
    True
    """
    return _line("model name") or platform.processor() or platform.machine()


def instructions():
    """Which instructions it has of those that inference engines look for: list of str; empty where Linux does not say.

    Example
    -------
    >>> isinstance(instructions(), list)
    True
    """
    has = set(_line("flags|Features").split())
    return [name for name in _INSTRUCTIONS if name in has]


def n_cores():
    """How many cores this process may use: int.

    Example
    -------
    >>> n_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _line(names):
    """What the first line of one of these names says of the processor; empty where there is none."""
    text = _CPUINFO.read_text() if _CPUINFO.is_file() else ""
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
