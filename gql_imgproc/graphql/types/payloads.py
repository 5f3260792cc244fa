"""What mutations answer: a success, or a refusal that the caller can act on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import strawberry

from gql_imgproc.enums import Quota, RequestStatus
from gql_imgproc.errors import InvalidCsv
from gql_imgproc.errors import QuotaExceeded as Exceeded
from gql_imgproc.errors import UploadTooLarge as TooLarge
from gql_imgproc.graphql.types.csv_issue import CsvIssue
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.scalars import ByteCount


@strawberry.interface(
    description="A problem that the caller can act on. Every member of a result union that is no success implements it."
)
class UserError:
    message: str = strawberry.field(description="A sentence for people, in English.")
    path: list[str] = strawberry.field(
        description='Path of the input field at fault, for instance ["input", "file"]; empty when none is.'
    )


def _path() -> Any:
    return strawberry.field(description="Path of the input field at fault.")


@strawberry.type(description="The file was accepted.")
class UploadCsvSuccess:
    request: Request = strawberry.field(description="The new request, or the one of the same idempotency key.")
    replayed: bool = strawberry.field(description="Whether an earlier call with the same key made it.")

    @cost_field("What was noticed in the file without being a reason to refuse it.")
    def warnings(self) -> list[CsvIssue]:
        return [CsvIssue.stored(warning) for warning in self.request.snapshot.warnings]


@strawberry.type(description="The file was refused; at most 100 issues are listed.")
class CsvInvalid(UserError):
    path: list[str] = _path()
    errors: list[CsvIssue] = strawberry.field(description="What is wrong, in the order of the file.")
    total_errors: int = strawberry.field(description="How many issues there are in all.")

    @classmethod
    def of(cls, refused: InvalidCsv) -> CsvInvalid:
        return cls(
            message=str(refused),
            path=["input", "file"],
            errors=[
                CsvIssue(row=issue.row, column=issue.column, code=issue.code, message=issue.message)
                for issue in refused.issues
            ],
            total_errors=refused.total,
        )


@strawberry.type(description="The file is over the limit.")
class UploadTooLarge(UserError):
    path: list[str] = _path()
    limit_bytes: ByteCount = strawberry.field(description="Size of the largest file that is accepted.")

    @classmethod
    def of(cls, refused: TooLarge) -> UploadTooLarge:
        return cls(message=str(refused), path=["input", "file"], limit_bytes=ByteCount(refused.limit_bytes))


@strawberry.type(description="The webhook URL is malformed or points into a network that is not allowed.")
class WebhookUrlInvalid(UserError):
    path: list[str] = _path()


@strawberry.type(description="The caller has too many requests under way.")
class QuotaExceeded(UserError):
    path: list[str] = _path()
    retry_at: datetime | None = strawberry.field(description="When to try again.")
    quota: Quota = strawberry.field(description="Of what there would be too much.")
    limit: ByteCount = strawberry.field(description="How much there may be.")
    used: ByteCount = strawberry.field(description="How much there is.")

    @classmethod
    def of(cls, refused: Exceeded, path: list[str]) -> QuotaExceeded:
        after = refused.retry_after_s
        return cls(
            message=str(refused),
            path=path,
            retry_at=None if after is None else datetime.now(UTC) + timedelta(seconds=after),
            quota=refused.quota,
            limit=ByteCount(refused.limit),
            used=ByteCount(refused.used),
        )


@strawberry.type(description="There is no such request.")
class RequestNotFound(UserError):
    path: list[str] = _path()


@strawberry.type(description="The request has a final status.")
class RequestAlreadyFinal(UserError):
    path: list[str] = _path()
    status: RequestStatus = strawberry.field(description="The status the request has.")


@strawberry.type(description="The request has no final status yet; cancel it first.")
class RequestNotFinal(UserError):
    path: list[str] = _path()
    status: RequestStatus = strawberry.field(description="The status the request has.")


@strawberry.type(description="No image of the request failed.")
class NothingToRetry(UserError):
    path: list[str] = _path()


@strawberry.type(description="There is no webhook to send, since none was asked for or the request is not final yet.")
class NoWebhook(UserError):
    path: list[str] = _path()


@strawberry.type(description="The request is cancelled; images under way may still end.")
class CancelRequestSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The failed images are queued again; the status goes back to PROCESSING.")
class RetryFailedImagesSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The webhook is due again; its attempts show in `webhook`.")
class ResendWebhookSuccess:
    request: Request = strawberry.field(description="The request.")


@strawberry.type(description="The request, its products and images and all their stored files are gone.")
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
