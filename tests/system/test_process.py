"""Settings of a process and its memory allocator."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from gql_imgproc.system import process

#: Wraps `mallopt`, and prints its calls and results.
PRINT_CALLS = """
import ctypes
from gql_imgproc.system import process

libc = ctypes.CDLL(None)
class Recorder:
    def mallopt(self, parameter, value):
        result = libc.mallopt(parameter, value)
        print(parameter, value, result)
        return result

process.ctypes.CDLL = lambda name: Recorder()
print(process.reuse_freed_memory())
"""
HAS_GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})


@pytest.mark.skipif(not HAS_GLIBC, reason="needs glibc")
def test_glibc_accepts_both_thresholds() -> None:
    # In a new process, since this setting of the allocator cannot be undone.
    done = subprocess.run([sys.executable, "-c", PRINT_CALLS], capture_output=True, text=True, check=True)

    # The numbers are M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h; a result of 1 is success.
    assert done.stdout.splitlines() == [f"-3 {32 * 2**20} 1", f"-1 {256 * 2**20} 1", "True"]


def test_another_c_library_is_unaffected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_HAS_GLIBC", False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("the C library was loaded"))

    assert process.reuse_freed_memory() is False


def test_trim_threshold_is_not_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class SmallHeaps:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append(parameter)
            return 0

    monkeypatch.setattr(process, "_HAS_GLIBC", True)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SmallHeaps())

    assert process.reuse_freed_memory() is False
    assert calls == [-3]
