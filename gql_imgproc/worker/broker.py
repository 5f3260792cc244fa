"""The Dramatiq broker of worker processes."""

from __future__ import annotations

from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, ShutdownNotifications, TimeLimit

from gql_imgproc.messaging.queue import NAMESPACE, connect
from gql_imgproc.settings import Settings
from gql_imgproc.worker.startup import RuntimeMiddleware

#: A worker that was not heard of for so long is dead, and its messages go back to their queues, in milliseconds.
HEARTBEAT_TIMEOUT_MS = 15_000
#: Out of a million: every poll looks for messages of dead workers; it costs nothing that could be measured.
MAINTENANCE_CHANCE = 1_000_000
#: How long a message whose actor failed is kept for a look, in milliseconds; the sweep sends what is needed again.
DEAD_MESSAGE_TTL_MS = 60_000
#: The last net under deadlines of our own, in milliseconds: taking in a million rows takes minutes.
TIME_LIMIT_MS = 3_600_000


class UndelayedBroker(RedisBroker):
    """Without queues for delayed messages: we send none, and to look at them is half of what a worker asks at rest."""

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


def make_broker(settings: Settings) -> tuple[RedisBroker, RuntimeMiddleware]:
    """A broker, and what its workers open. It retries nothing: what is to be tried again stands in the database."""
    opened = RuntimeMiddleware(settings)
    broker = UndelayedBroker(  # type: ignore[no-untyped-call]
        client=connect(settings.redis_url),
        namespace=NAMESPACE,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        middleware=[
            TimeLimit(time_limit=TIME_LIMIT_MS),
            # What is under way is given back, so that others go on with it at once.
            ShutdownNotifications(notify_shutdown=True),
            AsyncIO(),
            opened,
        ],
    )
    return broker, opened
