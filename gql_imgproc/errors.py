"""Every error that the service raises on purpose.

ImgprocError
├── ConfigurationError   a setting or the machine is not as it must be; told in one line, with the mend
├── ManifestRefused      the CSV has problems; all of them, with row and column
├── UploadTooLarge       the upload is over the limit
├── QuotaExceeded        the tenant has as much as it may have
├── RateLimited          the caller does something too often
├── WebhookUrlRefused    the webhook address may not be called
├── KeyMissing           callers are asked for an API key, and there was none
├── KeyRefused           the API key is not good, and why
├── ScopeMissing         the API key is not good for this
├── AddressOver          a signed address is not good (any more)
├── KeyInvalid           an API key cannot be made like that
├── KeyNotFound          there is no such API key
├── KeyOver              the API key cannot be rotated (any more)
├── LastAdminKey         without the API key nobody could make others
├── TenantNotFound       there is no such tenant
├── TenantExists         there is a tenant of that name already
├── RequestNotFound      there is no such request
├── RequestAlreadyFinal  the request has a final status
├── RequestNotFinal      the request has no final status yet
├── NothingToRetry       no image of the request failed
├── NoWebhook            there is no webhook to send
├── SourceUnknown        there is no such image, or it is not done
├── TooManySources       as many sources as may be are being fetched for a look
├── StorageError         the object store did not do what it was asked
│   └── ObjectMissing    it has no such object
├── LeaseLost            somebody else has taken the work over
└── ImageFailure         one picture cannot be done, and why
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from gql_imgproc.enums import Quota, RequestStatus


class ImgprocError(Exception):
    """Something went wrong in a way that was foreseen."""


class ConfigurationError(ImgprocError):
    """A setting, or the machine, is not as the service needs it; the message tells how to mend it."""


class StorageError(ImgprocError):
    """The object store did not answer as it must. A later try may succeed."""


class ObjectMissing(StorageError):
    """The object store answered that there is no such object: another try would hear the same."""


class LeaseLost(ImgprocError):
    """The work is somebody else's now, or is not wanted any more: what came of it does not count."""


class CsvIssueCode(StrEnum):
    """What is wrong in a CSV file; the descriptions stand in the GraphQL schema."""

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


@dataclass(frozen=True, slots=True)
class CsvIssue:
    """One thing that is wrong (or, as a warning, noteworthy) in a CSV file.

    `row` counts as a spreadsheet does, the header being row 1; None when the whole file is meant.
    """

    code: CsvIssueCode
    message: str
    row: int | None = None
    column: str | None = None


class InvalidCsv(ImgprocError):
    """The CSV file has problems: the first of them in the order of the file, and how many there are."""

    def __init__(self, issues: tuple[CsvIssue, ...], total: int) -> None:
        super().__init__(f"The CSV file has {total} problem{'' if total == 1 else 's'}.")
        self.issues = issues
        self.total = total


class UploadTooLarge(ImgprocError):
    """The upload is larger than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The file is larger than the limit of {limit_bytes:,} bytes. Split it into smaller files.")
        self.limit_bytes = limit_bytes


class QuotaExceeded(ImgprocError):
    """The tenant would have more than its quota; `retry_after_s` is an estimate, None when nobody can tell."""

    def __init__(self, quota: Quota, limit: int, used: int, retry_after_s: float | None = None) -> None:
        super().__init__(_OVER_QUOTA[quota].format(limit=limit, used=used))
        self.quota = quota
        self.limit = limit
        self.used = used
        self.retry_after_s = retry_after_s


_OVER_QUOTA = {
    Quota.OPEN_REQUESTS: "There are {used:,} open requests, of at most {limit:,}. "
    "Wait until one has ended, or cancel one.",
    Quota.PENDING_IMAGES: "There are {used:,} pending pictures, and with these there would be more than {limit:,}. "
    "Wait until some are done, or upload fewer at once.",
    Quota.STORED_BYTES: "The stored pictures have {used:,} bytes, of at most {limit:,}. "
    "Delete requests that are not needed any more.",
}


class RateLimited(ImgprocError):
    """The caller does something more often than it may."""

    def __init__(self, what: str, retry_after_s: float) -> None:
        #: At least one, since who comes back at once would be refused again.
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"There are too many {what} from you. Try again in {self.retry_after_s} s.")


class WebhookUrlRefused(ImgprocError):
    """The webhook address is malformed or may not be called; the message says why."""


class ApiKeyRequired(ImgprocError):
    """Callers are asked for an API key, and this one presented none."""

    def __init__(self) -> None:
        super().__init__("This service asks for an API key. Send it as `Authorization: Bearer gip_…`.")


class ApiKeyRejected(ImgprocError):
    """The API key that was presented is not good."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The API key is refused. {reason}")


