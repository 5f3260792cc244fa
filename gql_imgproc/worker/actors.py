"""The Dramatiq actors; each calls one service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import dramatiq

from gql_imgproc import log
from gql_imgproc.enums import Priority
from gql_imgproc.messaging.queue import ADVANCE, CONTROL_QUEUE, DELIVER, IMAGE_QUEUES, work_actor_name
from gql_imgproc.processing import worker_pool
from gql_imgproc.requests import lifecycle
from gql_imgproc.settings import load
from gql_imgproc.webhooks import delivery
from gql_imgproc.worker.broker import make_broker

settings = load()
log.set_up(settings.log_level, settings.log_format)
broker, middleware = make_broker(settings)
dramatiq.set_broker(broker)

#: Order in which a process handles the messages that it has fetched; lower comes first.
CONTROL_PRIORITY = 0
IMAGE_PRIORITIES = {Priority.HIGH: 10, Priority.NORMAL: 20, Priority.LOW: 30}


async def work(request_id: str, slot: int = 0) -> None:
    await worker_pool.drain(middleware.runtime, UUID(request_id), slot)


for priority, queue in IMAGE_QUEUES.items():
    dramatiq.actor(actor_name=work_actor_name(priority), queue_name=queue, priority=IMAGE_PRIORITIES[priority])(work)


def control_actor(name: str) -> Callable[[Callable[[str], Awaitable[None]]], object]:
    return dramatiq.actor(actor_name=name, queue_name=CONTROL_QUEUE, priority=CONTROL_PRIORITY)


@control_actor(ADVANCE)
async def advance(request_id: str) -> None:
    await lifecycle.advance(middleware.runtime, UUID(request_id))


@control_actor(DELIVER)
async def deliver(delivery_id: str) -> None:
    delivery.schedule_delivery(middleware.runtime, UUID(delivery_id))
