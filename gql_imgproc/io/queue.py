"""Wake-up calls: Dramatiq messages on Redis. No state lives in them; each may be lost, doubled or late."""

from __future__ import annotations

import json
from collections import Counter
from uuid import UUID

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from gql_imgproc.states import Priority

NAMESPACE = "dramatiq"
#: Which queue carries the wake-up calls of requests of a priority. A priority within one Redis queue does nothing.
PICTURE_QUEUES = {Priority.HIGH: "images-high", Priority.NORMAL: "images", Priority.LOW: "images-low"}
#: Ingest, finish, webhook: never behind pictures.
CONTROL_QUEUE = "control"

INGEST, FINISH, DELIVER = "ingest", "finish", "deliver"


def work_on_actor(priority: Priority) -> str:
    """Name of the actor for a queue of pictures: within a process the actor decides what is taken up first."""
    return f"work_on_{priority.value.lower()}"


def connect(url: str) -> redis.Redis:
    """A client whose every wait ends: a lost Redis is noticed by the caller, who knows what can be forgotten."""
    return redis.Redis.from_url(
        url, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1), health_check_interval=30
    )


class Queue:
    """Sends wake-up calls and counts those under way. Methods block; they raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._broker = RedisBroker(client=self._redis, middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]

    def work_on(self, request_id: UUID, priority: Priority, count: int = 1) -> None:
        """Says `count` times that there are pictures to be done in a request."""
        for _ in range(count):
            self._send(PICTURE_QUEUES[priority], work_on_actor(priority), request_id)

    def ingest(self, request_id: UUID) -> None:
        """Says that rows of a request's CSV wait to be taken in."""
        self._send(CONTROL_QUEUE, INGEST, request_id)

    def finish(self, request_id: UUID) -> None:
        """Says that nothing of a request is pending any more."""
        self._send(CONTROL_QUEUE, FINISH, request_id)

    def deliver(self, delivery_id: UUID) -> None:
        """Says that a webhook is due."""
        self._send(CONTROL_QUEUE, DELIVER, delivery_id)

    def census(self) -> Counter[UUID]:
        """How many `work_on` calls of each request are waiting or being answered, those of dead workers included."""
        found: Counter[UUID] = Counter()
        for queue in PICTURE_QUEUES.values():
            for _, data in self._redis.hscan_iter(f"{NAMESPACE}:{queue}.msgs", count=1000):
                found[UUID(json.loads(data)["args"][0])] += 1
        return found

    def lengths(self) -> dict[str, int]:
        """Messages waiting in each queue."""
        names = [*PICTURE_QUEUES.values(), CONTROL_QUEUE]
        return {name: int(self._redis.llen(f"{NAMESPACE}:{name}")) for name in names}

    def hold(self, name: str, seconds: float) -> bool:
        """Takes the right to do `name`, alone among all processes, for so long; False when another has it."""
        return bool(self._redis.set(f"imgproc:hold:{name}", 1, nx=True, px=max(1, int(seconds * 1000))))

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _send(self, queue: str, actor: str, subject: UUID) -> None:
        self._broker.enqueue(Message(queue_name=queue, actor_name=actor, args=(subject.hex,), kwargs={}, options={}))
