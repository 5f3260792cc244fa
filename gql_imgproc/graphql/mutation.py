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
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.inputs import (
    CancelRequestInput,
    DeleteRequestInput,
    ResendWebhookInput,
    RetryFailedImagesInput,
    UploadCsvInput,
)
from gql_imgproc.graphql.types.key_payloads import (
    ApiKeyInactive,
    ApiKeyInvalid,
    ApiKeyNotFound,
    CreateApiKeyInput,
    CreateApiKeyResult,
    CreateApiKeySuccess,
    LastAdminKey,
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
    CsvInvalid,
    DeleteRequestResult,
    DeleteRequestSuccess,
    NothingToRetry,
    NoWebhook,
    QuotaExceeded,
    RequestAlreadyFinal,
    RequestNotFinal,
    RequestNotFound,
    ResendWebhookResult,
    ResendWebhookSuccess,
    RetryFailedImagesResult,
    RetryFailedImagesSuccess,
    UploadCsvResult,
    UploadCsvSuccess,
    UploadTooLarge,
    WebhookUrlInvalid,
)
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.ids import IdPrefix
from gql_imgproc.requests import commands, upload
from gql_imgproc.security.scopes import Scope
from gql_imgproc.webhooks import delivery

_ID_PATH = ["input", "id"]
_REQUEST = strawberry.argument(description="The request.")
_API_KEY = strawberry.argument(description="The API key.")


@strawberry.type(description="Entry points for changes.")
class Mutation:
    @cost_field("Uploads a CSV file, checks it and starts the work.", cost=10)
    async def upload_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> UploadCsvResult:
        try:
            result = await upload.accept_upload(info.context.runtime, info.context.caller, input.to_upload())
        except errors.InvalidCsv as error:
            return CsvInvalid.from_error(error)
        except errors.UploadTooLarge as error:
            info.context.http_status = 413
            return UploadTooLarge.from_error(error)
        except errors.WebhookUrlInvalid as error:
            return WebhookUrlInvalid(message=str(error), path=["input", "webhookUrl"])
        except errors.QuotaExceeded as error:
            return QuotaExceeded.from_error(error, ["input", "file"])
        return UploadCsvSuccess(request=Request.from_snapshot(result.snapshot), replayed=result.is_replay)

    @cost_field("Cancels a request.")
    async def cancel_request(self, info: Info, input: Annotated[CancelRequestInput, _REQUEST]) -> CancelRequestResult:
        try:
            request = await commands.cancel(info.context.runtime, info.context.caller, _request_id(input.id))
        except errors.RequestNotFound as error:
            return RequestNotFound(message=str(error), path=_ID_PATH)
        except errors.RequestAlreadyFinal as error:
            return RequestAlreadyFinal(message=str(error), path=_ID_PATH, status=error.status)
        return CancelRequestSuccess(request=Request.from_snapshot(request))

    @cost_field("Retries the failed images of a final request.")
    async def retry_failed_images(
        self, info: Info, input: Annotated[RetryFailedImagesInput, _REQUEST]
    ) -> RetryFailedImagesResult:
        try:
            request = await commands.retry_failed(info.context.runtime, info.context.caller, _request_id(input.id))
        except errors.RequestNotFound as error:
            return RequestNotFound(message=str(error), path=_ID_PATH)
        except errors.NothingToRetry as error:
            return NothingToRetry(message=str(error), path=_ID_PATH)
        except errors.QuotaExceeded as error:
            return QuotaExceeded.from_error(error, _ID_PATH)
        return RetryFailedImagesSuccess(request=Request.from_snapshot(request))

    @cost_field("Sends the completion webhook of a final request again.")
    async def resend_webhook(self, info: Info, input: Annotated[ResendWebhookInput, _REQUEST]) -> ResendWebhookResult:
        try:
            request = await delivery.resend(info.context.runtime, info.context.caller, _request_id(input.id))
        except errors.RequestNotFound as error:
            return RequestNotFound(message=str(error), path=_ID_PATH)
        except errors.NoWebhook as error:
            return NoWebhook(message=str(error), path=_ID_PATH)
        return ResendWebhookSuccess(request=Request.from_snapshot(request))

    @cost_field("Deletes a final request with its products, images and stored files.")
    async def delete_request(self, info: Info, input: Annotated[DeleteRequestInput, _REQUEST]) -> DeleteRequestResult:
        try:
            await commands.delete(info.context.runtime, info.context.caller, _request_id(input.id))
        except errors.RequestNotFound as error:
            return RequestNotFound(message=str(error), path=_ID_PATH)
        except errors.RequestNotFinal as error:
            return RequestNotFinal(message=str(error), path=_ID_PATH, status=error.status)
        return DeleteRequestSuccess(deleted_id=input.id)

    @cost_field("Creates an API key for the caller's tenant, with any scopes.", cost=10, scope=Scope.ADMIN)
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[CreateApiKeyInput, strawberry.argument(description="Name, scopes and expiry.")],
    ) -> CreateApiKeyResult:
        db, caller, expires_at = info.context.runtime.db, info.context.caller, unset_to_none(input.expires_at)
        try:
            issued = await api_keys.create(db, caller, input.name, input.scopes, expires_at)
        except errors.ApiKeyInvalid as error:
            return ApiKeyInvalid.from_error(error)
        return CreateApiKeySuccess.from_issued(issued)

    @cost_field("Creates an API key that replaces another one.", cost=10, scope=Scope.ADMIN)
    async def rotate_api_key(self, info: Info, input: Annotated[RotateApiKeyInput, _API_KEY]) -> RotateApiKeyResult:
        db, caller = info.context.runtime.db, info.context.caller
        try:
            issued = await api_keys.rotate(db, caller, _key_id(input.id), input.overlap)
        except errors.ApiKeyNotFound as error:
            return ApiKeyNotFound(message=str(error), path=_ID_PATH)
        except errors.ApiKeyNotRotatable as error:
            return ApiKeyInactive(message=str(error), path=_ID_PATH)
        except errors.ApiKeyInvalid as error:
            return ApiKeyInvalid.from_error(error)
        return RotateApiKeySuccess.from_issued(issued)

    @cost_field("Revokes an API key.", cost=10, scope=Scope.ADMIN)
    async def revoke_api_key(self, info: Info, input: Annotated[RevokeApiKeyInput, _API_KEY]) -> RevokeApiKeyResult:
        try:
            key = await api_keys.revoke(info.context.runtime.db, info.context.caller, _key_id(input.id))
        except errors.ApiKeyNotFound as error:
            return ApiKeyNotFound(message=str(error), path=_ID_PATH)
        except errors.LastAdminKey as error:
            return LastAdminKey(message=str(error), path=_ID_PATH)
        return RevokeApiKeySuccess(api_key=ApiKey.from_row(key))


def _key_id(id: str) -> UUID:
    """The ID of an API key. Raises KeyNotFound for a malformed ID or one of another type."""
    key_id = parse_global_id(id, IdPrefix.API_KEY)
    if key_id is None:
        raise errors.ApiKeyNotFound
    return key_id


def _request_id(id: str) -> UUID:
    """The ID of a request. Raises RequestNotFound for a malformed ID or one of another type."""
    request_id = parse_global_id(id, IdPrefix.REQUEST)
    if request_id is None:
        raise errors.RequestNotFound
    return request_id
