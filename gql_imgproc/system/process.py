"""Operating system limits and memory allocator of a process, its CPU count, and its end when its parent dies.

Run as a module, it executes a command that dies with the parent:
`python -m gql_imgproc.system.process PARENT_PID COMMAND ARGUMENT…`.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.platform != "win32":
    import resource

#: `prctl` option: the signal that the kernel sends when the parent dies. It survives `exec` but not `fork`.
_PR_SET_PDEATHSIG = 1
_HAS_GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
#: Numbers of these parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Unused memory at the end of a heap, in bytes, above which glibc returns it to the kernel.
TRIM_THRESHOLD_BYTES = 256 * 2**20
#: Size of an allocation, in bytes, from which glibc maps and unmaps pages for it alone. It accepts no higher value.
MMAP_THRESHOLD_BYTES = 32 * 2**20
#: Exit status of a worker that cannot start; its `dramatiq` master exits with the same status. It is EX_CONFIG of
#: sysexits.h, because Dramatiq itself uses 1 for any child that was killed.
CANNOT_START = 78
#: Header of `/readyz` with the token of the `up` that started the API.
STARTED_BY_HEADER = "Imgproc-Started-By"
#: A second stop signal within this time, in seconds, is ignored: `timeout` and systemd signal a process and its group,
#: and Dramatiq's master passes on to its processes what they have received already.
REPEAT_S = 1.0


def die_with_parent(parent_pid: int | None = None) -> None:
    """Makes the kernel kill this process when its parent dies for any reason. Linux only; elsewhere it does nothing.

    The kernel watches the *thread* that started this process, so start children from a thread that stays alive.
    A fork must call this again.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    expected = parent_pid or (parent.pid if parent else None)
    # The parent may have died before the call above.
    if expected is not None and os.getppid() != expected:
        os.kill(os.getpid(), signal.SIGKILL)


def limit_memory(size_bytes: int) -> None:
    """Limits the virtual memory of this process, so that a large allocation fails instead of exhausting the machine.

    Does nothing if the platform has no such limit or already has a lower one.
    """
    if sys.platform == "win32":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or size_bytes < hard:
        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, hard))


def reuse_freed_memory() -> bool:
    """Lets the memory of a bitmap be used for the next one, instead of returning it to the kernel after each image.

    Returns True if the allocator was set. Does nothing if the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if _HAS_GLIBC else None
    # The trim threshold alone costs CPU, so it is set last.
    return (
        mallopt is not None
        and mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) == 1
        and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES) == 1
    )


def raise_descriptor_limit(wanted: int) -> int:
    """Raises the limit of open files and connections to `wanted`, or to the hard limit. Returns the new limit."""
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    return wanted if soft == resource.RLIM_INFINITY else soft


def wrap_die_with_parent(parent_pid: int, command: Sequence[str]) -> list[str]:
    """Returns a command that runs `command` and dies with `parent_pid`, which must be the process that starts it."""
    return [sys.executable, "-m", "gql_imgproc.system.process", str(parent_pid), *command]


def cpu_count() -> int:
    """Returns the number of cores this process may use, by its CPU affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        # There is no such control group, or its quota is the word `max`.
        return cores


def run_cli(arguments: Sequence[str]) -> None:
    parent_pid, *command = arguments
    die_with_parent(int(parent_pid))
    os.execvp(command[0], command)


if __name__ == "__main__":
    run_cli(sys.argv[1:])
