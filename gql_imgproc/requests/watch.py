"""Watching a request: its state now, then each newer one, until the final one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

from sqlalchemy.exc import OperationalError

from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Resources

#: Shortest time between two events of one watcher, in seconds: five a second are as good as a hundred to the eye.
MIN_INTERVAL_SECONDS = 0.2
#: How often the database is asked in case an event was lost: while events flow, and while Redis is away.
CHECK_SECONDS, CHECK_SECONDS_WITHOUT_EVENTS = 5.0, 0.5


async def watch(resources: Resources, tenant_id: UUID, request_id: UUID) -> AsyncGenerator[Snapshot]:
    """Snapshots with growing `sequence`, the latest wins; ends after a final status, or when the request is gone."""
    hub = resources.hub
    # Subscribed first: what is committed after the snapshot was read arrives as an event.
    async with hub.subscribe(request_id) as inbox:
        state = await _read(resources, tenant_id, request_id)
        if state is None:
            return
        yield state
        while not state.status.final:
            await asyncio.sleep(MIN_INTERVAL_SECONDS)
            newer = await inbox.take(CHECK_SECONDS if hub.connected else CHECK_SECONDS_WITHOUT_EVENTS)
            if newer is None:
                try:
                    newer = await _read(resources, tenant_id, request_id)
                except OperationalError:
                    # The database is away: no news, as long as it is.
                    continue
                if newer is None:
                    return
            if newer.sequence > state.sequence:
                state = newer
                yield state


async def _read(resources: Resources, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    return await resources.db.read(lambda connection: queries.request(connection, tenant_id, request_id))
