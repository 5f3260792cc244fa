"""Inputs and payloads of the mutations about webhook endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import strawberry

from gql_imgproc import errors
from gql_imgproc.enums import WebhookEventType
from gql_imgproc.graphql.types.key_payloads import OVERLAP_SECONDS
from gql_imgproc.graphql.types.payloads import UserError, outcome_of
from gql_imgproc.graphql.types.scalars import URL
from gql_imgproc.graphql.types.webhook_endpoint import WebhookEndpoint, WebhookEndpointDelivery

_SECRET = "The secret that verifies signatures, `whsec_…`. It is shown once and cannot be read again."


@strawberry.input(description="Input of `createWebhookEndpoint`.")
class CreateWebhookEndpointInput:
    url: URL = strawberry.field(description="Where events are sent.")
    event_types: list[WebhookEventType] = strawberry.field(
        description="The events to send, at least one; a test is always possible."
    )


@strawberry.input(description="Input of `rotateWebhookSecret`.")
class RotateWebhookSecretInput:
    endpoint_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The endpoint that gets a new secret. Null or omitted: the tenant itself, whose secret signs the "
        "webhooks of its uploads.",
    )
    overlap_seconds: int = strawberry.field(
        default=OVERLAP_SECONDS,
        description="How long messages are signed with the previous secret as well, up to 30 days. "
        "Before the first secret of the tenant, the previous one is that of the service.",
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


@strawberry.input(description="Input of the mutations that change one webhook endpoint.")
class WebhookEndpointInput:
    id: strawberry.ID = strawberry.field(description="The endpoint.")


@strawberry.type(description="The endpoint was created.")
class CreateWebhookEndpointSuccess:
    endpoint: WebhookEndpoint = strawberry.field(description="The new endpoint.")
    secret: str = strawberry.field(description=_SECRET)


@strawberry.type(
    description="A new secret was created. Messages are signed with the previous one as well until the overlap ends."
)
class RotateWebhookSecretSuccess:
    endpoint: WebhookEndpoint | None = strawberry.field(description="The endpoint; null for the tenant itself.")
    secret: str = strawberry.field(description=_SECRET)


@strawberry.type(description="The endpoint is enabled.")
class EnableWebhookEndpointSuccess:
    endpoint: WebhookEndpoint = strawberry.field(description="The endpoint.")


@strawberry.type(description="The endpoint is disabled. Deliveries that become due now fail.")
class DisableWebhookEndpointSuccess:
    endpoint: WebhookEndpoint = strawberry.field(description="The endpoint.")


@strawberry.type(description="A test event will be sent; `webhookDeliveries` shows the attempts.")
class TestWebhookEndpointSuccess:
    delivery: WebhookEndpointDelivery = strawberry.field(description="The delivery.")


@strawberry.type(
    description="The URL is malformed or points to a network that is not allowed, no type of event is chosen, the "
    "overlap is too long, or there are too many enabled endpoints."
)
class WebhookEndpointInvalid(UserError):
    error = errors.WebhookEndpointInvalid


@strawberry.type(description="The endpoint does not exist.")
class WebhookEndpointNotFound(UserError):
    error = errors.WebhookEndpointNotFound


@strawberry.type(description="The endpoint is disabled.")
class WebhookEndpointDisabled(UserError):
    error = errors.WebhookEndpointDisabled


@strawberry.type(description="The operator of the service has set no key to encrypt webhook secrets with.")
class SecretsKeyMissing(UserError):
    error = errors.SecretsKeyMissing


CreateWebhookEndpointResult = Annotated[
    CreateWebhookEndpointSuccess | WebhookEndpointInvalid | SecretsKeyMissing, outcome_of("createWebhookEndpoint")
]
RotateWebhookSecretResult = Annotated[
    RotateWebhookSecretSuccess | WebhookEndpointNotFound | WebhookEndpointInvalid | SecretsKeyMissing,
    outcome_of("rotateWebhookSecret"),
]
EnableWebhookEndpointResult = Annotated[
    EnableWebhookEndpointSuccess | WebhookEndpointNotFound | WebhookEndpointInvalid, outcome_of("enableWebhookEndpoint")
]
DisableWebhookEndpointResult = Annotated[
    DisableWebhookEndpointSuccess | WebhookEndpointNotFound, outcome_of("disableWebhookEndpoint")
]
TestWebhookEndpointResult = Annotated[
    TestWebhookEndpointSuccess | WebhookEndpointNotFound | WebhookEndpointDisabled, outcome_of("testWebhookEndpoint")
]
