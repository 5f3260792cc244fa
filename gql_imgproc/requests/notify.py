"""Publishes committed changes and enqueues messages.

A lost message does no harm: watchers poll the database, and reconcile enqueues missing work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

import redis
from sqlalchemy import Connection

from gql_imgproc.enums import Priority
from gql_imgproc.messaging.queue import Census
from gql_imgproc.metrics import ENQUEUE_FAILURES
from gql_imgproc.requests.repository import work_queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)


async def best_effort(runtime: Runtime, *calls: Callable[[], object]) -> None:
    """Makes calls to Redis on one thread. A failure is logged only: reconcile repeats the call."""

    def call_all() -> None:
        for call in calls:
            call()

    try:
        await runtime.run_blocking(call_all)
    except redis.RedisError as error:
        ENQUEUE_FAILURES.inc()
        log.warning("message not enqueued; the next reconcile sends it", extra={"reason": str(error)})


async def publish(runtime: Runtime, snapshot: Snapshot) -> None:
    """Sends the snapshot to all watchers of the request."""
    await best_effort(runtime, lambda: runtime.publisher.publish(snapshot.id, snapshot.to_event()))


async def enqueue_workers(runtime: Runtime, request_id: UUID, priority: Priority, census: Census | None = None) -> int:
    """Enqueues one message per claimable product, up to the request's share, minus those already queued.

    Returns how many were missing. If Redis is unavailable, the next reconcile enqueues them.
    """
    window, queue = runtime.settings.window, runtime.queue

    def count(connection: Connection) -> tuple[int, int]:
        claimable = work_queries.count_claimable(connection, request_id, window)
        return claimable, share_of(window, work_queries.count_open_siblings(connection, request_id)) if claimable else 0

    claimable, share = await runtime.db.read(count)
    if not claimable:
        return 0
    if census is None:
        try:
            census = await runtime.run_blocking(queue.census)
        except redis.RedisError:
            return 0
    empty = [slot for slot in range(share) if slot not in census.images[request_id]]
    missing = empty[: max(0, claimable - (share - len(empty)))]
    await best_effort(runtime, lambda: queue.enqueue_work(request_id, priority, missing))
    return len(missing)


async def share_out(runtime: Runtime, tenant_id: UUID) -> None:
    """Gives the share of a finished request to the other open requests of its tenant, if their shares grow."""
    window = runtime.settings.window
    others = await runtime.db.read(work_queries.list_open_of_tenant, tenant_id, window)
    if not others or share_of(window, len(others)) == share_of(window, len(others) + 1):
        return
    try:
        census = await runtime.run_blocking(runtime.queue.census)
    except redis.RedisError:
        return
    for request_id, priority in others:
        await enqueue_workers(runtime, request_id, priority, census)


def share_of(window: int, open_requests: int) -> int:
    """Messages per open request of a tenant: at least one, or a request would never finish."""
    return max(1, window // max(1, open_requests))
