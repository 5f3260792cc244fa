"""Wake-up calls: Dramatiq messages on Redis. No state lives in them; each may be lost, doubled or late."""

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
#: Which queue carries the wake-up calls of requests of a priority. A priority within one Redis queue does nothing.
PICTURE_QUEUES = {Priority.HIGH: "images-high", Priority.NORMAL: "images", Priority.LOW: "images-low"}
#: Ingest, finish, webhook: never behind pictures.
CONTROL_QUEUE = "control"

#: For so long a call that left its queue counts as on its way: workers fetch some before they have a thread free.
FRESH_SECONDS = 5.0

#: A worker process that was silent for longer, in seconds, is taken for dead by Dramatiq too.
WORKER_HEARTBEAT_TIMEOUT_S = 15
_HEARTBEATS, _SENDER = f"{NAMESPACE}:__heartbeats__", "sender-"

INGEST, FINISH, DELIVER = "ingest", "finish", "deliver"


def work_on_actor(priority: Priority) -> str:
    """Name of the actor for a queue of pictures: within a process the actor decides what is taken up first."""
    return f"work_on_{priority.value.lower()}"


def connect(url: str) -> redis.Redis:
    """A client whose every wait ends: a lost Redis is noticed by the caller, who knows what can be forgotten."""
    return redis.Redis.from_url(
        url, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), health_check_interval=30
    )


def workers(client: redis.Redis) -> int:
    """Worker processes that were heard of lately."""
    heard = client.zrangebyscore(_HEARTBEATS, (time.time() - WORKER_HEARTBEAT_TIMEOUT_S) * 1000, "+inf")
    return sum(not os.fsdecode(cast(bytes, name)).startswith(_SENDER) for name in heard)


@dataclass(frozen=True, slots=True)
class Census:
    """Which wake-up calls there are: for which slots of each request; how many by name and subject of the others."""

    pictures: defaultdict[UUID, set[int]] = field(default_factory=lambda: defaultdict(set))
    control: Counter[tuple[str, UUID]] = field(default_factory=Counter)

    def count(self, message: dict[str, Any]) -> None:
        try:
            actor, (first, *rest) = message["actor_name"], message["args"]
            # Versions that knew of no slots sent none.
            subject, slot = UUID(first), int(rest[0]) if rest else 0
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # Not one of ours: whoever put it there, it must not keep us from our own.
            return
        if message["queue_name"] == CONTROL_QUEUE:
            self.control[actor, subject] += 1
        else:
            self.pictures[subject].add(slot)


class Queue:
    """Sends wake-up calls and counts those under way. Methods block; they raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._broker = RedisBroker(client=self._redis, middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]  # the library's own
        # Dramatiq notes a sign of life of whoever sends, too.
        self._broker.broker_id = f"{_SENDER}{self._broker.broker_id}"

    def enqueue_work(self, request_id: UUID, priority: Priority, slots: Iterable[int]) -> None:
        """Says that there are pictures to be done in a request, once for each of its slots (`core.fairness`)."""
        for slot in slots:
            self._send(PICTURE_QUEUES[priority], work_on_actor(priority), request_id, slot)

    def ingest(self, request_id: UUID) -> None:
        """Says that rows of a request's CSV wait to be taken in."""
        self._send(CONTROL_QUEUE, INGEST, request_id)

    def finish(self, request_id: UUID) -> None:
        """Says that nothing of a request is pending any more."""
        self._send(CONTROL_QUEUE, FINISH, request_id)

    def deliver(self, delivery_id: UUID) -> None:
        """Says that a webhook is due."""
        self._send(CONTROL_QUEUE, DELIVER, delivery_id)

    def census(self) -> Census:
        """The wake-up calls that somebody can still be expected to answer.

        A call that was taken from its queue a while ago is not one of them: it is being answered, and no call for
        anything else, or the answer of Redis that handed it out was lost, and nobody ever will.
        """
        found = Census()
        fresh_ms = time.time() * 1000 - FRESH_SECONDS * 1000
        for queue in (*PICTURE_QUEUES.values(), CONTROL_QUEUE):
            waiting = set(self._redis.lrange(f"{NAMESPACE}:{queue}", 0, -1))
            for number, data in self._redis.hscan_iter(f"{NAMESPACE}:{queue}.msgs", count=1000):
                message = json.loads(data)
                if number in waiting or message["message_timestamp"] > fresh_ms:
                    found.count(message)
        return found

    def lengths(self) -> dict[str, int]:
        """Messages waiting in each queue."""
        names = [*PICTURE_QUEUES.values(), CONTROL_QUEUE]
        return {name: int(self._redis.llen(f"{NAMESPACE}:{name}")) for name in names}

    def workers(self) -> int:
        """Worker processes that are alive."""
        return workers(self._redis)

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _send(self, queue: str, actor: str, subject: UUID, *more: int) -> None:
        traceparent = tracing.propagated_traceparent()
        options = {tracing.TRACEPARENT: traceparent} if traceparent else {}
        args = (subject.hex, *more)
        self._broker.enqueue(Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options=options))
