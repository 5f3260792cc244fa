"""The sweep: finds what was forgotten, whatever forgot it, and wakes somebody up for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.db import deliveries, ending, upkeep
from gql_imgproc.db.upkeep import OpenRequest
from gql_imgproc.io.queue import DELIVER, FINISH, INGEST, Census
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import tell, wake
from gql_imgproc.states import StopReason

log = logging.getLogger(__name__)

#: Open requests, and due webhooks, that are looked at together.
PAGE = 500
#: Share of the pause between two sweeps for which one keeps others from sweeping: less than the shortest pause.
HOLD_SHARE = 0.7


async def sweep_alone(resources: Resources) -> None:
    """Sweeps unless another process has done so within the pause between sweeps."""
    try:
        hold_s = HOLD_SHARE * resources.settings.sweep_seconds
        if await resources.blocking(resources.queue.hold, "sweep", hold_s):
            await sweep(resources)
    except redis.RedisError as error:
        log.warning("sweep put off: Redis is away", extra={"reason": str(error)})


async def sweep(resources: Resources) -> None:
    """Sends the wake-up calls that are missing: to work, to ingest, to finish, to deliver."""
    census = await resources.blocking(resources.queue.census)
    async for found in _open_requests(resources):
        try:
            await _look_at(resources, found, census)
        except redis.RedisError:
            raise
        except Exception:
            # The others are not to wait for the one that cannot be helped.
            log.exception("sweep of one request failed", extra={"request": str(found.request.id)})
    due = await resources.db.read(lambda connection: deliveries.due(connection, PAGE))
    missing = [delivery_id for delivery_id in due if not census.control[DELIVER, delivery_id]]
    await tell(resources, *(partial(resources.queue.deliver, delivery_id) for delivery_id in missing))


async def _look_at(resources: Resources, found: OpenRequest, census: Census) -> None:
    request, stop_reason = found.request, found.request.stop_reason
    if stop_reason is None and found.age_s > resources.settings.request_deadline_seconds:
        stop_reason = StopReason.DEADLINE
        await resources.db.write(lambda connection: ending.stop(connection, request.id, StopReason.DEADLINE))
    if found.free and request.needs_rows and not census.control[INGEST, request.id]:
        await tell(resources, lambda: resources.queue.ingest(request.id))
    ending_now = stop_reason is not None or not request.pending_images
    if found.free and ending_now and not request.needs_rows and not census.control[FINISH, request.id]:
        await tell(resources, lambda: resources.queue.finish(request.id))
    if not ending_now:
        await wake(resources, request.id, request.priority, census)


async def _open_requests(resources: Resources) -> AsyncIterator[OpenRequest]:
    after: UUID | None = None
    while True:
        page = await resources.db.read(lambda connection, after=after: upkeep.open_requests(connection, after, PAGE))  # type: ignore[misc]  # bound per turn of the loop
        for found in page:
            yield found
        if len(page) < PAGE:
            return
        after = page[-1].request.id
