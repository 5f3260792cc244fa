"""What the outcome of a download says about its host."""

from __future__ import annotations

from enum import StrEnum

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.net.fetch_errors import FetchError, FetchErrorKind


class HostAnswer(StrEnum):
    """How a download ended, for the budget of its host."""

    #: The host answered for this URL: with an image, 404, 500, or anything else that is not a refusal.
    SERVED = "served"
    #: The host asked for fewer requests: 429, or 503 with `Retry-After`.
    REFUSED = "refused"
    #: 503 without `Retry-After`: a refusal only if most of the last answers were.
    UNAVAILABLE = "unavailable"
    #: No connection, or silence.
    FAILED = "failed"


_FAILURES = frozenset(
    {
        FetchErrorKind.NAME_NOT_RESOLVED,
        FetchErrorKind.NOT_CONNECTED,
        FetchErrorKind.CONNECT_TIMEOUT,
        FetchErrorKind.READ_TIMEOUT,
        FetchErrorKind.RESPONSE_BROKEN,
    }
)


def host_answer(error: ImageError | None) -> tuple[HostAnswer, float | None]:
    """Return the answer of the host, and its `Retry-After` in seconds. `error` is None after a successful download.

    An error without a request, such as a forbidden IP address, counts as SERVED: waiting would not change it.
    """
    match error:
        case ImageError(http_status=429):
            return HostAnswer.REFUSED, error.retry_after_s
        case ImageError(http_status=503):
            is_refusal = error.retry_after_s is not None
            return HostAnswer.REFUSED if is_refusal else HostAnswer.UNAVAILABLE, error.retry_after_s
        case FetchError() if error.kind in _FAILURES:
            return HostAnswer.FAILED, None
    return HostAnswer.SERVED, None


def host_overloaded(host: str) -> ImageError:
    """The error of an image for which its host is not asked again. Retryable: a later round may find it idle."""
    return ImageError(
        ImageErrorCode.HOST_OVERLOADED,
        f"{host} is overloaded or limits the rate of requests: it refused this image too often, or served no image "
        "for too long. Retry the failed images later, or ask the operator of the host for a higher rate limit.",
        retryable=True,
    )
