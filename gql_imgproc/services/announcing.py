"""Telling others what was committed. What is lost here is healed: watchers look at the database, workers are swept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

import redis

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import upkeep
from gql_imgproc.io.queue import Census
from gql_imgproc.metrics import MESSAGES_REFUSED
from gql_imgproc.resources import Resources
from gql_imgproc.states import Priority

log = logging.getLogger(__name__)


async def tell(resources: Resources, *calls: Callable[[], object]) -> None:
    """Makes calls to Redis on one thread hop; one that fails is logged, since a sweep makes it again."""

    def call_all() -> None:
        for call in calls:
            call()

    try:
        await resources.blocking(call_all)
    except redis.RedisError as error:
        MESSAGES_REFUSED.inc()
        log.warning("Redis did not take a message; the next sweep sends it", extra={"reason": str(error)})


async def publish(resources: Resources, snapshot: Snapshot) -> None:
    """Tells all who watch the request."""
    await tell(resources, lambda: resources.publisher.publish(snapshot))


async def wake(resources: Resources, request_id: UUID, priority: Priority, census: Census | None = None) -> int:
    """Sends as many wake-up calls as there are products to claim, up to the window, less those on their way.

    How many were missing; when Redis did not take them, the next sweep finds the same ones.
    """
    window, queue = resources.settings.window, resources.queue
    claimable = await resources.db.read(lambda connection: upkeep.claimable(connection, request_id, window))
    if not claimable:
        return 0
    if census is None:
        try:
            census = await resources.blocking(queue.census)
        except redis.RedisError:
            return 0
    missing = max(0, claimable - census.pictures[request_id])
    await tell(resources, lambda: queue.work_on(request_id, priority, missing))
    return missing