class ScopeMissing(ImgprocError):
    """The API key is good, but not for this."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs an API key with the scope {scope}.")


class SignedUrlInvalid(ImgprocError):
    """A signed address is not good: it is too old, or was changed."""

    def __init__(self) -> None:
        super().__init__("This address is not good any more. Ask the API for a new one.")


class KeyInvalid(ImgprocError):
    """An API key cannot be made like that; `field` is what is at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class KeyNotFound(ImgprocError):
    """There is no such API key."""

    def __init__(self) -> None:
        super().__init__("There is no such API key. Look at the list of keys for its identifier.")


class ApiKeyNotRotatable(ImgprocError):
    """The API key was rotated already, or is not good any more."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The API key is {state} already, so it cannot be rotated. Make a new one.")


class LastAdminKey(ImgprocError):
    """Without this API key nobody of the tenant could make others."""

    def __init__(self) -> None:
        super().__init__(
            "It is the last usable key with the scope ADMIN, without which nobody could make others. "
            "Rotate it, or make another one first."
        )


class TenantNotFound(ImgprocError):
    """There is no tenant of that name."""

    def __init__(self) -> None:
        super().__init__("There is no such tenant. Look at the list of `gql-imgproc tenants list`")


class TenantExists(ImgprocError):
    """There is a tenant of that name."""

    def __init__(self) -> None:
        super().__init__("There is a tenant of that name already. Choose another name")


class RequestNotFound(ImgprocError):
    """There is no such request."""

    def __init__(self) -> None:
        super().__init__("There is no such request. Check its identifier; it may have been deleted.")


class RequestAlreadyFinal(ImgprocError):
    """The request has a final status and cannot be stopped."""

    def __init__(self, status: RequestStatus) -> None:
        super().__init__(f"The request is {status.value} already, so there is nothing to stop.")
        self.status = status


class RequestNotFinal(ImgprocError):
    """The request is still open."""

    def __init__(self, status: RequestStatus) -> None:
        super().__init__(f"The request is still {status.value}. Cancel it first, or wait for its end.")
        self.status = status


class NothingToRetry(ImgprocError):
    """No image of the request failed, or it is not final yet."""

    def __init__(self) -> None:
        super().__init__("No image of the request failed, or the request has not ended yet.")


class NoWebhook(ImgprocError):
    """There is no webhook to send."""

    def __init__(self) -> None:
        super().__init__("The request has no webhook address, or it has not ended yet.")


class SourceNotFound(ImgprocError):
    """There is no image whose source could be looked at."""

    def __init__(self) -> None:
        super().__init__("There is no such picture, or it is not done.")


class TooManySources(ImgprocError):
    """Others are looking at sources."""

    def __init__(self) -> None:
        super().__init__("Too many sources are being fetched. Try again in a moment.")


class ImageErrorCode(StrEnum):
    """Why a picture failed; the descriptions stand in the GraphQL schema."""

    UNREACHABLE = "UNREACHABLE"
    HTTP_STATUS = "HTTP_STATUS"
    TIMEOUT = "TIMEOUT"
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
    """One picture cannot be done.

    `retryable` says whether a later try may succeed; `retry_after_s` is how long the host asked to wait.
    The message is a sentence that the user reads.
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
