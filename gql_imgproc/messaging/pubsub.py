"""Redis pub/sub: numbered events per topic, and one subscription connection per process for all its subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self
from uuid import UUID

import redis
import redis.asyncio
from redis.asyncio.client import PubSub

log = logging.getLogger(__name__)

#: Longest wait of a new subscriber for Redis to confirm its channel. Then it continues without.
CONFIRM_TIMEOUT_S = 1.0
#: Pause before a lost connection is opened again.
RECONNECT_DELAY_S = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """A complete state: an event with a larger `sequence` replaces earlier ones."""

    sequence: int
    body: bytes

    def to_bytes(self) -> bytes:
        return b"%d %b" % (self.sequence, self.body)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError for malformed data."""
        sequence, separator, body = data.partition(b" ")
        if not separator:
            raise ValueError("not an event")
        return cls(int(sequence), body)


def channel(topic: UUID) -> str:
    return f"progress:{topic.hex}"


class LatestValue:
    """Holds the newest event that its subscriber has not read. Older events are dropped."""

    def __init__(self) -> None:
        self._newest: Event | None = None
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        if self._newest is None or event.sequence > self._newest.sequence:
            self._newest = event
            self._arrived.set()

    def wake(self) -> None:
        """End the wait of the subscriber, which must read the database: events may have been lost."""
        self._arrived.set()

    async def take(self, timeout_s: float) -> Event | None:
        """Wait for a new event; None after the timeout, or when the connection was lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        newest, self._newest = self._newest, None
        self._arrived.clear()
        return newest


class Hub:
    """Distributes published events to the subscribers of their topics, over one Redis connection.

    While `is_connected` is False, subscribers must poll the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._subscribers: dict[str, set[LatestValue]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        # Serializes commands on the connection.
        self._command_lock = asyncio.Lock()
        self.is_connected = False

    @asynccontextmanager
    async def subscribe(self, topic: UUID) -> AsyncIterator[LatestValue]:
        """Subscribe to a topic. Inside, no event is missed while `is_connected`."""
        name, latest = channel(topic), LatestValue()
        is_first = name not in self._subscribers
        self._subscribers.setdefault(name, set()).add(latest)
        confirmed = self._confirmed.setdefault(name, asyncio.Event())
        try:
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_loop(), name="progress-hub")
            elif is_first:
                await self._send_command("subscribe", name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                    await confirmed.wait()
            yield latest
        finally:
            await self._unsubscribe(name, latest)

    async def _unsubscribe(self, name: str, latest: LatestValue) -> None:
        subscribers = self._subscribers[name]
        subscribers.discard(latest)
        if subscribers:
            return
        del self._subscribers[name]
        self._confirmed.pop(name, None)
        await self._send_command("unsubscribe", name)

    async def _send_command(self, verb: Literal["subscribe", "unsubscribe"], name: str) -> None:
        """Send a command if connected. Otherwise the reader subscribes to all channels when it reconnects."""
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(CONFIRM_TIMEOUT_S), self._command_lock:
                # Check again: during the wait, the channel may have gained or lost its last subscriber.
                if self._pubsub is not None and (name in self._subscribers) == (verb == "subscribe"):
                    await getattr(self._pubsub, verb)(name)

    async def _read_loop(self) -> None:
        while True:
            client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=2, health_check_interval=5)
            try:
                async with client, client.pubsub() as pubsub:
                    await self._read(pubsub)
            except (redis.RedisError, OSError) as error:
                log.warning("progress events interrupted", extra={"reason": str(error)})
            except Exception:
                # Any error: the subscribers of all requests need a reader.
                log.exception("progress events interrupted")
            finally:
                self._pubsub, self.is_connected = None, False
                for confirmed in self._confirmed.values():
                    confirmed.clear()
                for latest in itertools.chain(*self._subscribers.values()):
                    latest.wake()
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _read(self, pubsub: PubSub) -> None:
        # The channel `progress:hub` keeps the connection subscribed while there are no topics.
        async with self._command_lock:
            self._pubsub = pubsub
            await pubsub.subscribe("progress:hub", *self._subscribers)
        while True:
            message = await pubsub.get_message(timeout=5)
            if message is None:
                await pubsub.ping()
                continue
            self._handle(message["type"], message["channel"], message["data"])

    def _handle(self, kind: str, raw_channel: bytes | None, data: bytes) -> None:
        name = (raw_channel or b"").decode()
        if kind == "subscribe":
            self.is_connected = True
            if name in self._confirmed:
                self._confirmed[name].set()
        elif kind == "message" and (subscribers := self._subscribers.get(name)):
            try:
                event = Event.from_bytes(data)
            except ValueError:
                log.warning("invalid progress event", extra={"channel": name})
                return
            for latest in subscribers:
                latest.put(event)

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
