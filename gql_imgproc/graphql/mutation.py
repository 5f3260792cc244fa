"""Mutations: each calls one service and returns a success type or a typed error."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import strawberry

from gql_imgproc import errors
from gql_imgproc.access import api_keys
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.endpoint_payloads import (
    CreateWebhookEndpointInput,
    CreateWebhookEndpointResult,
    CreateWebhookEndpointSuccess,
    DisableWebhookEndpointResult,
    DisableWebhookEndpointSuccess,
    EnableWebhookEndpointResult,
    EnableWebhookEndpointSuccess,
    RotateWebhookSecretInput,
    RotateWebhookSecretResult,
    RotateWebhookSecretSuccess,
    TestWebhookEndpointResult,
    TestWebhookEndpointSuccess,
    WebhookEndpointInput,
)
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.inputs import (
    CancelRequestInput,
    DeleteRequestInput,
    ResendWebhookInput,
    RetryFailedImagesInput,
    UploadCsvInput,
)
from gql_imgproc.graphql.types.key_payloads import (
    CreateApiKeyInput,
    CreateApiKeyResult,
    CreateApiKeySuccess,
    RevokeApiKeyInput,
    RevokeApiKeyResult,
    RevokeApiKeySuccess,
    RotateApiKeyInput,
    RotateApiKeyResult,
    RotateApiKeySuccess,
)
from gql_imgproc.graphql.types.node import parse_global_id
from gql_imgproc.graphql.types.payloads import (
    CancelRequestResult,
    CancelRequestSuccess,
    DeleteRequestResult,
    DeleteRequestSuccess,
    ResendWebhookResult,
    ResendWebhookSuccess,
    RetryFailedImagesResult,
    RetryFailedImagesSuccess,
    UploadCsvResult,
    UploadCsvSuccess,
    typed_errors,
)
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.webhook_endpoint import WebhookEndpoint, WebhookEndpointDelivery
from gql_imgproc.ids import IdPrefix
from gql_imgproc.requests import commands, upload
from gql_imgproc.security.scopes import Scope
from gql_imgproc.webhooks import delivery, endpoints

_REQUEST = strawberry.argument(description="The request.")
_API_KEY = strawberry.argument(description="The API key.")
_ENDPOINT = strawberry.argument(description="The webhook endpoint.")


@strawberry.type(description="Entry points for changes.")
class Mutation:
    @cost_field("Uploads a CSV file, checks it and starts the work.", cost=10)
    @typed_errors("file")
    async def upload_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> UploadCsvResult:
        result = await upload.accept_upload(info.context.runtime, info.context.caller, input.to_upload())
        return UploadCsvSuccess(request=Request.from_snapshot(result.snapshot), replayed=result.is_replay)

    @cost_field("Cancels a request.")
    @typed_errors("id")
    async def cancel_request(self, info: Info, input: Annotated[CancelRequestInput, _REQUEST]) -> CancelRequestResult:
        request = await commands.cancel(info.context.runtime, info.context.caller, _request_id(input.id))
        return CancelRequestSuccess(request=Request.from_snapshot(request))

    @cost_field("Retries the failed images of a final request.")
    @typed_errors("id")
    async def retry_failed_images(
        self, info: Info, input: Annotated[RetryFailedImagesInput, _REQUEST]
    ) -> RetryFailedImagesResult:
        request = await commands.retry_failed(info.context.runtime, info.context.caller, _request_id(input.id))
        return RetryFailedImagesSuccess(request=Request.from_snapshot(request))

    @cost_field("Sends the completion webhook of a final request again.")
    @typed_errors("id")
    async def resend_webhook(self, info: Info, input: Annotated[ResendWebhookInput, _REQUEST]) -> ResendWebhookResult:
        request = await delivery.resend(info.context.runtime, info.context.caller, _request_id(input.id))
        return ResendWebhookSuccess(request=Request.from_snapshot(request))

    @cost_field("Deletes a final request with its products, images and stored files.")
    @typed_errors("id")
    async def delete_request(self, info: Info, input: Annotated[DeleteRequestInput, _REQUEST]) -> DeleteRequestResult:
        await commands.delete(info.context.runtime, info.context.caller, _request_id(input.id))
        return DeleteRequestSuccess(deleted_id=input.id)

    @cost_field("Creates an API key for the caller's tenant, with any scopes.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[CreateApiKeyInput, strawberry.argument(description="Name, scopes and expiry.")],
    ) -> CreateApiKeyResult:
        db, caller, expires_at = info.context.runtime.db, info.context.caller, unset_to_none(input.expires_at)
        issued = await api_keys.create(db, caller, input.name, input.scopes, expires_at)
        return CreateApiKeySuccess(api_key=ApiKey.from_row(issued.key), secret=issued.text)

    @cost_field("Creates an API key that replaces another one.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def rotate_api_key(self, info: Info, input: Annotated[RotateApiKeyInput, _API_KEY]) -> RotateApiKeyResult:
        db, caller = info.context.runtime.db, info.context.caller
        issued = await api_keys.rotate(db, caller, _key_id(input.id), input.overlap)
        return RotateApiKeySuccess(api_key=ApiKey.from_row(issued.key), secret=issued.text)

    @cost_field("Revokes an API key.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def revoke_api_key(self, info: Info, input: Annotated[RevokeApiKeyInput, _API_KEY]) -> RevokeApiKeyResult:
        key = await api_keys.revoke(info.context.runtime.db, info.context.caller, _key_id(input.id))
        return RevokeApiKeySuccess(api_key=ApiKey.from_row(key))

    @cost_field("Creates a webhook endpoint of the caller's tenant.", cost=10, scope=Scope.ADMIN)
    @typed_errors("url")
    async def create_webhook_endpoint(
        self,
        info: Info,
        input: Annotated[CreateWebhookEndpointInput, strawberry.argument(description="URL and types of events.")],
    ) -> CreateWebhookEndpointResult:
        runtime, caller = info.context.runtime, info.context.caller
        issued = await endpoints.create(runtime, caller, input.url, input.event_types)
        return CreateWebhookEndpointSuccess(endpoint=WebhookEndpoint.from_row(issued.endpoint), secret=issued.text)

    @cost_field("Creates a new secret that signs webhooks.", cost=10, scope=Scope.ADMIN)
    @typed_errors("endpointId")
    async def rotate_webhook_secret(
        self,
        info: Info,
        input: Annotated[RotateWebhookSecretInput, strawberry.argument(description="Endpoint and overlap.")],
    ) -> RotateWebhookSecretResult:
        endpoint_id = _endpoint_id(input.endpoint_id) if input.endpoint_id is not None else None
        issued = await endpoints.rotate_secret(info.context.runtime, info.context.caller, endpoint_id, input.overlap)
        endpoint = WebhookEndpoint.from_row(issued.endpoint) if issued.endpoint else None
        return RotateWebhookSecretSuccess(endpoint=endpoint, secret=issued.text)

    @cost_field("Enables a webhook endpoint again.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def enable_webhook_endpoint(
        self, info: Info, input: Annotated[WebhookEndpointInput, _ENDPOINT]
    ) -> EnableWebhookEndpointResult:
        endpoint = await endpoints.enable(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return EnableWebhookEndpointSuccess(endpoint=WebhookEndpoint.from_row(endpoint))

    @cost_field("Disables a webhook endpoint.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def disable_webhook_endpoint(
        self, info: Info, input: Annotated[WebhookEndpointInput, _ENDPOINT]
    ) -> DisableWebhookEndpointResult:
        endpoint = await endpoints.disable(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return DisableWebhookEndpointSuccess(endpoint=WebhookEndpoint.from_row(endpoint))

    @cost_field("Sends a test event to a webhook endpoint.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def test_webhook_endpoint(
        self, info: Info, input: Annotated[WebhookEndpointInput, _ENDPOINT]
    ) -> TestWebhookEndpointResult:
        sent = await endpoints.send_test(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return TestWebhookEndpointSuccess(delivery=WebhookEndpointDelivery.from_row(sent))


def _endpoint_id(id: str) -> UUID:
    """Raises WebhookEndpointNotFound for a malformed ID or one of another type."""
    if endpoint_id := parse_global_id(id, IdPrefix.WEBHOOK_ENDPOINT):
        return endpoint_id
    raise errors.WebhookEndpointNotFound


def _key_id(id: str) -> UUID:
    """Raises ApiKeyNotFound for a malformed ID or one of another type."""
    if key_id := parse_global_id(id, IdPrefix.API_KEY):
        return key_id
    raise errors.ApiKeyNotFound


def _request_id(id: str) -> UUID:
    """Raises RequestNotFound for a malformed ID or one of another type."""
    if request_id := parse_global_id(id, IdPrefix.REQUEST):
        return request_id
    raise errors.RequestNotFound
