"""Telling others what was committed. What is lost here is healed: watchers look at the database, workers are swept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

import redis

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import upkeep
from gql_imgproc.resources import Resources
from gql_imgproc.states import Priority

log = logging.getLogger(__name__)


async def tell(resources: Resources, *calls: Callable[[], None]) -> None:
    """Makes calls to Redis on one thread hop; one that fails is logged, since a sweep makes it again."""

    def call_all() -> None:
        for call in calls:
            call()

    try:
        await resources.blocking(call_all)
    except redis.RedisError as error:
        log.warning("Redis did not take a message; the next sweep sends it", extra={"reason": str(error)})


async def publish(resources: Resources, snapshot: Snapshot) -> None:
    """Tells all who watch the request."""
    await tell(resources, lambda: resources.publisher.publish(snapshot))


async def wake(resources: Resources, request_id: UUID, priority: Priority, *, under_way: int = 0) -> int:
    """Sends as many wake-up calls as there are products to claim, up to the window; how many that were."""
    window = resources.settings.window
    claimable = await resources.db.read(lambda connection: upkeep.claimable(connection, request_id, window))
    missing = max(0, min(window, claimable) - under_way)
    if missing:
        await tell(resources, lambda: resources.queue.work_on(request_id, priority, missing))
    return missing
