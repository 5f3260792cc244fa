"""Webhook endpoints, without their secrets, and their delivery logs."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.enums import EndpointDisabledReason, WebhookEventType, WebhookStatus
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.scalars import URL
from gql_imgproc.graphql.types.view import view
from gql_imgproc.graphql.types.webhook import WebhookAttempt, to_attempts
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.security.webhook_url import redact_webhook_url
from gql_imgproc.webhooks import repository
from gql_imgproc.webhooks.endpoints import global_id
from gql_imgproc.webhooks.payload import message_id


@strawberry.type(description="A URL that receives events of all requests of the caller's tenant; only admins see it.")
class WebhookEndpoint(Node):
    url: URL = strawberry.field(description="Where events are sent; credentials in the URL are not shown.")
    event_types: list[WebhookEventType] = strawberry.field(description="The events that are sent.")
    enabled: bool = strawberry.field(description="Whether events are sent.")
    disabled_at: datetime | None = strawberry.field(description="When it was disabled; null when it is enabled.")
    disabled_reason: EndpointDisabledReason | None = strawberry.field(
        description="Why it is disabled; null when it is enabled."
    )
    failing_since: datetime | None = strawberry.field(
        description="When the first of the failed attempts was made since the last successful one; "
        "null when the last attempt was successful or there was none."
    )
    created_at: datetime = strawberry.field(description="When it was created.")

    @classmethod
    def from_row(cls, endpoint: repository.WebhookEndpoint) -> WebhookEndpoint:
        return view(
            cls,
            endpoint,
            id=strawberry.ID(global_id(endpoint.id)),
            url=URL(redact_webhook_url(endpoint.url)),
            event_types=[kind for kind in WebhookEventType if kind in endpoint.event_types],
            enabled=endpoint.disabled_at is None,
        )


@strawberry.type(description="Delivery of an event to a webhook endpoint. Its ID is the `webhook-id` of every attempt.")
class WebhookEndpointDelivery(Node):
    event_type: WebhookEventType = strawberry.field(description="What the event is about.")
    request_id: strawberry.ID | None = strawberry.field(description="The request; null for a test.")
    occurred_at: datetime = strawberry.field(description="The `timestamp` of the event.")
    status: WebhookStatus = strawberry.field(
        description="Status of the delivery; FAILED, too, if it became due while the endpoint was disabled."
    )
    attempts: int = strawberry.field(description="Number of attempts made.")
    last_http_status: int | None = strawberry.field(
        description="HTTP status of the last attempt; null when there was no attempt or no response."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When the next attempt is due; null when none is planned."
    )
    log: list[WebhookAttempt] = strawberry.field(description="The last 20 attempts, oldest first.")

    @classmethod
    def from_row(cls, delivery: repository.EndpointDelivery) -> WebhookEndpointDelivery:
        request_id, state = delivery.request_id, delivery.state
        return view(
            cls,
            state,
            id=strawberry.ID(message_id(delivery.id)),
            event_type=delivery.event_type,
            request_id=strawberry.ID(encode_global_id(IdPrefix.REQUEST, request_id)) if request_id else None,
            occurred_at=delivery.occurred_at,
            next_attempt_at=state.due_at,
            log=to_attempts(state),
        )
