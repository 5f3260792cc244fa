"""Watching a request: its state now, then each newer one, until the final one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from uuid import UUID

from sqlalchemy.exc import OperationalError

from gql_imgproc.messaging.pubsub import Event
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Shortest time between two events of one watcher, in seconds: five a second are as good as a hundred to the eye.
MIN_INTERVAL_SECONDS = 0.2
#: How often the database is asked in case an event was lost: while events flow, and while Redis is away.
CHECK_SECONDS, CHECK_SECONDS_WITHOUT_EVENTS = 5.0, 0.5


async def watch(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> AsyncGenerator[Snapshot]:
    """Snapshots with growing `sequence`, the latest wins; ends after a final status, or when the request is gone."""
    hub = runtime.hub
    # Subscribed first: what is committed after the snapshot was read arrives as an event.
    async with hub.subscribe(request_id) as inbox:
        state = await _read(runtime, tenant_id, request_id)
        if state is None:
            return
        yield state
        while not state.status.is_terminal:
            await asyncio.sleep(MIN_INTERVAL_SECONDS)
            event = await inbox.take(CHECK_SECONDS if hub.is_connected else CHECK_SECONDS_WITHOUT_EVENTS)
            newer = _parse(event)
            if newer is None:
                try:
                    newer = await _read(runtime, tenant_id, request_id)
                except OperationalError:
                    # The database is away: no news, as long as it is.
                    continue
                if newer is None:
                    return
            if newer.sequence > state.sequence:
                state = newer
                yield state


def _parse(event: Event | None) -> Snapshot | None:
    """None when no event came, or one of another version: then the state is read from the database."""
    if event is None:
        return None
    try:
        return Snapshot.from_json(event.body)
    except (KeyError, TypeError, ValueError):
        log.warning("invalid progress event", extra={"sequence": event.sequence})
        return None


async def _read(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    return await runtime.db.read(queries.get_request, tenant_id, request_id)
