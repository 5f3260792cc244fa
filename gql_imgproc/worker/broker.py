"""The Dramatiq broker of worker processes."""

from __future__ import annotations

from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, ShutdownNotifications, TimeLimit

from gql_imgproc.messaging.queue import NAMESPACE, connect
from gql_imgproc.settings import Settings
from gql_imgproc.worker.startup import RuntimeMiddleware

#: A worker without a heartbeat for this long is dead, and its messages return to their queues, in milliseconds.
HEARTBEAT_TIMEOUT_MS = 15_000
#: Chance, out of a million, that a poll checks for messages of dead workers: every poll does. The cost is not
#: measurable.
MAINTENANCE_CHANCE = 1_000_000
#: How long a message whose actor failed is kept for inspection, in milliseconds. Reconcile sends what is needed again.
DEAD_MESSAGE_TTL_MS = 60_000
#: Last resort behind the service's own deadlines, in milliseconds: ingesting a million rows takes minutes.
TIME_LIMIT_MS = 3_600_000


class UndelayedBroker(RedisBroker):
    """Declares no queues for delayed messages: none are sent, and polling them doubles an idle worker's commands."""

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


def make_broker(settings: Settings) -> tuple[RedisBroker, RuntimeMiddleware]:
    """A broker, and the middleware that opens the runtime. No message is retried: the database has what is due."""
    middleware = RuntimeMiddleware(settings)
    broker = UndelayedBroker(  # type: ignore[no-untyped-call]
        client=connect(settings.redis_url),
        namespace=NAMESPACE,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        middleware=[
            TimeLimit(time_limit=TIME_LIMIT_MS),
            # At shutdown, unfinished work is released, so that other workers can claim it at once.
            ShutdownNotifications(notify_shutdown=True),
            AsyncIO(),
            middleware,
        ],
    )
    return broker, middleware
