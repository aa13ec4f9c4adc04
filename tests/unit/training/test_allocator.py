"""Freed memory is kept where glibc is, and a reason is given where it is not."""

import os
import subprocess
import sys

import pytest

from tinyclap.training import allocator
from tinyclap.training.allocator import keep_freed_memory

# Peak of the resident memory once a block of 64 MB was freed, and what the process holds then, in MB.
_HELD = """
import ctypes, sys
from tinyclap.training.allocator import keep_freed_memory
kept = keep_freed_memory(sys.argv[1] == "yes")[0]
malloc = ctypes.CDLL(None).malloc
free = ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
block = malloc(64 << 20)
ctypes.memset(block, 1, 64 << 20)
free(block)
with open("/proc/self/status") as status:
    held = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(kept, held // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_a_freed_block_stays_with_the_process_when_asked_for():
    def held(wanted):
        command = [sys.executable, "-c", _HELD, wanted]
        # not tuned from outside, as whoever runs the tests may be
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
        kept, megabytes = answer.stdout.split()
        return kept == "True", int(megabytes)

    kept, with_it = held("yes")
    if not kept:
        pytest.skip("this C library is not glibc")
    given_back, without_it = held("no")
    assert not given_back and with_it > without_it + 50


def test_nothing_is_set_unasked():
    assert keep_freed_memory(False) == (False, "not asked for")


def test_elsewhere_it_says_why_not(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert keep_freed_memory() == (False, "darwin has no glibc")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() == (False, "the C library is not glibc")
