"""The webhook delivery of a request."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import strawberry

from gql_imgproc.enums import WebhookStatus
from gql_imgproc.graphql.types.scalars import URL
from gql_imgproc.graphql.types.view import view
from gql_imgproc.requests.repository.webhook_outbox import Delivery
from gql_imgproc.security.webhook_url import redact_webhook_url


@strawberry.type(description="One attempt to deliver a webhook.")
class WebhookAttempt:
    at: datetime = strawberry.field(description="When the attempt began.")
    http_status: int | None = strawberry.field(description="HTTP status of the response; null when there was none.")
    error: str | None = strawberry.field(
        description="Why the attempt failed, as a sentence for people; null when it succeeded."
    )
    duration_ms: int = strawberry.field(description="How long the attempt took, in milliseconds.")


def to_attempts(delivery: Delivery) -> list[WebhookAttempt]:
    return [WebhookAttempt(**asdict(attempt)) for attempt in delivery.log]


@strawberry.type(description="Delivery of the completion webhook.")
class WebhookDelivery:
    url: URL = strawberry.field(description="URL of the webhook, without credentials.")
    status: WebhookStatus = strawberry.field(description="Status of the delivery.")
    attempts: int = strawberry.field(description="Number of attempts made.")
    last_http_status: int | None = strawberry.field(
        description="HTTP status of the last attempt; null when there was no attempt or no response."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When the next attempt is due; null when none is planned."
    )
    log: list[WebhookAttempt] = strawberry.field(description="The last 20 attempts, oldest first.")

    @classmethod
    def from_row(cls, url: str, delivery: Delivery | None) -> WebhookDelivery:
        """`delivery` is None until the request has a final status."""
        known = delivery or Delivery(WebhookStatus.PENDING, attempts=0, last_http_status=None, due_at=None, log=())
        return view(
            cls,
            known,
            url=URL(redact_webhook_url(url)),
            next_attempt_at=known.due_at,
            log=to_attempts(known),
        )
