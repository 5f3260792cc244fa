"""Watches a request, or a list of requests: yields the current state, then newer ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.messaging.pubsub import Event
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot, list_channel, progress_channel
from gql_imgproc.runtime import Runtime

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Minimum time between two events of one watcher: people cannot follow more than five per second.
MIN_INTERVAL_SECONDS = 0.2
#: Minimum time between two reads of a list: each reads a page.
LIST_INTERVAL_SECONDS = 1.0
#: Interval for polling the database in case an event was lost: with Redis, and while Redis is unavailable.
POLL_SECONDS, POLL_SECONDS_WITHOUT_REDIS = 5.0, 0.5


async def watch(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> AsyncGenerator[Snapshot]:
    """Yields snapshots with growing `sequence`, not each. Ends after a final status, or when the request is deleted."""
    hub = runtime.hub
    # Subscribes before reading: changes committed after the read arrive as events.
    async with hub.subscribe(progress_channel(request_id)) as inbox:
        snapshot = await _read(runtime, tenant_id, request_id)
        if snapshot is None:
            return
        yield snapshot
        while not snapshot.status.is_terminal:
            await asyncio.sleep(MIN_INTERVAL_SECONDS)
            event = await inbox.take(_poll_seconds(runtime))
            newer = _parse(event)
            if newer is None:
                try:
                    newer = await _read(runtime, tenant_id, request_id)
                except DatabaseUnavailable:
                    # The database is unavailable: wait for it.
                    continue
                if newer is None:
                    return
            if newer.sequence > snapshot.sequence:
                snapshot = newer
                yield snapshot


async def watch_list(runtime: Runtime, tenant_id: UUID, read: Callable[[], Awaitable[T]]) -> AsyncGenerator[T]:
    """Yields what `read` returns, then again whenever it changed. Never ends.

    `read` reads requests of the tenant. Events only say when: several requests change between two reads.
    """
    async with runtime.hub.subscribe(list_channel(tenant_id)) as inbox:
        state = await read()
        yield state
        while True:
            await asyncio.sleep(LIST_INTERVAL_SECONDS)
            await inbox.take(_poll_seconds(runtime))
            try:
                newer = await read()
            except DatabaseUnavailable:
                continue
            if newer != state:
                state = newer
                yield state


def _poll_seconds(runtime: Runtime) -> float:
    return POLL_SECONDS if runtime.hub.is_connected else POLL_SECONDS_WITHOUT_REDIS


def _parse(event: Event | None) -> Snapshot | None:
    """None without an event, or for one of an incompatible version: then the database is read."""
    if event is None:
        return None
    try:
        return Snapshot.from_json(event.body)
    except ValueError:
        log.warning("invalid progress event", extra={"sequence": event.sequence})
        return None


async def _read(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    return await runtime.db.read(queries.get_request, tenant_id, request_id)
