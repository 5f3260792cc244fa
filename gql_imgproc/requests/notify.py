"""Publishes committed changes and enqueues messages.

A lost message does no harm: watchers poll the database, and reconcile enqueues missing work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from uuid import UUID

import redis

from gql_imgproc.messaging.pubsub import Event
from gql_imgproc.metrics import ENQUEUE_FAILURES
from gql_imgproc.requests.snapshot import Snapshot, list_channel, progress_channel
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)


async def best_effort(runtime: Runtime, *calls: Callable[[], object]) -> None:
    """Makes calls to Redis on one thread. A failure is logged only: reconcile repeats the call."""

    def call_all() -> None:
        for call in calls:
            call()

    try:
        await runtime.run_blocking(call_all)
    except redis.RedisError as error:
        ENQUEUE_FAILURES.inc()
        log.warning("message not enqueued; the next reconcile sends it", extra={"reason": str(error)})


def publish(runtime: Runtime, snapshot: Snapshot) -> None:
    """Sends the snapshot to all watchers of the request soon, and one without pending images at once."""
    is_last = not snapshot.pending_images or snapshot.status.is_terminal
    runtime.publisher.publish(progress_channel(snapshot.id), snapshot.to_event(), at_once=is_last)
    publish_list(runtime, snapshot.tenant_id)


def publish_list(runtime: Runtime, tenant_id: UUID) -> None:
    """Wakes the watchers of the tenant's list soon; they read what changed."""
    runtime.publisher.publish(list_channel(tenant_id), Event(time.monotonic_ns(), b""))


async def permit_work(runtime: Runtime) -> None:
    """Sends a permit to claim images. A process that works already looks for what is new."""
    await best_effort(runtime, runtime.queue.process_images)
