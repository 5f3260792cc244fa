"""The duties that one process at a time does for all: sweeping, retrying by itself, cleaning."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import redis
from sqlalchemy.exc import OperationalError

from gql_imgproc.errors import StorageError
from gql_imgproc.maintenance.reconcile import reconcile, run_auto_retries
from gql_imgproc.maintenance.retention import delete_expired_requests, delete_orphans
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Share of the pause between two sweeps for which one keeps others from sweeping: less than the shortest pause.
SWEEP_SHARE = 0.7
#: Pause between two cleanings, in seconds.
CLEANING_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """`do` tells on how many things it was done; nobody else does it for `pause_s` from its beginning."""

    name: str
    do: Callable[[Runtime], Awaitable[int]]
    pause_s: float


def periodic_tasks(runtime: Runtime) -> list[PeriodicTask]:
    sweep_s = SWEEP_SHARE * runtime.settings.sweep_seconds
    return [
        PeriodicTask("sweep", reconcile, sweep_s),
        PeriodicTask("retry", run_auto_retries, sweep_s),
        PeriodicTask("expiry", delete_expired_requests, CLEANING_SECONDS),
        PeriodicTask("orphans", delete_orphans, CLEANING_SECONDS),
    ]


def run_periodic_tasks(runtime: Runtime) -> None:
    """Begins, in the background, each duty that no other process has done in its pause, unless it is going on here."""
    for duty in periodic_tasks(runtime):
        runtime.background.start(("duty", duty.name), partial(run_as_leader, runtime, duty))


async def run_as_leader(runtime: Runtime, duty: PeriodicTask) -> None:
    """Does a duty, unless another process has done so within its pause; leaves an account of it."""
    began = time.monotonic()
    try:
        if not await runtime.run_blocking(runtime.leader_locks.try_acquire, duty.name, duty.pause_s):
            return
        items = await duty.do(runtime)
    except (redis.RedisError, StorageError, OperationalError) as error:
        log.warning("a duty is put off", extra={"duty": duty.name, "reason": str(getattr(error, "orig", error))})
        return
    await best_effort(runtime, partial(runtime.leader_locks.record_run, duty.name, items))
    log.log(
        logging.INFO if items else logging.DEBUG,
        "duty done",
        extra={"duty": duty.name, "items": items, "seconds": round(time.monotonic() - began, 3)},
    )
