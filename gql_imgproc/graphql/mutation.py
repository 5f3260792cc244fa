"""Entry points for changes: each calls one service and answers with its outcome as a type."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import strawberry

from gql_imgproc import errors
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.fields import computed
from gql_imgproc.graphql.inputs import (
    CancelRequestInput,
    DeleteRequestInput,
    ResendWebhookInput,
    RetryFailedImagesInput,
    UploadCsvInput,
)
from gql_imgproc.graphql.requests import Request
from gql_imgproc.graphql.results import (
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
from gql_imgproc.identifiers import request_id_from
from gql_imgproc.services import notification, orders, submission

_ID_PATH = ["input", "id"]
_WHICH = strawberry.argument(description="Which request.")


@strawberry.type(description="Entry points for changes.")
class Mutation:
    @computed("Uploads a CSV file, checks it and starts the work.", cost=10)
    async def upload_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> UploadCsvResult:
        try:
            done = await submission.submit(info.context.resources, info.context.caller, input.read())
        except errors.ManifestRefused as refused:
            return CsvInvalid.of(refused)
        except errors.UploadTooLarge as refused:
            info.context.tell_status(413)
            return UploadTooLarge.of(refused)
        except errors.WebhookUrlRefused as refused:
            return WebhookUrlInvalid(message=str(refused), path=["input", "webhookUrl"])
        except errors.QuotaExceeded as refused:
            return QuotaExceeded.of(refused, ["input", "file"])
        return UploadCsvSuccess(request=Request.of(done.snapshot), replayed=done.replayed)

    @computed("Stops a request.")
    async def cancel_request(self, info: Info, input: Annotated[CancelRequestInput, _WHICH]) -> CancelRequestResult:
        try:
            request = await orders.cancel(info.context.resources, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.RequestAlreadyFinal as refused:
            return RequestAlreadyFinal(message=str(refused), path=_ID_PATH, status=refused.status)
        return CancelRequestSuccess(request=Request.of(request))

    @computed("Tries the failed images of a final request again.")
    async def retry_failed_images(
        self, info: Info, input: Annotated[RetryFailedImagesInput, _WHICH]
    ) -> RetryFailedImagesResult:
        try:
            request = await orders.retry_failed(info.context.resources, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.NothingToRetry as refused:
            return NothingToRetry(message=str(refused), path=_ID_PATH)
        except errors.QuotaExceeded as refused:
            return QuotaExceeded.of(refused, _ID_PATH)
        return RetryFailedImagesSuccess(request=Request.of(request))

    @computed("Sends the completion webhook of a final request again.")
    async def resend_webhook(self, info: Info, input: Annotated[ResendWebhookInput, _WHICH]) -> ResendWebhookResult:
        try:
            request = await notification.resend(info.context.resources, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.NoWebhook as refused:
            return NoWebhook(message=str(refused), path=_ID_PATH)
        return ResendWebhookSuccess(request=Request.of(request))

    @computed("Removes a final request with its products, images and stored files.")
    async def delete_request(self, info: Info, input: Annotated[DeleteRequestInput, _WHICH]) -> DeleteRequestResult:
        try:
            await orders.delete(info.context.resources, info.context.caller, _named(input.id))
        except errors.RequestNotFound as refused:
            return RequestNotFound(message=str(refused), path=_ID_PATH)
        except errors.RequestNotFinal as refused:
            return RequestNotFinal(message=str(refused), path=_ID_PATH, status=refused.status)
        return DeleteRequestSuccess(deleted_id=input.id)


def _named(id: str) -> UUID:
    """The request that an identifier names; one that cannot be ours names none that exists."""
    named = request_id_from(id)
    if named is None:
        raise errors.RequestNotFound
    return named
