"""Dramatiq messages in Redis, which wake up workers. They hold no state: each may be lost, duplicated or late."""

from __future__ import annotations

import os
import time
from typing import Any, cast
from uuid import UUID

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

NAMESPACE = "dramatiq"
#: Permits to claim images; they name no image, request or tenant.
IMAGE_QUEUE = "images"
#: Steps of requests' life cycles and webhooks, which must not wait behind images.
CONTROL_QUEUE = "control"
#: Messages of each queue that a worker process takes at once, those in progress included. One permit lets the whole
#: process work, and a second one tells it of new work. Control messages never wait behind them: together they are the
#: threads of a process.
PREFETCH = {IMAGE_QUEUE: 2, CONTROL_QUEUE: 7}
WORKER_THREADS = sum(PREFETCH.values())

#: A worker process without a heartbeat for this time is dead, and its messages return to their queues.
WORKER_HEARTBEAT_TIMEOUT_S = 15
_HEARTBEATS, _SENDER = f"{NAMESPACE}:__heartbeats__", "sender-"

PROCESS_IMAGES, ADVANCE, DELIVER, ESTIMATE = "process_images", "advance", "deliver", "estimate"


def connect(url: str, timeout_s: float = 5, **options: Any) -> redis.Redis:
    """Create a client with a timeout on every call. The caller must handle an unavailable Redis."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, 2),
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
        **options,
    )


def count_workers(client: redis.Redis) -> int:
    """Count worker processes with a recent heartbeat."""
    names = client.zrangebyscore(_HEARTBEATS, (time.time() - WORKER_HEARTBEAT_TIMEOUT_S) * 1000, "+inf")
    return sum(not os.fsdecode(cast(bytes, name)).startswith(_SENDER) for name in names)


class Queue:
    """Enqueues and counts messages. Methods block and raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._broker = RedisBroker(client=self._redis, middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]  # the library's own
        # Dramatiq records heartbeats of senders, too. The prefix marks them.
        self._broker.broker_id = f"{_SENDER}{self._broker.broker_id}"

    def process_images(self) -> None:
        """Permit one worker process to claim images."""
        self._send(IMAGE_QUEUE, PROCESS_IMAGES)

    def count_permits(self) -> int:
        """Count the permits that no process has taken."""
        return int(self._redis.llen(f"{NAMESPACE}:{IMAGE_QUEUE}"))

    def advance(self, request_id: UUID) -> None:
        """Enqueue the next step of a request's life cycle."""
        self._send(CONTROL_QUEUE, ADVANCE, request_id)

    def deliver(self, delivery_id: UUID) -> None:
        self._send(CONTROL_QUEUE, DELIVER, delivery_id)

    def estimate(self, estimate_id: UUID) -> None:
        """Let a worker measure a sample."""
        self._send(CONTROL_QUEUE, ESTIMATE, estimate_id)

    def lengths(self) -> dict[str, int]:
        """Count the waiting messages of each queue."""
        return {name: int(self._redis.llen(f"{NAMESPACE}:{name}")) for name in PREFETCH}

    def count_workers(self) -> int:
        return count_workers(self._redis)

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _send(self, queue: str, actor: str, *subjects: UUID) -> None:
        args = tuple(subject.hex for subject in subjects)
        self._broker.enqueue(Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options={}))
