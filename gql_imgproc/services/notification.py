"""Tells whoever asked for it that a request has ended."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.core import signature, webhook_event
from gql_imgproc.core.audit import Action
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.core.rights import Caller
from gql_imgproc.core.webhook_url import shown_url
from gql_imgproc.db import audit, deliveries
from gql_imgproc.identifiers import Kind, to_global
from gql_imgproc.io import webhook
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import tell

log = logging.getLogger(__name__)

#: How long a sender may need beside its try before the delivery is given to another one, in seconds.
LEASE_MARGIN_S = 15
#: Planned pauses are made up to this share shorter or longer, so that many do not end at the same moment.
JITTER = 0.1
#: Longest pause that a receiver can ask for, in seconds: the longest that we plan ourselves.
MAX_RETRY_AFTER_S = 86_400


def deliver_soon(resources: Resources, delivery_id: UUID) -> None:
    """Makes one try in the background: a receiver that takes its time must not keep a worker's thread."""

    async def in_turn() -> None:
        async with resources.webhooks:
            await deliver(resources, delivery_id)

    resources.background.start(("deliver", delivery_id), in_turn)


async def deliver(resources: Resources, delivery_id: UUID) -> None:
    """Makes one try if one is due; what comes of it is recorded, and with it when the next try is due."""
    settings = resources.settings
    lease_s = settings.webhook_timeout_seconds + LEASE_MARGIN_S
    claim = await resources.db.write(lambda connection: deliveries.claim(connection, delivery_id, lease_s))
    if claim is None:
        return

    payload = webhook_event.payload(claim.request, settings.public_url)
    headers = signature.headers(resources.webhook_keys, webhook_event.message_id(delivery_id), claim.at, payload)
    answer = await webhook.post(claim.url, payload, headers, resources.policy, settings.webhook_timeout_seconds)

    attempt = deliveries.Attempt(claim.at, answer.http_status, answer.error, answer.duration_ms)
    delay_s = None if answer.gone else next_delay_s(claim.attempt, settings.webhook_retry_delays, answer.retry_after_s)
    await resources.db.write(lambda connection: deliveries.record(connection, claim, attempt, delay_s))
    log.info(
        "webhook not taken" if answer.error else "webhook delivered",
        extra={
            "request": str(claim.request.id),
            "url": shown_url(claim.url),
            "attempt": claim.attempt,
            "http_status": answer.http_status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "next_try_in_s": delay_s and answer.error and round(delay_s, 1),
        },
    )


async def resend(resources: Resources, caller: Caller, request_id: UUID) -> Snapshot:
    """Makes the webhook of a final request due now.

    Raises RequestNotFound, or NoWebhook when none was asked for or the request is open.
    """

    def plan(connection: Connection) -> tuple[UUID, Snapshot]:
        planned = deliveries.resend(connection, caller.tenant_id, request_id)
        audit.note(connection, caller, Action.WEBHOOK_RESENT, to_global(Kind.REQUEST, request_id))
        return planned

    delivery_id, request = await resources.db.write(plan)
    await tell(resources, lambda: resources.queue.deliver(delivery_id))
    return request


def next_delay_s(tries: int, delays_s: Sequence[float], retry_after_s: float | None) -> float | None:
    """The pause after so many failed tries; None when it was the last one."""
    if tries > len(delays_s):
        return None
    planned_s = delays_s[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(planned_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
