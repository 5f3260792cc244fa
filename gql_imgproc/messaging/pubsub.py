"""Redis pub/sub: numbered events per topic, and one subscription connection per process for all its subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self
from uuid import UUID

import redis
import redis.asyncio
from redis.asyncio.client import PubSub

from gql_imgproc.messaging.queue import connect

log = logging.getLogger(__name__)

#: How long a new watcher waits for Redis to confirm its channel before it goes on without, in seconds.
CONFIRM_SECONDS = 1.0
#: Pause before the connection is tried again after it was lost, in seconds.
RECONNECT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """A whole state, not a difference: an event with a larger `sequence` replaces the earlier ones."""

    sequence: int
    body: bytes

    def to_bytes(self) -> bytes:
        return b"%d %b" % (self.sequence, self.body)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`. Raises ValueError for anything else."""
        sequence, separator, body = data.partition(b" ")
        if not separator:
            raise ValueError("not an event")
        return cls(int(sequence), body)


def channel(topic: UUID) -> str:
    """Redis channel of a topic, such as a request."""
    return f"progress:{topic.hex}"


class Publisher:
    """Publishes events. Blocks; raises redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    def publish(self, topic: UUID, event: Event) -> None:
        self._redis.publish(channel(topic), event.to_bytes())

    def close(self) -> None:
        self._redis.close()


class LatestValue:
    """The newest event that one subscriber has not taken yet; an older one is dropped."""

    def __init__(self) -> None:
        self._newest: Event | None = None
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        if self._newest is None or event.sequence > self._newest.sequence:
            self._newest = event
            self._arrived.set()

    async def take(self, timeout_s: float) -> Event | None:
        """The newest event; None when none came in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        newest, self._newest = self._newest, None
        self._arrived.clear()
        return newest


class Hub:
    """Passes published events to the inboxes of their topics.

    `connected` tells whether events flow; while they do not, watchers look at the database instead.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._inboxes: dict[str, set[LatestValue]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        # Commands on one connection, one after the other.
        self._turn = asyncio.Lock()
        self.connected = False

    @asynccontextmanager
    async def subscribe(self, topic: UUID) -> AsyncIterator[LatestValue]:
        """An inbox for the events of a topic; once inside, no later event is missed while `connected`."""
        name, inbox = channel(topic), LatestValue()
        first = name not in self._inboxes
        self._inboxes.setdefault(name, set()).add(inbox)
        confirmed = self._confirmed.setdefault(name, asyncio.Event())
        try:
            if self._reader is None:
                self._reader = asyncio.create_task(self._read_for_ever(), name="progress-hub")
            elif first:
                await self._command("subscribe", name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_SECONDS):
                    await confirmed.wait()
            yield inbox
        finally:
            await self._leave(name, inbox)

    async def _leave(self, name: str, inbox: LatestValue) -> None:
        watchers = self._inboxes[name]
        watchers.discard(inbox)
        if watchers:
            return
        del self._inboxes[name]
        self._confirmed.pop(name, None)
        await self._command("unsubscribe", name)

    async def _command(self, verb: Literal["subscribe", "unsubscribe"], name: str) -> None:
        """Says it to Redis if it listens; when it does not, the reader says all there is to say once it is back."""
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS), self._turn:
                # As things are now: while this waited, the channel may have got or lost its last watcher.
                if self._pubsub is not None and (name in self._inboxes) == (verb == "subscribe"):
                    await getattr(self._pubsub, verb)(name)

    async def _read_for_ever(self) -> None:
        while True:
            client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=2, health_check_interval=5)
            try:
                async with client, client.pubsub() as pubsub:
                    await self._read(pubsub)
            except (redis.RedisError, OSError) as error:
                log.warning("progress events interrupted", extra={"reason": str(error)})
            except Exception:
                # Whatever it was, watchers of every request need a reader.
                log.exception("progress events interrupted")
            finally:
                self._pubsub, self.connected = None, False
                for confirmed in self._confirmed.values():
                    confirmed.clear()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read(self, pubsub: PubSub) -> None:
        # A channel of its own keeps the subscription open while nobody watches.
        async with self._turn:
            self._pubsub = pubsub
            await pubsub.subscribe("progress:hub", *self._inboxes)
        while True:
            message = await pubsub.get_message(timeout=5)
            if message is None:
                await pubsub.ping()
                continue
            self._handle(message["type"], message["channel"], message["data"])

    def _handle(self, kind: str, raw_channel: bytes | None, data: bytes) -> None:
        name = (raw_channel or b"").decode()
        if kind == "subscribe":
            self.connected = True
            if name in self._confirmed:
                self._confirmed[name].set()
        elif kind == "message" and (watchers := self._inboxes.get(name)):
            try:
                event = Event.from_bytes(data)
            except ValueError:
                log.warning("invalid progress event", extra={"channel": name})
                return
            for inbox in watchers:
                inbox.put(event)

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
