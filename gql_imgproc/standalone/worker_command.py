"""The command line and environment of worker processes."""

from __future__ import annotations

import sys

from gql_imgproc.messaging.queue import WORKER_THREADS
from gql_imgproc.settings import Settings
from gql_imgproc.system.process import cpu_count


def worker_command(processes: int = 1) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "dramatiq", "worker_main"),
        *("--processes", str(processes), "--threads", str(WORKER_THREADS)),
        # `worker_main` sets up the log.
        "--skip-logging",
    )


def worker_environment(settings: Settings, processes: int) -> dict[str, str]:
    """Settings of worker processes that share this machine, and of Dramatiq in them."""
    return {
        "IMGPROC_CPU_SLOTS": str(settings.cpu_slots or max(1, cpu_count() // processes)),
        # Milliseconds before a consumer that lost Redis reconnects; the default is three seconds.
        "dramatiq_restart_delay": "500",
    }
