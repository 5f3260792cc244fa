"""The sweep: finds what was forgotten, whatever forgot it, and wakes somebody up for it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import redis

from gql_imgproc.db import deliveries, ending, upkeep
from gql_imgproc.db.upkeep import OpenRequest
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import tell, wake
from gql_imgproc.states import StopReason

log = logging.getLogger(__name__)

#: Open requests, and due webhooks, that are looked at together.
PAGE = 500


async def sweep_alone(resources: Resources) -> None:
    """Sweeps unless another process has done so within the pause between sweeps."""
    try:
        mine = await resources.blocking(resources.queue.hold, "sweep", 0.9 * resources.settings.sweep_seconds)
        if mine:
            await sweep(resources)
    except redis.RedisError as error:
        log.warning("sweep put off: Redis is away", extra={"reason": str(error)})


async def sweep(resources: Resources) -> None:
    """Sends the wake-up calls that are missing: to work, to ingest, to finish, to deliver."""
    under_way = await resources.blocking(resources.queue.census)
    woken = 0
    async for found in _open_requests(resources):
        woken += await _look_at(resources, found, under_way)
    due = await resources.db.read(lambda connection: deliveries.due(connection, PAGE))
    for delivery_id in due:
        await tell(resources, lambda delivery_id=delivery_id: resources.queue.deliver(delivery_id))  # type: ignore[misc]  # bound per turn of the loop
    if woken or due:
        log.info("sweep", extra={"woken": woken, "webhooks": len(due)})


async def _look_at(resources: Resources, found: OpenRequest, under_way: Counter[UUID]) -> int:
    request = found.request
    if found.age_s > resources.settings.request_deadline_seconds and request.stop_reason is None:
        await resources.db.write(lambda connection: ending.stop(connection, request.id, StopReason.DEADLINE))
    if found.free and request.ingested_products < request.total_products:
        await tell(resources, lambda: resources.queue.ingest(request.id))
    elif found.free and (request.stop_reason is not None or not request.pending_images):
        await tell(resources, lambda: resources.queue.finish(request.id))
        return 0
    if request.stop_reason is not None:
        return 0
    return await wake(resources, request.id, request.priority, under_way=under_way[request.id])


async def _open_requests(resources: Resources) -> AsyncIterator[OpenRequest]:
    after: UUID | None = None
    while True:
        page = await resources.db.read(lambda connection, after=after: upkeep.open_requests(connection, after, PAGE))  # type: ignore[misc]  # bound per turn of the loop
        for found in page:
            yield found
        if len(page) < PAGE:
            return
        after = page[-1].request.id
