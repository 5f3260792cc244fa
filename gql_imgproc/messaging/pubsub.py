"""Redis pub/sub: numbered events per channel, and one subscription connection per process for all its subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import redis
import redis.asyncio
from redis.asyncio.client import PubSub

log = logging.getLogger(__name__)

#: Longest wait of a new subscriber for Redis to confirm its channel. Then it continues without.
CONFIRM_TIMEOUT_S = 1.0
#: Timeout of a command, with the handshake of the connection.
COMMAND_TIMEOUT_S = 5.0
#: Pause before a lost connection is opened again.
RECONNECT_DELAY_S = 0.5
#: Keeps the connection subscribed while there is no other channel.
IDLE_CHANNEL = "imgproc:idle"


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
    """Distributes published events to the subscribers of their channels, over one Redis connection.

    While `is_connected` is False, subscribers must poll the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._subscribers: dict[str, set[LatestValue]] = {}
        #: By channel, as the subscribers: set when Redis has confirmed it.
        self._confirmed: dict[str, asyncio.Event] = {}
        #: Set when the channels have changed.
        self._changed = asyncio.Event()
        self._connection: asyncio.Task[None] | None = None
        self.is_connected = False

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[LatestValue]:
        """Subscribe to a channel. Inside, no event is missed while `is_connected`."""
        latest = LatestValue()
        self._subscribers.setdefault(channel, set()).add(latest)
        confirmed = self._confirmed.setdefault(channel, asyncio.Event())
        self._changed.set()
        if self._connection is None:
            self._connection = asyncio.create_task(self._stay_connected(), name="pubsub-hub")
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                    await confirmed.wait()
            yield latest
        finally:
            subscribers = self._subscribers[channel]
            subscribers.discard(latest)
            if not subscribers:
                del self._subscribers[channel], self._confirmed[channel]
                self._changed.set()

    async def _stay_connected(self) -> None:
        while True:
            # Without `socket_timeout`, which makes redis-py call `asyncio.wait_for`. On Python 3.11 that may ignore a
            # cancellation.
            client = redis.asyncio.Redis.from_url(
                self._url, socket_timeout=None, socket_connect_timeout=2, health_check_interval=5
            )
            try:
                async with client, client.pubsub() as pubsub:
                    await self._use(pubsub)
            except (redis.RedisError, OSError) as error:
                log.warning("pub/sub interrupted", extra={"reason": str(error) or type(error).__name__})
            except Exception:
                # Any error: all subscribers need a connection.
                log.exception("pub/sub interrupted")
            finally:
                self.is_connected = False
                for confirmed in self._confirmed.values():
                    confirmed.clear()
                for latest in itertools.chain(*self._subscribers.values()):
                    latest.wake()
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _use(self, pubsub: PubSub) -> None:
        """Reads events and sends commands until one of these fails."""
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await pubsub.subscribe(IDLE_CHANNEL)
        tasks = [asyncio.create_task(self._read(pubsub)), asyncio.create_task(self._send_commands(pubsub))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_commands(self, pubsub: PubSub) -> None:
        """Subscribes to the channels of the subscribers, and to no others.

        Subscribers do not send commands themselves: one that is cancelled while it sends would break the connection.
        """
        sent: dict[str, asyncio.Event] = {}
        while True:
            self._changed.clear()
            wanted = dict(self._confirmed)
            # A channel that lost all subscribers and has new ones needs another confirmation.
            new = [name for name, confirmed in wanted.items() if sent.get(name) is not confirmed]
            old = sent.keys() - wanted.keys()
            sent = wanted
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                if new:
                    await pubsub.subscribe(*new)
                if old:
                    await pubsub.unsubscribe(*old)
            await self._changed.wait()

    async def _read(self, pubsub: PubSub) -> None:
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
                log.warning("invalid event", extra={"channel": name})
                return
            for latest in subscribers:
                latest.put(event)

    async def aclose(self) -> None:
        if self._connection is not None:
            self._connection.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connection
