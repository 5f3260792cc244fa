"""Publishes events in the background, so that no caller waits for Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from contextvars import Context
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gql_imgproc.messaging.pubsub import Event, channel

log = logging.getLogger(__name__)

#: Minimum time between two events of a topic, in seconds: people cannot follow more than five per second.
MIN_INTERVAL_S = 0.2
#: Timeout of a call, and pause after one that failed, in seconds.
REDIS_TIMEOUT_S, RETRY_DELAY_S = 1.0, 0.5
#: Topics whose newest event waits while Redis is unavailable. Beyond that, the oldest are dropped.
MAX_TOPICS = 10_000


class Publisher:
    """Publishes the newest event of each topic: at most five per second, and always the last one.

    Belongs to the event loop of its first call. Events wait while Redis is unavailable.
    """

    def __init__(self, url: str) -> None:
        # With a socket timeout, redis-py swallows cancellations on Python 3.11.
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=REDIS_TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
        self._waiting: dict[UUID, Event] = {}
        #: When topics may be published again, by the clock of the event loop.
        self._next_at: dict[UUID, float] = {}
        self._has_changed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._is_unavailable = False

    def publish(self, topic: UUID, event: Event, *, at_once: bool = False) -> None:
        """Publishes `event` soon, unless one with a larger `sequence` waits; `at_once` regardless of the interval."""
        waiting = self._waiting.get(topic)
        if waiting is None or waiting.sequence < event.sequence:
            self._waiting[topic] = event
        if len(self._waiting) > MAX_TOPICS:
            del self._waiting[next(iter(self._waiting))]
        if at_once:
            self._next_at.pop(topic, None)
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
            self._next_at = {topic: at for topic, at in self._next_at.items() if at > now()}
            self._has_changed.clear()
            if due := [topic for topic in self._waiting if topic not in self._next_at]:
                if not await self._send(due):
                    await asyncio.sleep(RETRY_DELAY_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._next_at[topic] for topic in self._waiting)):
                    await self._has_changed.wait()

    async def _send(self, topics: Collection[UUID]) -> bool:
        """Whether Redis received the newest events of these topics. They wait until it has."""
        events = {topic: self._waiting[topic] for topic in topics}
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                for topic, event in events.items():
                    pipeline.publish(channel(topic), event.to_bytes())
                await pipeline.execute()
        except (redis.RedisError, OSError, TimeoutError) as error:
            if not self._is_unavailable:
                log.warning("progress waits: Redis unavailable", extra={"reason": str(error) or type(error).__name__})
            self._is_unavailable = True
            return False
        self._is_unavailable = False
        self._next_at |= dict.fromkeys(events, asyncio.get_running_loop().time() + MIN_INTERVAL_S)
        for topic, event in events.items():
            if self._waiting.get(topic) is event:
                del self._waiting[topic]
        return True
