"""The Dramatiq broker of worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, TimeLimit

from gql_imgproc.messaging.queue import IMAGE_QUEUE, NAMESPACE, PREFETCH, WORKER_HEARTBEAT_TIMEOUT_S, connect
from gql_imgproc.settings import Settings
from gql_imgproc.worker.startup import RuntimeMiddleware

#: Chance, out of a million, that a poll checks for messages of dead workers: every poll does. The cost is not
#: measurable.
MAINTENANCE_CHANCE = 1_000_000
#: How long a message whose actor failed is kept for inspection, in milliseconds. Reconcile sends what is needed again.
DEAD_MESSAGE_TTL_MS = 60_000
#: Last resort behind the service's own deadlines, in milliseconds: ingesting a million rows takes minutes.
TIME_LIMIT_MS = 3_600_000
#: How long a process waits for a message of an empty queue, in seconds: as long as it may take to notice a stop.
QUEUE_WAIT_S = 2
#: Longest pause between two waits, and between two looks whether the process may take more messages, in milliseconds.
PAUSE_MS = 100


class Broker(RedisBroker):
    """Takes as many messages of each queue as the process has threads for them, and waits for them without polling."""

    def __init__(self, *, is_waiting: Callable[[], bool], **options: Any) -> None:
        """`is_waiting` tells whether this process has a permit, but no work."""
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._is_waiting = is_waiting

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        if queue_name in PREFETCH:
            return super().consume(queue_name, PREFETCH[queue_name], PAUSE_MS)
        return super().consume(queue_name, prefetch, timeout)

    def do_fetch(self, queue_name: str, count: int) -> list[bytes]:
        """Fetches messages as soon as there are any. A process that works leaves permits to others."""
        if queue_name == IMAGE_QUEUE:
            if count < PREFETCH[IMAGE_QUEUE] and not self._is_waiting():
                return []
            count = 1
        if queue_name in PREFETCH:
            # Moves the next message to where it was: a peek that waits.
            key = f"{self.namespace}:{queue_name}"
            self.client.blmove(key, key, QUEUE_WAIT_S, "LEFT", "LEFT")
        messages: list[bytes] = self.__getattr__("do_fetch")(queue_name, count)  # type: ignore[no-untyped-call]
        return messages


def make_broker(settings: Settings) -> tuple[RedisBroker, RuntimeMiddleware]:
    """A broker, and the middleware that opens the runtime. No message is retried: the database has what is due."""
    middleware = RuntimeMiddleware(settings)
    broker = Broker(
        is_waiting=lambda: middleware.pool.is_waiting,
        client=connect(settings.redis_url),
        namespace=NAMESPACE,
        heartbeat_timeout=1000 * WORKER_HEARTBEAT_TIMEOUT_S,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        middleware=[
            TimeLimit(time_limit=TIME_LIMIT_MS),
            AsyncIO(),
            middleware,
        ],
    )
    return broker, middleware
