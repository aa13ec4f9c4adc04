"""CPU information: the processor's name, its instruction sets, and how many cores this process may use."""

import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# those that inference engines look for
_INSTRUCTIONS = "avx2 avx512f avx512_vnni avx512_bf16 avx_vnni amx_bf16 amx_int8 asimddp bf16".split()


def processor():
    """Name of the processor, as Linux has it; elsewhere what Python knows."""
    return _line("model name") or platform.processor() or platform.machine()


def instructions():
    """Its instruction sets that inference engines use; empty where Linux does not say."""
    has = set(_line("flags|Features").split())
    return [name for name in _INSTRUCTIONS if name in has]


def n_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _line(names):
    text = _CPUINFO.read_text() if _CPUINFO.is_file() else ""
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
