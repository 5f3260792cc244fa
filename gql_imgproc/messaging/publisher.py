"""Publishes events in the background, so that no caller waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from contextvars import Context

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gql_imgproc.messaging import outage
from gql_imgproc.messaging.outage import UNAVAILABLE, Outage
from gql_imgproc.messaging.pubsub import Event

#: Minimum time between two events of a channel, in seconds: people cannot follow more than five per second.
MIN_INTERVAL_S = 0.2
#: Pause after a call that failed, in seconds.
RETRY_DELAY_S = 0.5
#: Channels whose newest event waits while Redis is unavailable. Beyond that, the oldest are dropped.
MAX_CHANNELS = 10_000


class Publisher:
    """Publishes the newest event of each channel: at most five per second, and always the last one.

    Belongs to the event loop of its first call. Events wait while Redis is unavailable.
    """

    def __init__(self, url: str) -> None:
        # With a socket timeout, redis-py swallows cancellations on Python 3.11.
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=outage.TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
        self._waiting: dict[str, Event] = {}
        #: When channels may be published again, by the clock of the event loop.
        self._next_at: dict[str, float] = {}
        self._has_changed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._outage = Outage("publisher", pause_s=0)

    def publish(self, channel: str, event: Event, *, at_once: bool = False) -> None:
        """Publishes `event` soon, unless one with a larger `sequence` waits; `at_once` regardless of the interval."""
        waiting = self._waiting.get(channel)
        if waiting is None or waiting.sequence < event.sequence:
            self._waiting[channel] = event
        if len(self._waiting) > MAX_CHANNELS:
            del self._waiting[next(iter(self._waiting))]
        if at_once:
            self._next_at.pop(channel, None)
        self._has_changed.set()
        if self._sender is None or self._sender.done():
            # In no trace: events of several requests are sent together.
            self._sender = asyncio.create_task(self._send_waiting(), name="publisher", context=Context())

    async def aclose(self) -> None:
        """Publishes what waits, unless Redis is unavailable, and closes the connection."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._waiting:
            await self._send(list(self._waiting))
        await self._redis.aclose()

    async def _send_waiting(self) -> None:
        now = asyncio.get_running_loop().time
        while self._waiting:
            self._next_at = {channel: at for channel, at in self._next_at.items() if at > now()}
            self._has_changed.clear()
            if due := [channel for channel in self._waiting if channel not in self._next_at]:
                if not await self._send(due):
                    await asyncio.sleep(RETRY_DELAY_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._next_at[channel] for channel in self._waiting)):
                    await self._has_changed.wait()

    async def _send(self, channels: Collection[str]) -> bool:
        """Whether Redis received the newest events of these channels. They wait until it has."""
        events = {channel: self._waiting[channel] for channel in channels}
        try:
            async with self._outage.guard(), self._redis.pipeline(transaction=False) as pipeline:
                for channel, event in events.items():
                    pipeline.publish(channel, event.to_bytes())
                await pipeline.execute()
        except UNAVAILABLE:
            return False
        self._next_at |= dict.fromkeys(events, asyncio.get_running_loop().time() + MIN_INTERVAL_S)
        for channel, event in events.items():
            if self._waiting.get(channel) is event:
                del self._waiting[channel]
        return True
