"""Dramatiq messages in Redis, which wake up workers. They hold no state: each may be lost, duplicated or late."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from gql_imgproc import tracing
from gql_imgproc.enums import Priority

NAMESPACE = "dramatiq"
#: One queue for each request priority, because message priorities have no effect within a Redis queue.
IMAGE_QUEUES = {Priority.HIGH: "images-high", Priority.NORMAL: "images", Priority.LOW: "images-low"}
#: Steps of requests' life cycles and webhooks, which must not wait behind images.
CONTROL_QUEUE = "control"

#: Time for which a message that left its queue still counts, because workers prefetch messages.
FRESH_SECONDS = 5.0

#: A worker process without a heartbeat for this time is dead. Dramatiq uses the same timeout.
WORKER_HEARTBEAT_TIMEOUT_S = 15
_HEARTBEATS, _SENDER = f"{NAMESPACE}:__heartbeats__", "sender-"

ADVANCE, DELIVER = "advance", "deliver"


def work_actor_name(priority: Priority) -> str:
    """Name of the actor of an image queue. Each has its own, because a process orders messages by actor priority."""
    return f"work_on_{priority.value.lower()}"


def connect(url: str) -> redis.Redis:
    """Create a client with a timeout on every call. The caller must handle an unavailable Redis."""
    return redis.Redis.from_url(
        url, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), health_check_interval=30
    )


def count_workers(client: redis.Redis) -> int:
    """Count worker processes with a recent heartbeat."""
    names = client.zrangebyscore(_HEARTBEATS, (time.time() - WORKER_HEARTBEAT_TIMEOUT_S) * 1000, "+inf")
    return sum(not os.fsdecode(cast(bytes, name)).startswith(_SENDER) for name in names)


@dataclass(frozen=True, slots=True)
class Census:
    """All pending messages: slots by request, and counts of control messages by actor and subject."""

    images: defaultdict[UUID, set[int]] = field(default_factory=lambda: defaultdict(set))
    control: Counter[tuple[str, UUID]] = field(default_factory=Counter)

    def count(self, message: dict[str, Any]) -> None:
        try:
            actor, (first, *rest) = message["actor_name"], message["args"]
            # Older versions sent no slot.
            subject, slot = UUID(first), int(rest[0]) if rest else 0
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # Not a message of this service. It must not stop the count.
            return
        if message["queue_name"] == CONTROL_QUEUE:
            self.control[actor, subject] += 1
        else:
            self.images[subject].add(slot)


class Queue:
    """Enqueues and counts messages. Methods block and raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._broker = RedisBroker(client=self._redis, middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]  # the library's own
        # Dramatiq records heartbeats of senders, too. The prefix marks them.
        self._broker.broker_id = f"{_SENDER}{self._broker.broker_id}"

    def enqueue_work(self, request_id: UUID, priority: Priority, slots: Iterable[int]) -> None:
        """Enqueue a message for each slot of a request with pending images."""
        for slot in slots:
            self._send(IMAGE_QUEUES[priority], work_actor_name(priority), request_id, slot)

    def advance(self, request_id: UUID) -> None:
        """Enqueue the next step of a request's life cycle."""
        self._send(CONTROL_QUEUE, ADVANCE, request_id)

    def deliver(self, delivery_id: UUID) -> None:
        self._send(CONTROL_QUEUE, DELIVER, delivery_id)

    def census(self) -> Census:
        """Count the messages that a worker will still receive.

        A message that left its queue some time ago does not count: a worker is processing it, or it was lost.
        """
        found = Census()
        fresh_ms = time.time() * 1000 - FRESH_SECONDS * 1000
        for queue in (*IMAGE_QUEUES.values(), CONTROL_QUEUE):
            waiting = set(self._redis.lrange(f"{NAMESPACE}:{queue}", 0, -1))
            for number, data in self._redis.hscan_iter(f"{NAMESPACE}:{queue}.msgs", count=1000):
                message = json.loads(data)
                if number in waiting or message["message_timestamp"] > fresh_ms:
                    found.count(message)
        return found

    def lengths(self) -> dict[str, int]:
        """Count the waiting messages of each queue."""
        names = [*IMAGE_QUEUES.values(), CONTROL_QUEUE]
        return {name: int(self._redis.llen(f"{NAMESPACE}:{name}")) for name in names}

    def count_workers(self) -> int:
        return count_workers(self._redis)

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _send(self, queue: str, actor: str, subject: UUID, *more: int) -> None:
        traceparent = tracing.propagated_traceparent()
        options = {tracing.TRACEPARENT: traceparent} if traceparent else {}
        args = (subject.hex, *more)
        self._broker.enqueue(Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options=options))
