"""Entry points for changes: each calls one service and answers with its outcome as a type."""

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
from gql_imgproc.ids import IdPrefix, decode_global_id, decode_request_id
from gql_imgproc.requests import commands, upload
from gql_imgproc.security.scopes import Scope
from gql_imgproc.webhooks import delivery

_ID_PATH = ["input", "id"]
_WHICH = strawberry.argument(description="Which request.")
_WHICH_KEY = strawberry.argument(description="Which API key.")


@strawberry.type(description="Entry points for changes.")
class Mutation:
    @cost_field("Uploads a CSV file, checks it and starts the work.", cost=10)
    async def upload_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> UploadCsvResult:
        try:
            done = await upload.accept_upload(info.context.runtime, info.context.caller, input.read())
        except errors.InvalidCsv as refused:
            return CsvInvalid.of(refused)
        except errors.UploadTooLarge as refused:
            info.context.set_http_status(413)
            return UploadTooLarge.of(refused)
        except errors.WebhookUrlInvalid as refused:
            return WebhookUrlInvalid(message=str(refused), path=["input", "webhookUrl"])
        except errors.QuotaExceeded as refused:
            return QuotaExceeded.of(refused, ["input", "file"])
        return UploadCsvSuccess(request=Request.of(done.snapshot), replayed=done.replayed)

    @cost_field("Stops a request.")
    async def cancel_request(self, info: Info, input: Annotated[CancelRequestInput, _WHICH]) -> CancelRequestResult:
        try:
            request = await commands.cancel(info.context.runtime, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.RequestAlreadyFinal as refused:
            return RequestAlreadyFinal(message=str(refused), path=_ID_PATH, status=refused.status)
        return CancelRequestSuccess(request=Request.of(request))

    @cost_field("Tries the failed images of a final request again.")
    async def retry_failed_images(
        self, info: Info, input: Annotated[RetryFailedImagesInput, _WHICH]
    ) -> RetryFailedImagesResult:
        try:
            request = await commands.retry_failed(info.context.runtime, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.NothingToRetry as refused:
            return NothingToRetry(message=str(refused), path=_ID_PATH)
        except errors.QuotaExceeded as refused:
            return QuotaExceeded.of(refused, _ID_PATH)
        return RetryFailedImagesSuccess(request=Request.of(request))

    @cost_field("Sends the completion webhook of a final request again.")
    async def resend_webhook(self, info: Info, input: Annotated[ResendWebhookInput, _WHICH]) -> ResendWebhookResult:
        try:
            request = await delivery.resend(info.context.runtime, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.NoWebhook as refused:
            return NoWebhook(message=str(refused), path=_ID_PATH)
        return ResendWebhookSuccess(request=Request.of(request))

    @cost_field("Removes a final request with its products, images and stored files.")
    async def delete_request(self, info: Info, input: Annotated[DeleteRequestInput, _WHICH]) -> DeleteRequestResult:
        try:
            await commands.delete(info.context.runtime, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.RequestNotFinal as refused:
            return RequestNotFinal(message=str(refused), path=_ID_PATH, status=refused.status)
        return DeleteRequestSuccess(deleted_id=input.id)

    @cost_field("Makes an API key of the caller's tenant, with any scopes.", cost=10, scope=Scope.ADMIN)
    async def create_api_key(
        self,
        info: Info,
        input: Annotated[CreateApiKeyInput, strawberry.argument(description="What the key is to be.")],
    ) -> CreateApiKeyResult:
        expires_at = unset_to_none(input.expires_at)
        try:
            made = await api_keys.create(
                info.context.runtime.db, info.context.caller, input.name, input.scopes, expires_at
            )
        except errors.ApiKeyInvalid as refused:
            return ApiKeyInvalid.of(refused)
        return CreateApiKeySuccess.of(made)

    @cost_field("Makes an API key that takes the place of another one.", cost=10, scope=Scope.ADMIN)
    async def rotate_api_key(self, info: Info, input: Annotated[RotateApiKeyInput, _WHICH_KEY]) -> RotateApiKeyResult:
        try:
            key_id = _named_key(input.id)
            made = await api_keys.rotate(info.context.runtime.db, info.context.caller, key_id, input.overlap)
        except errors.ApiKeyNotFound as refused:
            return ApiKeyNotFound(message=str(refused), path=_ID_PATH)
        except errors.ApiKeyNotRotatable as refused:
            return ApiKeyInactive(message=str(refused), path=_ID_PATH)
        except errors.ApiKeyInvalid as refused:
            return ApiKeyInvalid.of(refused)
        return RotateApiKeySuccess.of(made)

    @cost_field("Makes an API key worthless.", cost=10, scope=Scope.ADMIN)
    async def revoke_api_key(self, info: Info, input: Annotated[RevokeApiKeyInput, _WHICH_KEY]) -> RevokeApiKeyResult:
        try:
            key_id = _named_key(input.id)
            key = await api_keys.revoke(info.context.runtime.db, info.context.caller, key_id)
        except errors.ApiKeyNotFound as refused:
            return ApiKeyNotFound(message=str(refused), path=_ID_PATH)
        except errors.LastAdminKey as refused:
            return LastAdminKey(message=str(refused), path=_ID_PATH)
        return RevokeApiKeySuccess(api_key=ApiKey.of(key))


def _named_key(id: str) -> UUID:
    """The API key that an identifier names; one that cannot be ours names none that exists."""
    named = decode_global_id(id)
    if named is None or named[0] is not IdPrefix.API_KEY:
        raise errors.ApiKeyNotFound
    return named[1]


def _named(id: str) -> UUID:
    """The request that an identifier names; one that cannot be ours names none that exists."""
    named = decode_request_id(id)
    if named is None:
        raise errors.RequestNotFound
    return named
