"""Processes: how many a machine can feed, and that none outlives its parent.

Run as a module, it becomes another program that ends with its parent:
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

#: `prctl` option: the signal that the kernel sends when the parent ends. Survives `exec`, not `fork`.
_PR_SET_PDEATHSIG = 1
#: Exit status of a worker that cannot be started as things are; its `dramatiq` master ends with the same. The shell's
#: EX_CONFIG: Dramatiq itself has 1 for whatever was killed.
CANNOT_START = 78


def die_with_parent(parent_pid: int | None = None) -> None:
    """Has the kernel kill this process when its parent ends, however it ends. Does nothing but on Linux.

    Strictly, when the parent's *thread* ends that started us: start children from a thread that stays.
    A program that forks must have each fork call this again.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    expected = parent_pid or (parent.pid if parent else None)
    # The parent may have ended before the call above.
    if expected is not None and os.getppid() != expected:
        os.kill(os.getpid(), signal.SIGKILL)


def limit_memory(size: int) -> None:
    """Lets this process map at most `size` bytes of address space: what needs more fails instead of the machine.

    Does nothing where the platform has no such limit, or has a lower one already.
    """
    if sys.platform == "win32":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or size < hard:
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def raise_descriptor_limit(most: int) -> int:
    """Lets this process open up to `most` files and connections, if its hard limit allows; says how many it may."""
    if sys.platform == "win32":
        return most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return most if soft == resource.RLIM_INFINITY else soft


def pin_to_cpus(parent_pid: int, command: Sequence[str]) -> list[str]:
    """`command`, changed so that it ends with `parent_pid`, which must be the process that starts it."""
    return [sys.executable, "-m", "gql_imgproc.system.process", str(parent_pid), *command]


def cpu_count() -> int:
    """Cores that this process may use: its affinity and its container's quota are heeded."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(mine, int(quota) // int(period)))
    except (OSError, ValueError):
        # No such control group, or its quota is the word `max`.
        return mine


def run_cli(arguments: Sequence[str]) -> None:
    parent_pid, *command = arguments
    die_with_parent(int(parent_pid))
    os.execvp(command[0], command)


if __name__ == "__main__":
    run_cli(sys.argv[1:])
