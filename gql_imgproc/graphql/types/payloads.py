"""Payloads of mutations: a success, or an error that the caller can act on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import strawberry

from gql_imgproc import errors
from gql_imgproc.enums import Quota, RequestStatus
from gql_imgproc.errors import InvalidCsv
from gql_imgproc.graphql.types.csv_issue import CsvIssue
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.scalars import ByteCount


@strawberry.interface(
    description="An error that the caller can act on. Every member of a result union except the success implements it."
)
class UserError:
    message: str = strawberry.field(description="A sentence for people, in English.")
    path: list[str] = strawberry.field(
        description='Path of the invalid input field, for instance ["input", "file"]; empty when no field is invalid.'
    )


def _path() -> Any:
    return strawberry.field(description="Path of the invalid input field.")


@strawberry.type(description="The file was accepted.")
class UploadCsvSuccess:
    request: Request = strawberry.field(description="The new request, or the one with the same idempotency key.")
    replayed: bool = strawberry.field(description="Whether an earlier call with the same idempotency key created it.")

    @cost_field("Warnings about the file, which was accepted.")
    def warnings(self) -> list[CsvIssue]:
        return [CsvIssue.from_json(warning) for warning in self.request.snapshot.warnings]


@strawberry.type(description="The file was refused; at most 100 issues are listed.")
class CsvInvalid(UserError):
    path: list[str] = _path()
    errors: list[CsvIssue] = strawberry.field(description="The errors, in the order of the file.")
    total_errors: int = strawberry.field(description="Total number of errors.")

    @classmethod
    def from_error(cls, error: InvalidCsv) -> CsvInvalid:
        return cls(
            message=str(error),
            path=["input", "file"],
            errors=[
                CsvIssue(row=issue.row, column=issue.column, code=issue.code, message=issue.message)
                for issue in error.issues
            ],
            total_errors=error.total,
        )


@strawberry.type(description="The file exceeds the size limit.")
class UploadTooLarge(UserError):
    path: list[str] = _path()
    limit_bytes: ByteCount = strawberry.field(description="Size of the largest file that is accepted.")

    @classmethod
    def from_error(cls, error: errors.UploadTooLarge) -> UploadTooLarge:
        return cls(message=str(error), path=["input", "file"], limit_bytes=ByteCount(error.limit_bytes))


@strawberry.type(description="The webhook URL is malformed or points to a network that is not allowed.")
class WebhookUrlInvalid(UserError):
    path: list[str] = _path()


@strawberry.type(description="The tenant would exceed a quota.")
class QuotaExceeded(UserError):
    path: list[str] = _path()
    retry_at: datetime | None = strawberry.field(description="When to try again; null when that is not known.")
    quota: Quota = strawberry.field(description="The exceeded quota.")
    limit: ByteCount = strawberry.field(description="The limit of the quota.")
    used: ByteCount = strawberry.field(description="How much of the quota is used.")

    @classmethod
    def from_error(cls, error: errors.QuotaExceeded, path: list[str]) -> QuotaExceeded:
        after = error.retry_after_s
        return cls(
            message=str(error),
            path=path,
            retry_at=None if after is None else datetime.now(UTC) + timedelta(seconds=after),
            quota=error.quota,
            limit=ByteCount(error.limit),
            used=ByteCount(error.used),
        )


@strawberry.type(description="The request does not exist.")
class RequestNotFound(UserError):
    path: list[str] = _path()


@strawberry.type(description="The request already has a final status.")
class RequestAlreadyFinal(UserError):
    path: list[str] = _path()
    status: RequestStatus = strawberry.field(description="The status of the request.")


@strawberry.type(description="The request has no final status yet; cancel it first.")
class RequestNotFinal(UserError):
    path: list[str] = _path()
    status: RequestStatus = strawberry.field(description="The status of the request.")


@strawberry.type(description="No image of the request failed.")
class NothingToRetry(UserError):
    path: list[str] = _path()


@strawberry.type(description="The request has no webhook URL, or has no final status yet.")
class NoWebhook(UserError):
    path: list[str] = _path()


@strawberry.type(description="The request is cancelled; images in progress may still finish.")
class CancelRequestSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The failed images are queued again; the status goes back to PROCESSING.")
class RetryFailedImagesSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The webhook will be sent again; `webhook` shows the attempts.")
class ResendWebhookSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The request, its products, images and stored files are deleted.")
class DeleteRequestSuccess:
    deleted_id: strawberry.ID = strawberry.field(description="Identifier of the request that was deleted.")


UploadCsvResult = Annotated[
    UploadCsvSuccess | CsvInvalid | UploadTooLarge | WebhookUrlInvalid | QuotaExceeded,
    strawberry.union("UploadCsvResult", description="Outcome of `uploadCsv`."),
]
CancelRequestResult = Annotated[
    CancelRequestSuccess | RequestNotFound | RequestAlreadyFinal,
    strawberry.union("CancelRequestResult", description="Outcome of `cancelRequest`."),
]
RetryFailedImagesResult = Annotated[
    RetryFailedImagesSuccess | RequestNotFound | NothingToRetry | QuotaExceeded,
    strawberry.union("RetryFailedImagesResult", description="Outcome of `retryFailedImages`."),
]
ResendWebhookResult = Annotated[
    ResendWebhookSuccess | RequestNotFound | NoWebhook,
    strawberry.union("ResendWebhookResult", description="Outcome of `resendWebhook`."),
]
DeleteRequestResult = Annotated[
    DeleteRequestSuccess | RequestNotFound | RequestNotFinal,
    strawberry.union("DeleteRequestResult", description="Outcome of `deleteRequest`."),
]
