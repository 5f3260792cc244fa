"""Payloads of mutations: a success, or an error that the caller can act on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast

import strawberry
from strawberry.types.union import StrawberryUnion
from strawberry.utils.str_converters import capitalize_first

from gql_imgproc import errors
from gql_imgproc.enums import Quota, RequestStatus
from gql_imgproc.errors import ImgprocError
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.csv_issue import CsvIssue
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.scalars import ByteCount
from gql_imgproc.graphql.types.view import view

M = TypeVar("M", bound=Callable[..., Awaitable[Any]])


@strawberry.interface(
    description="An error that the caller can act on. Every member of a result union except the success implements it."
)
class UserError:
    #: The error that a subclass is the payload of.
    error: ClassVar[type[ImgprocError]]
    message: str = strawberry.field(description="A sentence for people, in English.")
    path: list[str] = strawberry.field(
        description='Path of the invalid input field, for instance ["input", "file"]; empty when no field is invalid.'
    )

    @classmethod
    def from_error(cls, error: ImgprocError, path: list[str], **values: Any) -> Self:
        """`values` are the fields that the error does not have under the same name."""
        return view(cls, error, message=str(error), path=path, **values)


def typed_errors(field: str) -> Callable[[M], M]:
    """Lets a mutation return an error of its service as its payload: about `field`, unless the error names another."""

    def decorate(resolve: M) -> M:
        @wraps(resolve)
        async def resolve_typed(self: Any, info: Info, input: Any) -> Any:
            try:
                return await resolve(self, info, input)
            except ImgprocError as error:
                payload = next((kind for kind in UserError.__subclasses__() if kind.error is type(error)), None)
                if payload is None:
                    raise
                if isinstance(error, errors.UploadTooLarge):
                    info.context.http_status = 413
                return payload.from_error(error, ["input", getattr(error, "field", field)])

        return cast(M, resolve_typed)

    return decorate


def outcome_of(field: str) -> StrawberryUnion:
    """The union of the results of a field."""
    return strawberry.union(f"{capitalize_first(field)}Result", description=f"Outcome of `{field}`.")


@strawberry.type(description="The file was accepted.")
class UploadCsvSuccess:
    request: Request = strawberry.field(description="The new request, or the one with the same idempotency key.")
    replayed: bool = strawberry.field(description="Whether an earlier call with the same idempotency key created it.")

    @cost_field("Warnings about the file, which was accepted.")
    def warnings(self) -> list[CsvIssue]:
        return [CsvIssue.from_json(warning) for warning in self.request.snapshot.warnings]


@strawberry.type(description="The file was refused; at most 100 issues are listed.")
class CsvInvalid(UserError):
    error = errors.InvalidCsv
    errors: list[CsvIssue] = strawberry.field(description="The errors, in the order of the file.")
    total_errors: int = strawberry.field(description="Total number of errors.")

    @classmethod
    def from_error(cls, error: ImgprocError, path: list[str], **values: Any) -> Self:
        assert isinstance(error, errors.InvalidCsv)
        issues = [view(CsvIssue, each) for each in error.issues]
        return super().from_error(error, path, errors=issues, total_errors=error.total)


@strawberry.type(description="The file exceeds the size limit.")
class UploadTooLarge(UserError):
    error = errors.UploadTooLarge
    limit_bytes: ByteCount = strawberry.field(description="Size of the largest file that is accepted.")


@strawberry.type(description="The webhook URL is malformed or points to a network that is not allowed.")
class WebhookUrlInvalid(UserError):
    error = errors.WebhookUrlInvalid


@strawberry.type(description="The tenant would exceed a quota.")
class QuotaExceeded(UserError):
    error = errors.QuotaExceeded
    retry_at: datetime | None = strawberry.field(description="When to try again; null when that is not known.")
    quota: Quota = strawberry.field(description="The exceeded quota.")
    limit: ByteCount = strawberry.field(description="The limit of the quota.")
    used: ByteCount = strawberry.field(description="How much of the quota is used.")

    @classmethod
    def from_error(cls, error: ImgprocError, path: list[str], **values: Any) -> Self:
        assert isinstance(error, errors.QuotaExceeded)
        after = error.retry_after_s
        return super().from_error(
            error, path, retry_at=None if after is None else datetime.now(UTC) + timedelta(seconds=after)
        )


@strawberry.type(description="The idempotency key belongs to an upload of another file, or with other options.")
class IdempotencyKeyReused(UserError):
    error = errors.IdempotencyKeyReused
    request_id: strawberry.ID = strawberry.field(description="Identifier of the first request with the key.")


@strawberry.type(description="The request does not exist.")
class RequestNotFound(UserError):
    error = errors.RequestNotFound


@strawberry.type(description="The request already has a final status.")
class RequestAlreadyFinal(UserError):
    error = errors.RequestAlreadyFinal
    status: RequestStatus = strawberry.field(description="The status of the request.")


@strawberry.type(description="The request has no final status yet; cancel it first.")
class RequestNotFinal(UserError):
    error = errors.RequestNotFinal
    status: RequestStatus = strawberry.field(description="The status of the request.")


@strawberry.type(description="No image of the request failed, or none with this cause and of this host.")
class NothingToRetry(UserError):
    error = errors.NothingToRetry


@strawberry.type(description="The request has no webhook URL, or has no final status yet.")
class NoWebhook(UserError):
    error = errors.NoWebhook


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
    UploadCsvSuccess | CsvInvalid | UploadTooLarge | WebhookUrlInvalid | QuotaExceeded | IdempotencyKeyReused,
    outcome_of("uploadCsv"),
]
CancelRequestResult = Annotated[
    CancelRequestSuccess | RequestNotFound | RequestAlreadyFinal, outcome_of("cancelRequest")
]
RetryFailedImagesResult = Annotated[
    RetryFailedImagesSuccess | RequestNotFound | NothingToRetry | QuotaExceeded, outcome_of("retryFailedImages")
]
ResendWebhookResult = Annotated[ResendWebhookSuccess | RequestNotFound | NoWebhook, outcome_of("resendWebhook")]
DeleteRequestResult = Annotated[DeleteRequestSuccess | RequestNotFound | RequestNotFinal, outcome_of("deleteRequest")]
