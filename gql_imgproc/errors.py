"""Every error that the service raises on purpose. A message that a user reads says what is wrong and how to fix it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from gql_imgproc.enums import Quota, RequestStatus


class ImgprocError(Exception):
    """Base class of the expected errors. The arguments of an error fill the template of its message."""

    template: ClassVar[str] = "{}"
    #: Exit status of a command that this error ends.
    exit_status: ClassVar[int] = 1

    def __init__(self, *values: object) -> None:
        super().__init__(self.template.format(*values))


class UsageError(ImgprocError):
    """The arguments of a command contradict each other, or name nothing."""

    exit_status = 2


class ConfigurationError(ImgprocError):
    """A setting or the machine is not suitable for the service; the message says in one line how to fix it."""


#: When a caller may try again while the database or the object store is unavailable, in seconds.
UNAVAILABLE_RETRY_AFTER_S = 5


class DatabaseUnavailable(ImgprocError):
    """The database is locked, full, unreachable or restarting; the message is the driver's. A retry may succeed.

    `is_outcome_unknown`: the answer to a commit was lost, so the transaction may have taken effect.
    """

    def __init__(self, reason: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(reason)
        self.is_outcome_unknown = is_outcome_unknown


class StorageError(ImgprocError):
    """The object store failed. A retry may succeed."""


class ObjectMissing(StorageError):
    """The object store has no such object. A retry cannot succeed."""


class StoreNotConfirmed(StorageError):
    """The marker in the object store does not name this database, names a later state of it, or is disputed."""


def unavailable_message(error: BaseException | None) -> str | None:
    """What the caller reads when a service is unavailable; None for an error that a retry cannot fix."""
    if isinstance(error, DatabaseUnavailable):
        service = "database"
    elif isinstance(error, StorageError) and not isinstance(error, ObjectMissing):
        service = "object store"
    else:
        return None
    return f"The {service} is unavailable. Retry in {UNAVAILABLE_RETRY_AFTER_S} s."


class LeaseLost(ImgprocError):
    """Another process has taken over the work, or the work was cancelled: its result must be discarded."""

    template = "Another process has taken over the work, or the work was cancelled."


class CsvIssueCode(StrEnum):
    """Kind of a problem in a CSV file; the GraphQL schema has the descriptions."""

    EMPTY_FILE = "EMPTY_FILE"
    NOT_CSV = "NOT_CSV"
    ENCODING = "ENCODING"
    CHARACTER_INVALID = "CHARACTER_INVALID"
    QUOTE_INVALID = "QUOTE_INVALID"
    HEADER = "HEADER"
    COLUMN_DUPLICATE = "COLUMN_DUPLICATE"
    COLUMN_COUNT = "COLUMN_COUNT"
    SERIAL_NUMBER_INVALID = "SERIAL_NUMBER_INVALID"
    SERIAL_NUMBER_DUPLICATE = "SERIAL_NUMBER_DUPLICATE"
    PRODUCT_NAME_EMPTY = "PRODUCT_NAME_EMPTY"
    IMAGE_URL_MISSING = "IMAGE_URL_MISSING"
    IMAGE_URL_INVALID = "IMAGE_URL_INVALID"
    IMAGE_URL_FORBIDDEN = "IMAGE_URL_FORBIDDEN"
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    SHEET = "SHEET"


@dataclass(frozen=True, slots=True)
class CsvIssue:
    """One problem of a CSV file, or a warning about it.

    `row` is the row number in a spreadsheet, where the header is row 1. It is None for the file as a whole.
    """

    code: CsvIssueCode
    message: str
    row: int | None = None
    column: str | None = None


class InvalidCsv(ImgprocError):
    """The CSV file has problems: the first `issues` in the order of the file, and their `total`."""

    def __init__(self, issues: tuple[CsvIssue, ...], total: int) -> None:
        super().__init__(f"The CSV file has {total} problem{'' if total == 1 else 's'}.")
        self.issues = issues
        self.total = total


class UploadTooLarge(ImgprocError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The file is larger than the limit of {limit_bytes:,} bytes. Split it into smaller files.")
        self.limit_bytes = limit_bytes


class QuotaExceeded(ImgprocError):
    """The tenant would exceed a quota. `retry_after_s` is an estimate; None if there is none."""

    def __init__(self, quota: Quota, limit: int, used: int, retry_after_s: float | None = None) -> None:
        super().__init__(_QUOTA_MESSAGES[quota].format(limit=limit, used=used))
        self.quota = quota
        self.limit = limit
        self.used = used
        self.retry_after_s = retry_after_s


_QUOTA_MESSAGES = {
    Quota.OPEN_REQUESTS: "Quota exceeded: {used:,} of {limit:,} open requests. Wait for one to finish or cancel one.",
    Quota.PENDING_IMAGES: "Quota exceeded: {used:,} of {limit:,} pending images, without those of this request. "
    "Wait until some are done, or upload fewer at once.",
    Quota.OPEN_ROWS: "Quota exceeded: {used:,} of {limit:,} rows in open requests, without those of this request. "
    "Wait until one is done, or upload fewer rows at once.",
    Quota.STORED_BYTES: "Quota exceeded: {used:,} of {limit:,} bytes of stored images and files, without those "
    "of this request. Delete requests that you no longer need; ten minutes later their images are deleted.",
}


class EstimateUnavailable(ImgprocError):
    template = (
        "No worker has measured the sample in time. Retry when fewer images are processed, start workers, "
        "or estimate a part of the file."
    )


class RateLimited(ImgprocError):
    def __init__(self, what: str, retry_after_s: float) -> None:
        #: At least 1: a caller that retries at once would be refused again.
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"Rate limit exceeded for {what}. Retry in {self.retry_after_s} s.")


class WebhookUrlInvalid(ImgprocError):
    """The webhook URL is malformed or forbidden; the message says why."""

    #: The invalid input field.
    field = "webhookUrl"


class IdempotencyKeyReused(ImgprocError):
    """The idempotency key belongs to an upload of another file, or with other options."""

    #: The invalid input field.
    field = "idempotencyKey"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The idempotency key belongs to the request {request_id}, which has another file or other options. "
            "Use a new key for each upload."
        )
        #: Global ID of the first request.
        self.request_id = request_id


class ApiKeyRequired(ImgprocError):
    template = "An API key is required. Send it as `Authorization: Bearer gip_…`."


class ApiKeyRejected(ImgprocError):
    template = "Invalid API key. {}"


class ScopeMissing(ImgprocError):
    """The API key is valid but does not have the required scope."""

    template = "This requires an API key with the scope {}."


class SignedUrlInvalid(ImgprocError):
    template = "This link has expired. Request a new one from the API."


class InputInvalid(ImgprocError):
    """An object cannot be created or changed like this; `field` is the invalid input field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ApiKeyInvalid(InputInvalid):
    """A field of an API key, or the name of a tenant, is invalid."""


