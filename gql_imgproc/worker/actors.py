"""The Dramatiq actors; each calls one service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import dramatiq

from gql_imgproc import log
from gql_imgproc.messaging.queue import ADVANCE, CONTROL_QUEUE, DELIVER, ESTIMATE, IMAGE_QUEUE, PROCESS_IMAGES
from gql_imgproc.processing.estimate import schedule_measurement
from gql_imgproc.requests import lifecycle
from gql_imgproc.settings import load
from gql_imgproc.webhooks import delivery
from gql_imgproc.worker.broker import make_broker

settings = load()
log.set_up(settings.log_level, settings.log_format)
broker, middleware = make_broker(settings)
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name=PROCESS_IMAGES, queue_name=IMAGE_QUEUE)
async def process_images() -> None:
    await middleware.pool.use_permit()


def control_actor(name: str) -> Callable[[Callable[[str], Awaitable[None]]], object]:
    return dramatiq.actor(actor_name=name, queue_name=CONTROL_QUEUE)


@control_actor(ADVANCE)
async def advance(request_id: str) -> None:
    await lifecycle.advance(middleware.runtime, UUID(request_id))


@control_actor(DELIVER)
async def deliver(delivery_id: str) -> None:
    delivery.schedule_delivery(middleware.runtime, UUID(delivery_id))


@control_actor(ESTIMATE)
async def estimate(estimate_id: str) -> None:
    schedule_measurement(middleware.runtime, UUID(estimate_id))
