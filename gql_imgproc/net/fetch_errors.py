"""Every way in which fetching a picture fails, what it is called, and whether a later try may help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gql_imgproc.errors import ImageErrorCode


@dataclass(frozen=True, slots=True)
class FetchErrorSpec:
    """`meaning` tells the rows apart in the documents; `temporary` ones are tried again."""

    meaning: str
    code: ImageErrorCode
    retryable: bool


class FetchErrorKind(Enum):
    """The table. docs/RELIABILITY.md shows it."""

    ADDRESS_UNREADABLE = FetchErrorSpec("the address cannot be read", ImageErrorCode.UNREACHABLE, False)
    ADDRESS_FORBIDDEN = FetchErrorSpec(
        "the address or its port is not allowed", ImageErrorCode.FORBIDDEN_ADDRESS, False
    )
    # Temporary although the name may never exist: name servers err for minutes, and tries are few.
    NAME_UNKNOWN = FetchErrorSpec("the host's name cannot be resolved", ImageErrorCode.UNREACHABLE, True)
    NOT_CONNECTED = FetchErrorSpec("the host refuses the connection", ImageErrorCode.UNREACHABLE, True)
    CONNECT_TIMEOUT = FetchErrorSpec("no connection within `FETCH_CONNECT_SECONDS`", ImageErrorCode.TIMEOUT, True)
    CERTIFICATE_INVALID = FetchErrorSpec("the TLS certificate is not valid", ImageErrorCode.UNREACHABLE, False)
    SILENT = FetchErrorSpec("silence for `FETCH_FIRST_BYTE_SECONDS`", ImageErrorCode.TIMEOUT, True)
    TOO_SLOW = FetchErrorSpec("not all within `FETCH_TOTAL_SECONDS`", ImageErrorCode.TIMEOUT, True)
    NO_TURN = FetchErrorSpec("no turn to download within ten minutes", ImageErrorCode.TIMEOUT, True)
    BROKEN_ANSWER = FetchErrorSpec(
        "the connection is reset, or the answer cut or not HTTP", ImageErrorCode.UNREACHABLE, True
    )
    EMPTY_ANSWER = FetchErrorSpec("the answer is empty", ImageErrorCode.UNREACHABLE, True)
    STATUS_TEMPORARY = FetchErrorSpec("status 408, 425, 429 or 5xx", ImageErrorCode.HTTP_STATUS, True)
    STATUS_PERMANENT = FetchErrorSpec("any other status but 2xx", ImageErrorCode.HTTP_STATUS, False)
    TOO_MANY_REDIRECTS = FetchErrorSpec(
        "more than five redirects, or a circle", ImageErrorCode.TOO_MANY_REDIRECTS, False
    )
    CONTENT_ENCODED = FetchErrorSpec("a Content-Encoding", ImageErrorCode.NOT_AN_IMAGE, False)
    TOO_LARGE = FetchErrorSpec("more than `MAX_IMAGE_BYTES`", ImageErrorCode.TOO_LARGE, False)

    @classmethod
    def of_status(cls, status: int) -> FetchErrorKind:
        """The fault of an answer that brings no picture."""
        return cls.STATUS_TEMPORARY if status in (408, 425, 429) or 500 <= status < 600 else cls.STATUS_PERMANENT


def status_advice(status: int) -> str:
    """What whoever wrote the address can do about a status."""
    if FetchErrorKind.of_status(status).value.retryable:
        return "It may answer again later; retry the request then."
    match status:
        case 401 | 402 | 403 | 407 | 451:
            return "It does not give the picture to everybody. Make it public, or use another address."
        case 404 | 410:
            return "There is no picture at the address. Check the address, or put the picture there."
    return "Open the address in a browser to see what it says."