class ApiKeyNotFound(ImgprocError):
    template = "API key not found. List the keys to find its ID."


class ApiKeyNotRotatable(ImgprocError):
    template = "The API key is already {} and cannot be rotated. Create a new key."


class LastAdminKey(ImgprocError):
    """Without this API key the tenant could not create API keys."""

    template = "This is the last active ADMIN key. Create another ADMIN key before you revoke it, or rotate it."


class TenantNotFound(ImgprocError):
    template = "Tenant not found. `gql-imgproc tenants list` lists the tenants"


class TenantExists(ImgprocError):
    template = "A tenant with this name already exists. Choose another name"


class RequestNotFound(ImgprocError):
    template = "Request not found. Check the ID; the request may have been deleted."


class RequestNotFinished(ImgprocError):
    """A file of the request does not exist yet."""

    def __init__(self, status: RequestStatus, file: str) -> None:
        super().__init__(f"The request is still {status.value}. Its {file} is available after it finishes.")


class WrongStatus(ImgprocError):
    """The status of the request does not permit this."""

    def __init__(self, status: RequestStatus) -> None:
        super().__init__(status.value)
        self.status = status


class RequestAlreadyFinal(WrongStatus):
    template = "The request is already {} and cannot be cancelled."


class RequestNotFinal(WrongStatus):
    template = "The request is still {}. Cancel it, or wait until it finishes."


class NothingToRetry(ImgprocError):
    template = "No such image of the request failed, or the request has not finished yet."


class NoWebhook(ImgprocError):
    template = "The request has no webhook URL, or has not finished yet."


class WebhookEndpointInvalid(InputInvalid):
    """A field of a webhook endpoint is invalid."""


class WebhookEndpointNotFound(ImgprocError):
    template = "Webhook endpoint not found. List the endpoints to find its ID."


class WebhookEndpointDisabled(ImgprocError):
    template = "The webhook endpoint is disabled. Enable it first."


class SecretsKeyMissing(ImgprocError):
    """Webhook secrets cannot be encrypted."""

    template = (
        "The service has no key to encrypt webhook secrets with. Its operator must set IMGPROC_SECRETS_KEY or "
        "IMGPROC_SECRETS_KEY_FILE for API and workers. `head -c 32 /dev/urandom | base64 | tr '+/' '-_'` generates one."
    )


class SourceNotFound(ImgprocError):
    template = "Image not found, or not completed yet."


class TooManySources(ImgprocError):
    """The limit of concurrent source downloads for previews is reached."""

    template = "Too many source images are being downloaded. Try again in a moment."


class TooManyOutputs(ImgprocError):
    """The limit of output CSVs that a process writes at once is reached."""

    template = "Too many output CSVs are being written. Try again in a moment."


class ImageErrorCode(StrEnum):
    """Why an image failed; the GraphQL schema has the descriptions."""

    UNREACHABLE = "UNREACHABLE"
    HTTP_STATUS = "HTTP_STATUS"
    TIMEOUT = "TIMEOUT"
    HOST_OVERLOADED = "HOST_OVERLOADED"
    TOO_MANY_REDIRECTS = "TOO_MANY_REDIRECTS"
    FORBIDDEN_ADDRESS = "FORBIDDEN_ADDRESS"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOO_LARGE = "TOO_LARGE"
    CORRUPT = "CORRUPT"
    OPTIONS_IMPOSSIBLE = "OPTIONS_IMPOSSIBLE"
    WORKER_CRASHED = "WORKER_CRASHED"
    INTERNAL = "INTERNAL"


class ImageError(ImgprocError):
    """One image cannot be processed. The user reads the message.

    `retryable` says whether a later attempt may succeed; `retry_after_s` is the wait that the host asked for.
    """

    def __init__(
        self,
        code: ImageErrorCode,
        message: str,
        *,
        http_status: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retryable = retryable
        self.retry_after_s = retry_after_s
