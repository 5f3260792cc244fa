"""How workers are started: `dramatiq worker_main` with our defaults."""

from __future__ import annotations

import sys

from gql_imgproc.processes import cores
from gql_imgproc.settings import Settings

#: Control, and pictures of three priorities.
QUEUES = 4


def worker_command(settings: Settings, processes: int = 1) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "dramatiq", "worker_main"),
        # A thread for each message that can have been fetched: none waits behind others, control behind none.
        *("--processes", str(processes), "--threads", str(QUEUES * settings.worker_threads)),
        # The log is set up by `worker_main`.
        "--skip-logging",
    )


def worker_environment(settings: Settings, processes: int) -> dict[str, str]:
    """Settings of worker processes that share this machine, and of Dramatiq within them."""
    return {
        "IMGPROC_CPU_SLOTS": str(settings.cpu_slots or max(1, cores() // processes)),
        # Per queue.
        "dramatiq_queue_prefetch": str(settings.worker_threads),
        # Milliseconds between two looks at an empty queue: at 100 picks up in 27 ms, at the default of 1,000 in 216.
        "dramatiq_worker_timeout": str(round(1000 * settings.poll_seconds)),
        # Milliseconds before a consumer that lost Redis tries again; the default is three seconds.
        "dramatiq_restart_delay": "500",
    }
