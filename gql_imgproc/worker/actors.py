"""The doors of the workers: each actor calls one service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import dramatiq

from gql_imgproc import log
from gql_imgproc.enums import Priority
from gql_imgproc.messaging.queue import CONTROL_QUEUE, DELIVER, FINISH, INGEST, PICTURE_QUEUES, work_on_actor
from gql_imgproc.processing import worker_pool
from gql_imgproc.requests import lifecycle
from gql_imgproc.requests.ingest import ingest as run_ingest
from gql_imgproc.settings import load
from gql_imgproc.webhooks import delivery
from gql_imgproc.worker.broker import make_broker

settings = load()
log.set_up(settings.log_level, settings.log_format)
broker, opened = make_broker(settings)
dramatiq.set_broker(broker)

#: Order in which one process takes up messages that it has fetched; lower is sooner.
CONTROL, PICTURES = 0, {Priority.HIGH: 10, Priority.NORMAL: 20, Priority.LOW: 30}


async def work(request_id: str, slot: int = 0) -> None:
    await worker_pool.drain(opened.runtime, UUID(request_id), slot)


for priority, queue in PICTURE_QUEUES.items():
    dramatiq.actor(actor_name=work_on_actor(priority), queue_name=queue, priority=PICTURES[priority])(work)


def control(name: str) -> Callable[[Callable[[str], Awaitable[None]]], object]:
    return dramatiq.actor(actor_name=name, queue_name=CONTROL_QUEUE, priority=CONTROL)


@control(INGEST)
async def ingest(request_id: str) -> None:
    await run_ingest(opened.runtime, UUID(request_id))


@control(FINISH)
async def finish(request_id: str) -> None:
    await lifecycle.finish(opened.runtime, UUID(request_id))


@control(DELIVER)
async def deliver(delivery_id: str) -> None:
    delivery.schedule_delivery(opened.runtime, UUID(delivery_id))
