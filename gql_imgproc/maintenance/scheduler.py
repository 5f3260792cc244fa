"""Periodic tasks, each run by one process at a time: reconcile, expiry, unused images, orphan cleanup."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import redis

from gql_imgproc.errors import DatabaseUnavailable, StorageError
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.maintenance.retention import (
    delete_expired_requests,
    delete_exported_audit_events,
    delete_old_deliveries,
    delete_orphans,
    delete_unused_renditions,
)
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Share of `SWEEP_SECONDS` for which the leader lock is held: less than the shortest pause of the scheduler loop.
SWEEP_SHARE = 0.7
#: Interval between two cleanups, in seconds. Unreferenced objects must be deleted at most ten minutes after their grace
#: time: that leaves room for a cleanup that fails, and for the next one.
CLEANUP_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    name: str
    #: Returns how many items it handled.
    run: Callable[[Runtime], Awaitable[int]]
    #: No process runs the task again within this time after it started.
    interval_s: float


def periodic_tasks(runtime: Runtime) -> list[PeriodicTask]:
    sweep_s = SWEEP_SHARE * runtime.settings.sweep_seconds
    return [
        PeriodicTask("reconcile", reconcile, sweep_s),
        PeriodicTask("expiry", delete_expired_requests, CLEANUP_SECONDS),
        PeriodicTask("renditions", delete_unused_renditions, CLEANUP_SECONDS),
        PeriodicTask("orphans", delete_orphans, CLEANUP_SECONDS),
        PeriodicTask("deliveries", delete_old_deliveries, CLEANUP_SECONDS),
        PeriodicTask("audit_log", delete_exported_audit_events, CLEANUP_SECONDS),
    ]


def run_periodic_tasks(runtime: Runtime) -> None:
    """Starts each due task in the background, unless it is still running in this process."""
    for task in periodic_tasks(runtime):
        runtime.background.start(("task", task.name), partial(run_as_leader, runtime, task))


async def run_as_leader(runtime: Runtime, task: PeriodicTask) -> None:
    """Runs a task and records the run, unless a process has started the task within its interval."""
    started_at = time.monotonic()
    try:
        if not await runtime.run_blocking(runtime.leader_locks.try_acquire, task.name, task.interval_s):
            return
        items = await task.run(runtime)
    except (redis.RedisError, StorageError, DatabaseUnavailable) as error:
        log.warning("periodic task postponed", extra={"task": task.name, "reason": str(error)})
        return
    await best_effort(runtime, partial(runtime.leader_locks.record_run, task.name, items))
    log.log(
        logging.INFO if items else logging.DEBUG,
        "periodic task completed",
        extra={"task": task.name, "items": items, "seconds": round(time.monotonic() - started_at, 3)},
    )
