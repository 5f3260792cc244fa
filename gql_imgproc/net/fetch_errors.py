"""Every way in which a download can fail: its error code, and whether a retry can help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import httpx

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.net.address_policy import UrlProblem
from gql_imgproc.net.fetch_limits import FetchLimits
from gql_imgproc.net.proxy import ProxyFailed
from gql_imgproc.net.tls_errors import TlsFailed


@dataclass(frozen=True, slots=True)
class FetchErrorSpec:
    """One row of the table in docs/RELIABILITY.md."""

    meaning: str
    code: ImageErrorCode
    retryable: bool


class FetchErrorKind(Enum):
    """The names are values of the label `result` in metrics."""

    URL_INVALID = FetchErrorSpec("the URL is invalid", ImageErrorCode.UNREACHABLE, False)
    HOST_FORBIDDEN = FetchErrorSpec(
        "the host's IP address or port is not allowed", ImageErrorCode.FORBIDDEN_ADDRESS, False
    )
    # Retryable although the name may not exist: DNS servers fail for minutes, and attempts are few.
    NAME_NOT_RESOLVED = FetchErrorSpec("the host name cannot be resolved", ImageErrorCode.UNREACHABLE, True)
    NOT_CONNECTED = FetchErrorSpec("the host refuses the connection", ImageErrorCode.UNREACHABLE, True)
    CONNECT_TIMEOUT = FetchErrorSpec("no connection within `FETCH_CONNECT_SECONDS`", ImageErrorCode.TIMEOUT, True)
    TLS_FAILED = FetchErrorSpec(
        "TLS fails: the certificate, the protocol, or a port without TLS", ImageErrorCode.UNREACHABLE, False
    )
    READ_TIMEOUT = FetchErrorSpec("no data for `FETCH_FIRST_BYTE_SECONDS`", ImageErrorCode.TIMEOUT, True)
    TOTAL_TIMEOUT = FetchErrorSpec("not complete within `FETCH_TOTAL_SECONDS`", ImageErrorCode.TIMEOUT, True)
    LIMITER_TIMEOUT = FetchErrorSpec(
        "`FETCH_PER_HOST` allows no start within ten minutes", ImageErrorCode.TIMEOUT, True
    )
    RESPONSE_BROKEN = FetchErrorSpec(
        "the connection is reset, or the response is truncated or not HTTP", ImageErrorCode.UNREACHABLE, True
    )
    RESPONSE_EMPTY = FetchErrorSpec("the response is empty", ImageErrorCode.UNREACHABLE, True)
    STATUS_RETRYABLE = FetchErrorSpec(
        "status 202, 408, 425, 429 or 5xx, or 423 with `Retry-After`", ImageErrorCode.HTTP_STATUS, True
    )
    STATUS_PERMANENT = FetchErrorSpec("any other status except 2xx", ImageErrorCode.HTTP_STATUS, False)
    TOO_MANY_REDIRECTS = FetchErrorSpec(
        "more than five redirects, or a redirect loop", ImageErrorCode.TOO_MANY_REDIRECTS, False
    )
    CONTENT_ENCODED = FetchErrorSpec("a Content-Encoding that cannot be decoded", ImageErrorCode.NOT_AN_IMAGE, False)
    SHARE_LINK = FetchErrorSpec(
        "a share link of a folder, or one that leads to a web page", ImageErrorCode.NOT_AN_IMAGE, False
    )
    TOO_LARGE = FetchErrorSpec("more than `MAX_IMAGE_BYTES`", ImageErrorCode.TOO_LARGE, False)

    @classmethod
    def from_status(cls, status: int, *, has_retry_after: bool = False) -> FetchErrorKind:
        # 202: the image is being made. 423 with `Retry-After`: so is a variant of it.
        is_retryable = status in (202, 408, 425, 429) or (status == 423 and has_retry_after) or 500 <= status < 600
        return cls.STATUS_RETRYABLE if is_retryable else cls.STATUS_PERMANENT


class FetchError(ImageError):
    """An image that could not be downloaded."""

    def __init__(
        self,
        kind: FetchErrorKind,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        spec = kind.value
        super().__init__(
            spec.code,
            message,
            http_status=http_status,
            retryable=spec.retryable,
            retry_after_s=retry_after_s if spec.retryable else None,
        )
        self.kind = kind


def status_advice(status: int, *, has_retry_after: bool = False) -> str:
    """Say what the user can do about a response status."""
    if status == 202:
        return "The image is not ready yet; retry the request later."
    if FetchErrorKind.from_status(status, has_retry_after=has_retry_after).value.retryable:
        return "The error may be temporary; retry the request later."
    match status:
        case 401 | 403:
            return (
                "The host denies access. Make the image public, use another URL, or ask the operator to set the "
                "User-Agent, Referer, headers or credentials for this host in IMGPROC_FETCH_HOSTS_FILE."
            )
        case 407:
            return "The proxy of IMGPROC_FETCH_PROXY needs valid credentials. Ask the operator to set them."
        case 402 | 451:
            return "The host denies access. Make the image public, or use another URL."
        case 404 | 410:
            return "There is no image at this URL. Check the URL, or put the image there."
    return "Open the URL in a browser to see the response."


class ForbiddenAddress(httpx.ConnectError):
    """The policy forbids connecting to the host's IP address or port."""

    def __init__(self, problem: UrlProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class HostNotFound(httpx.ConnectError):
    """The host name could not be resolved."""


class BodyTooLarge(httpx.TransportError):
    """The body of a response is larger than the caller allows."""


class NotStarted(Exception):
    """The limit of a host allowed no start in time."""


#: The kind and the message of each error that a request can end with; subclasses first.
_ERRORS: tuple[tuple[type[Exception], FetchErrorKind, str], ...] = (
    (NotStarted, FetchErrorKind.LIMITER_TIMEOUT,
     "The download from {host} could not start within {limits.limiter_wait_s:g} s: "
     "too many downloads are in progress."),
    (TimeoutError, FetchErrorKind.TOTAL_TIMEOUT, "{host} did not send the whole image within {limits.total_s:g} s."),
    (BodyTooLarge, FetchErrorKind.TOO_LARGE, "The image is larger than the limit of {limits.max_bytes:,} bytes."),
    (ForbiddenAddress, FetchErrorKind.HOST_FORBIDDEN, "{error}"),
    (TlsFailed, FetchErrorKind.TLS_FAILED, "TLS with {host} failed: {error}."),
    (ProxyFailed, FetchErrorKind.NOT_CONNECTED, "Could not connect to {host}: {error}."),
    (httpx.ConnectTimeout, FetchErrorKind.CONNECT_TIMEOUT,
     "Could not connect to {host} within {limits.connect_s:g} s."),
    (httpx.TimeoutException, FetchErrorKind.READ_TIMEOUT, "{host} sent no data for {limits.first_byte_s:g} s."),
    (HostNotFound, FetchErrorKind.NAME_NOT_RESOLVED,
     "The host name {host} cannot be resolved. Check the spelling of the URL."),
    (httpx.ConnectError, FetchErrorKind.NOT_CONNECTED,
     "Could not connect to {host}. Check the URL, or retry when the host is available."),
    (httpx.RemoteProtocolError, FetchErrorKind.RESPONSE_BROKEN, "{host} sent a response that cannot be read: {error}."),
    (httpx.TransportError, FetchErrorKind.RESPONSE_BROKEN,
     "{host} closed the connection before the response was complete."),
)  # fmt: skip


def to_fetch_error(error: Exception, host: str, limits: FetchLimits) -> FetchError:
    """Returns what the user reads about an exception of a download. `error` must be of one of the types above."""
    kind, message = next((kind, message) for cause, kind, message in _ERRORS if isinstance(error, cause))
    return FetchError(kind, message.format(host=host, error=error, limits=limits))
