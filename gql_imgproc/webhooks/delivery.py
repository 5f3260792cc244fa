"""Tells whoever asked for it that a request has ended."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc import tracing
from gql_imgproc.access import audit_log, key_repository, signed_urls
from gql_imgproc.enums import AuditAction
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import webhook_outbox
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.security import webhook_signature
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.url_signature import expiry, sign_path
from gql_imgproc.security.webhook_url import redact_webhook_url
from gql_imgproc.storage.paths import download_path
from gql_imgproc.webhooks import client
from gql_imgproc.webhooks.payload import build_payload, message_id

log = logging.getLogger(__name__)

#: How long a sender may need beside its try before the delivery is given to another one, in seconds.
LEASE_MARGIN_S = 15
#: Planned pauses are made up to this share shorter or longer, so that many do not end at the same moment.
JITTER = 0.1
#: How long the address of an output CSV in a webhook opens without a key, in seconds; and for how long after the end it
#: counts from there: longer than all planned tries take.
LINK_SECONDS, LINK_IS_NEW = 7 * 86_400, timedelta(days=4)
#: Longest pause that a receiver can ask for, in seconds: the longest that we plan ourselves.
MAX_RETRY_AFTER_S = 86_400


def schedule_delivery(runtime: Runtime, delivery_id: UUID) -> None:
    """Makes one try in the background: a receiver that takes its time must not keep a worker's thread."""

    async def in_turn() -> None:
        async with runtime.webhooks:
            await deliver(runtime, delivery_id)

    runtime.background.start(("deliver", delivery_id), in_turn)


async def deliver(runtime: Runtime, delivery_id: UUID) -> None:
    """Makes one try if one is due; what comes of it is recorded, and with it when the next try is due."""
    settings = runtime.settings
    lease_s = settings.webhook_timeout_seconds + LEASE_MARGIN_S
    claim = await runtime.db.write(webhook_outbox.claim_delivery, delivery_id, lease_s)
    if claim is None:
        return

    body = build_payload(claim.request, await _output_csv_url(runtime, claim))
    headers = webhook_signature.signature_headers(runtime.webhook_keys, message_id(delivery_id), claim.at, body)
    async with request_span(runtime, "webhook", claim.request.id, "CLIENT"):
        if traceparent := tracing.current_traceparent():
            headers = {**headers, tracing.TRACEPARENT: traceparent}
        answer = await client.post(claim.url, body, headers, runtime.policy, settings.webhook_timeout_seconds)
    WEBHOOK_ATTEMPTS.labels(outcome_label(answer)).inc()
    WEBHOOK_SECONDS.observe(answer.duration_ms / 1000)

    attempt = webhook_outbox.Attempt(claim.at, answer.http_status, answer.error, answer.duration_ms)
    delay_s = None if answer.gone else next_delay_s(claim.attempt, settings.webhook_retry_delays, answer.retry_after_s)
    await runtime.db.write(webhook_outbox.record, claim, attempt, delay_s)
    log.info(
        "webhook not taken" if answer.error else "webhook delivered",
        extra={
            "request": claim.request.id,
            "url": redact_webhook_url(claim.url),
            "attempt": claim.attempt,
            "http_status": answer.http_status,
            "error": answer.error,
            "duration_ms": answer.duration_ms,
            "next_try_in_s": delay_s and answer.error and round(delay_s, 1),
        },
    )


async def _output_csv_url(runtime: Runtime, claim: webhook_outbox.ClaimedDelivery) -> str | None:
    """Where the receiver finds the output CSV; where callers are asked for a key, it opens without for a while.

    It is the same on every planned try, so that receivers see the same message.
    """
    request, public_url = claim.request, runtime.settings.public_url
    if not request.has_output:
        return None
    path = download_path(request.id)
    if not await runtime.db.read(key_repository.has_keys):
        return public_url + path
    ended_at = request.completed_at or request.updated_at
    # One that is sent again long after is good for as long from then on.
    begins_at = ended_at if claim.at - ended_at < LINK_IS_NEW else claim.at
    secret = (await runtime.db.read(signed_urls.read_secrets))[0]
    return public_url + sign_path(path, expiry(begins_at.timestamp(), LINK_SECONDS), secret)


def outcome_label(answer: client.DeliveryResponse) -> str:
    """What came of a try, in few words: for figures."""
    if answer.error is None:
        return "delivered"
    return "no_answer" if answer.http_status is None else f"status_{answer.http_status // 100}xx"


# A rate needs a value before the first event.
for _result in ("delivered", "no_answer", "status_4xx", "status_5xx"):
    WEBHOOK_ATTEMPTS.labels(_result)


async def resend(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Makes the webhook of a final request due now.

    Raises RequestNotFound, or NoWebhook when none was asked for or the request is open.
    """

    def plan(connection: Connection) -> tuple[UUID, Snapshot]:
        planned = webhook_outbox.reset_for_resend(connection, caller.tenant_id, request_id)
        audit_log.record_event(
            connection, caller, AuditAction.WEBHOOK_RESENT, encode_global_id(IdPrefix.REQUEST, request_id)
        )
        return planned

    delivery_id, request = await runtime.db.write(plan)
    await best_effort(runtime, lambda: runtime.queue.deliver(delivery_id))
    return request


def next_delay_s(tries: int, delays_s: Sequence[float], retry_after_s: float | None) -> float | None:
    """The pause after so many failed tries; None when it was the last one."""
    if tries > len(delays_s):
        return None
    planned_s = delays_s[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(planned_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
