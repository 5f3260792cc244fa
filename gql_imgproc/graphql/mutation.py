"""Mutations: each calls one service and returns a success type or a typed error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import strawberry

from gql_imgproc import errors
from gql_imgproc.access import api_keys
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types import endpoint_payloads, inputs, key_payloads, payloads
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.payloads import typed_errors
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.webhook_endpoint import WebhookEndpoint, WebhookEndpointDelivery
from gql_imgproc.ids import IdPrefix, parse_global_id
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
        self, info: Info, input: Annotated[inputs.UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> payloads.UploadCsvResult:
        result = await upload.accept_upload(info.context.runtime, info.context.caller, input.to_upload())
        return payloads.UploadCsvSuccess(request=Request.from_snapshot(result.snapshot), replayed=result.is_replay)

    @cost_field("Cancels a request.")
    @typed_errors("id")
    async def cancel_request(
        self, info: Info, input: Annotated[inputs.CancelRequestInput, _REQUEST]
    ) -> payloads.CancelRequestResult:
        request = await commands.cancel(info.context.runtime, info.context.caller, _request_id(input.id))
        return payloads.CancelRequestSuccess(request=Request.from_snapshot(request))

    @cost_field("Retries the failed images of a final request, or only those with one cause or of one host.")
    @typed_errors("id")
    async def retry_failed_images(
        self, info: Info, input: Annotated[inputs.RetryFailedImagesInput, _REQUEST]
    ) -> payloads.RetryFailedImagesResult:
        request = await commands.retry_failed(
            info.context.runtime,
            info.context.caller,
            _request_id(input.id),
            unset_to_none(input.error_code),
            unset_to_none(input.host),
        )
        return payloads.RetryFailedImagesSuccess(request=Request.from_snapshot(request))

    @cost_field("Sends the completion webhook of a final request again.")
    @typed_errors("id")
    async def resend_webhook(
        self, info: Info, input: Annotated[inputs.ResendWebhookInput, _REQUEST]
    ) -> payloads.ResendWebhookResult:
        request = await delivery.resend(info.context.runtime, info.context.caller, _request_id(input.id))
        return payloads.ResendWebhookSuccess(request=Request.from_snapshot(request))

    @cost_field("Deletes a final request with its products, images and stored files.")
    @typed_errors("id")
    async def delete_request(
        self, info: Info, input: Annotated[inputs.DeleteRequestInput, _REQUEST]
    ) -> payloads.DeleteRequestResult:
        await commands.delete(info.context.runtime, info.context.caller, _request_id(input.id))
        return payloads.DeleteRequestSuccess(deleted_id=input.id)

    @cost_field("Creates an API key for the caller's tenant, with any scopes.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[key_payloads.CreateApiKeyInput, strawberry.argument(description="Name, scopes and expiry.")],
    ) -> key_payloads.CreateApiKeyResult:
        db, caller, expires_at = info.context.runtime.db, info.context.caller, unset_to_none(input.expires_at)
        issued = await api_keys.create(db, caller, input.name, input.scopes, expires_at)
        return key_payloads.CreateApiKeySuccess(api_key=ApiKey.from_row(issued.key), secret=issued.text)

    @cost_field("Creates an API key that replaces another one.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def rotate_api_key(
        self, info: Info, input: Annotated[key_payloads.RotateApiKeyInput, _API_KEY]
    ) -> key_payloads.RotateApiKeyResult:
        db, caller = info.context.runtime.db, info.context.caller
        issued = await api_keys.rotate(db, caller, _key_id(input.id), input.overlap)
        return key_payloads.RotateApiKeySuccess(api_key=ApiKey.from_row(issued.key), secret=issued.text)

    @cost_field("Revokes an API key.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def revoke_api_key(
        self, info: Info, input: Annotated[key_payloads.RevokeApiKeyInput, _API_KEY]
    ) -> key_payloads.RevokeApiKeyResult:
        key = await api_keys.revoke(info.context.runtime.db, info.context.caller, _key_id(input.id))
        return key_payloads.RevokeApiKeySuccess(api_key=ApiKey.from_row(key))

    @cost_field("Creates a webhook endpoint of the caller's tenant.", cost=10, scope=Scope.ADMIN)
    @typed_errors("url")
    async def create_webhook_endpoint(
        self,
        info: Info,
        input: Annotated[
            endpoint_payloads.CreateWebhookEndpointInput, strawberry.argument(description="URL and types of events.")
        ],
    ) -> endpoint_payloads.CreateWebhookEndpointResult:
        runtime, caller = info.context.runtime, info.context.caller
        issued = await endpoints.create(runtime, caller, input.url, input.event_types)
        return endpoint_payloads.CreateWebhookEndpointSuccess(
            endpoint=WebhookEndpoint.from_row(issued.endpoint), secret=issued.text
        )

    @cost_field("Creates a new secret that signs webhooks.", cost=10, scope=Scope.ADMIN)
    @typed_errors("endpointId")
    async def rotate_webhook_secret(
        self,
        info: Info,
        input: Annotated[
            endpoint_payloads.RotateWebhookSecretInput, strawberry.argument(description="Endpoint and overlap.")
        ],
    ) -> endpoint_payloads.RotateWebhookSecretResult:
        endpoint_id = _endpoint_id(input.endpoint_id) if input.endpoint_id is not None else None
        issued = await endpoints.rotate_secret(info.context.runtime, info.context.caller, endpoint_id, input.overlap)
        endpoint = WebhookEndpoint.from_row(issued.endpoint) if issued.endpoint else None
        return endpoint_payloads.RotateWebhookSecretSuccess(endpoint=endpoint, secret=issued.text)

    @cost_field("Enables a webhook endpoint again.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def enable_webhook_endpoint(
        self, info: Info, input: Annotated[endpoint_payloads.WebhookEndpointInput, _ENDPOINT]
    ) -> endpoint_payloads.EnableWebhookEndpointResult:
        endpoint = await endpoints.enable(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return endpoint_payloads.EnableWebhookEndpointSuccess(endpoint=WebhookEndpoint.from_row(endpoint))

    @cost_field("Disables a webhook endpoint.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def disable_webhook_endpoint(
        self, info: Info, input: Annotated[endpoint_payloads.WebhookEndpointInput, _ENDPOINT]
    ) -> endpoint_payloads.DisableWebhookEndpointResult:
        endpoint = await endpoints.disable(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return endpoint_payloads.DisableWebhookEndpointSuccess(endpoint=WebhookEndpoint.from_row(endpoint))

    @cost_field("Sends a test event to a webhook endpoint.", cost=10, scope=Scope.ADMIN)
    @typed_errors("id")
    async def test_webhook_endpoint(
        self, info: Info, input: Annotated[endpoint_payloads.WebhookEndpointInput, _ENDPOINT]
    ) -> endpoint_payloads.TestWebhookEndpointResult:
        sent = await endpoints.send_test(info.context.runtime, info.context.caller, _endpoint_id(input.id))
        return endpoint_payloads.TestWebhookEndpointSuccess(delivery=WebhookEndpointDelivery.from_row(sent))


def _id_parser(kind: IdPrefix, not_found: type[errors.ImgprocError]) -> Callable[[str], UUID]:
    """Parses IDs of one kind. A malformed ID, or one of another kind, raises the error for a missing object."""

    def parse(id: str) -> UUID:
        if found := parse_global_id(id, kind):
            return found
        raise not_found

    return parse


_request_id = _id_parser(IdPrefix.REQUEST, errors.RequestNotFound)
_key_id = _id_parser(IdPrefix.API_KEY, errors.ApiKeyNotFound)
_endpoint_id = _id_parser(IdPrefix.WEBHOOK_ENDPOINT, errors.WebhookEndpointNotFound)
