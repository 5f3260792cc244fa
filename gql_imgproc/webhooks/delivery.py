"""Delivers webhooks: one attempt at a time, with retries that are stored in the database."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc import tracing
from gql_imgproc.access import audit_log, key_repository, signed_urls
from gql_imgproc.enums import AuditAction, EndpointDisabledReason
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_ENDPOINTS_DISABLED, WEBHOOK_SECONDS
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import endpoint_outbox, webhook_outbox
from gql_imgproc.requests.repository.webhook_outbox import ClaimedDelivery, DeliveryAttempt
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.security import webhook_signature
from gql_imgproc.security.scopes import Caller, system_caller
from gql_imgproc.security.url_signature import compute_expiry, sign_path
from gql_imgproc.security.webhook_url import redact_webhook_url
from gql_imgproc.webhooks import client, endpoints
from gql_imgproc.webhooks.payload import build_payload, message_id
from gql_imgproc.webhooks.secrets import signing_keys

log = logging.getLogger(__name__)

#: Seconds that a worker may need besides the attempt itself, before another worker may claim the delivery.
LEASE_MARGIN_S = 15
#: Share by which a planned delay is made shorter or longer at random, so that not all retries come at once.
JITTER = 0.1
#: How long the signed URL of an output CSV in a webhook is valid, in seconds.
LINK_SECONDS = 7 * 86_400
#: For this long after the end of a request, all attempts contain the same signed URL; longer than all planned delays.
LINK_FIXED_FOR = timedelta(days=4)
#: Upper limit of a receiver's `Retry-After`, in seconds: the longest delay of our own plan.
MAX_RETRY_AFTER_S = 86_400


def schedule_delivery(runtime: Runtime, delivery_id: UUID) -> None:
    """Makes one attempt in the background: a slow receiver must not block a worker thread."""

    async def deliver_when_free() -> None:
        async with runtime.webhooks:
            await deliver(runtime, delivery_id)

    runtime.background.start(("deliver", delivery_id), deliver_when_free)


async def deliver(runtime: Runtime, delivery_id: UUID) -> None:
    """Makes one attempt if one is due, and records its outcome and the time of the next attempt."""
    lease_s = runtime.settings.webhook_timeout_seconds + LEASE_MARGIN_S
    claim = await runtime.db.write(_claim, delivery_id, lease_s)
    if claim is None:
        return
    if claim.request_id is None:
        response = await _send(runtime, claim)
    else:
        async with request_span(runtime, "webhook", claim.request_id, tracing.SpanKind.CLIENT):
            response = await _send(runtime, claim)
    await _record(runtime, claim, response)


def _claim(connection: Connection, delivery_id: UUID, lease_s: float) -> ClaimedDelivery | None:
    """Claims a delivery to the URL of an upload, or to an endpoint."""
    to_url = webhook_outbox.claim_delivery(connection, delivery_id, lease_s)
    return to_url or endpoint_outbox.claim_delivery(connection, delivery_id, lease_s)


async def _send(runtime: Runtime, claim: ClaimedDelivery) -> client.DeliveryResponse:
    keys = await signing_keys(runtime, claim)
    if keys is None:
        log.error("webhook not sent: IMGPROC_SECRETS_KEY is not set or not the key of its secret")
        message = "The service could not read the webhook's secret. Its operator must check IMGPROC_SECRETS_KEY."
        return client.DeliveryResponse(None, message, 0, is_own_error=True)
    body = build_payload(claim.event, await _output_csv_url(runtime, claim))
    headers = webhook_signature.signature_headers(keys, message_id(claim.delivery_id), claim.at, body)
    if traceparent := tracing.current_traceparent():
        headers = {**headers, tracing.TRACEPARENT: traceparent}
    return await client.post(claim.url, body, headers, runtime.policy, runtime.settings.webhook_timeout_seconds)


async def _record(runtime: Runtime, claim: ClaimedDelivery, response: client.DeliveryResponse) -> None:
    WEBHOOK_ATTEMPTS.labels(outcome_label(response)).inc()
    WEBHOOK_SECONDS.observe(response.duration_ms / 1000)
    attempt = DeliveryAttempt(claim.at, response.http_status, response.error, response.duration_ms)
    delays_s = runtime.settings.webhook_retry_delays
    delay_s = None if response.is_gone else next_delay_s(claim.attempt, delays_s, response.retry_after_s)
    if reason := await runtime.db.write(_record_attempt, claim, attempt, delay_s, response):
        WEBHOOK_ENDPOINTS_DISABLED.labels(reason.value).inc()
    log.info(
        "webhook failed" if response.error else "webhook delivered",
        extra={
            "request": claim.request_id,
            "url": redact_webhook_url(claim.url),
            "attempt": claim.attempt,
            "http_status": response.http_status,
            "error": response.error,
            "duration_ms": response.duration_ms,
            "next_try_in_s": delay_s and response.error and round(delay_s, 1),
        },
    )


def _record_attempt(
    connection: Connection,
    claim: ClaimedDelivery,
    attempt: DeliveryAttempt,
    delay_s: float | None,
    response: client.DeliveryResponse,
) -> EndpointDisabledReason | None:
    """Records an attempt, and what it means for an endpoint. Returns the reason if this disabled the endpoint."""
    is_recorded, endpoint_id = webhook_outbox.record_attempt(connection, claim, attempt, delay_s), claim.endpoint_id
    if endpoint_id is None or not is_recorded or response.is_own_error:
        return None
    if attempt.error is None:
        endpoint_outbox.record_success(connection, endpoint_id)
        return None
    reason = endpoint_outbox.record_failure(connection, endpoint_id, claim.at, is_gone=response.is_gone)
    if reason:
        caller = system_caller(claim.tenant_id, "webhooks")
        subject = endpoints.global_id(endpoint_id)
        details = {"reason": reason.value, "lastError": attempt.error}
        audit_log.record_event(connection, caller, AuditAction.WEBHOOK_ENDPOINT_DISABLED, subject, **details)
    return reason


async def _output_csv_url(runtime: Runtime, claim: ClaimedDelivery) -> str | None:
    """The URL of the output CSV; signed, if callers need an API key, so that the receiver needs none.

    The URL is the same for all planned attempts, so that receivers get the same message.
    """
    path, public_url = claim.event.data.get("outputCsvUrl"), runtime.settings.public_url
    if path is None:
        return None
    if not await runtime.db.read(key_repository.has_keys):
        return public_url + str(path)
    ended_at = claim.event.occurred_at
    # A webhook that is resent long after the end gets a URL that is valid from now on.
    valid_from = ended_at if claim.at - ended_at < LINK_FIXED_FOR else claim.at
    secret = (await runtime.db.read(signed_urls.read_secrets))[0]
    return public_url + sign_path(path, compute_expiry(valid_from.timestamp(), LINK_SECONDS), secret)


def outcome_label(response: client.DeliveryResponse) -> str:
    """The value of the metric label `result`."""
    if response.error is None:
        return "delivered"
    return "no_answer" if response.http_status is None else f"status_{response.http_status // 100}xx"


# rate() needs a value before the first event.
for _result in ("delivered", "no_answer", "status_4xx", "status_5xx"):
    WEBHOOK_ATTEMPTS.labels(_result)
for _reason in (EndpointDisabledReason.GONE, EndpointDisabledReason.FAILING):
    WEBHOOK_ENDPOINTS_DISABLED.labels(_reason.value)


async def resend(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Makes the webhook of a finished request due now.

    Raises RequestNotFound, or NoWebhook when the request has no webhook URL or is not finished.
    """

    def reset_and_audit(connection: Connection) -> tuple[UUID, Snapshot]:
        delivery = webhook_outbox.reset_for_resend(connection, caller.tenant_id, request_id)
        audit_log.record_event(
            connection, caller, AuditAction.WEBHOOK_RESENT, encode_global_id(IdPrefix.REQUEST, request_id)
        )
        return delivery

    delivery_id, request = await runtime.db.write(reset_and_audit)
    await best_effort(runtime, lambda: runtime.queue.deliver(delivery_id))
    return request


def next_delay_s(attempts: int, delays_s: Sequence[float], retry_after_s: float | None) -> float | None:
    """The delay after this many failed attempts; None when no attempt is left."""
    if attempts > len(delays_s):
        return None
    planned_s = delays_s[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(planned_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))
