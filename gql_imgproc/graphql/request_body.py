"""Bodies of HTTP requests: no larger than they may be, and no worse than a refusal can tell."""

from __future__ import annotations

import json
from typing import Any

from cross_web import HTTPException, StarletteRequestAdapter
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message, Receive

from gql_imgproc.graphql.errors import Code

#: Largest JSON body, and largest field of a multipart one beside its file, in bytes: documents have under 100 KiB.
MAX_JSON_BYTES = 1024 * 1024


class BadRequest(HTTPException):
    """An HTTP request that is not as it must be; the message tells how it must be."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: Code = Code.BAD_REQUEST,
        headers: dict[str, str] | None = None,
        extensions: dict[str, object] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.headers = headers
        #: Of the error, in which its code stands.
        self.extensions = {"code": code.value} | (extensions or {})


class BodyTooLarge(BadRequest):
    def __init__(self, message: str) -> None:
        super().__init__(413, message, code=Code.PAYLOAD_TOO_LARGE)


class Body(StarletteRequestAdapter):
    """A request as Strawberry sees it, with the request itself."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_utf_8(request: Request, what: str) -> None:
    """Refuses a body whose content type names another charset."""
    _, parameters = parse_options_header(request.headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in ("utf-8", "utf8"):
        raise BadRequest(415, f"{what} is in UTF-8, not in {charset[:100]!r}. Leave out its charset.")


def read_limited(request: Request, limit_bytes: int, too_large: str = "") -> Receive:
    """Receives the body of a request up to the limit, whatever length it says it has; `too_large` is told beyond."""
    too_large = too_large or f"The body is larger than the limit of {limit_bytes:,} bytes."
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise BodyTooLarge(too_large)
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise BodyTooLarge(too_large)
        return message

    return receive


def decode_json(data: str | bytes) -> Any:
    """A value from JSON. All that can be wrong with it is one kind of error, which Strawberry knows."""
    try:
        # Left to itself it would guess UTF-16 and UTF-32 too.
        value = json.loads(data if isinstance(data, str) else data.decode("utf-8-sig"))
        # Half a surrogate pair is fine in JSON and in Python, yet no database and no answer can hold it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(f"not JSON: {error}", "", 0) from None
    return value


def parse_operation(data: str | bytes, what: str) -> dict[str, Any]:
    """The operation in a body, or in the part of one."""
    value = _value(data, what)
    if isinstance(value, list):
        raise BadRequest(400, f"{what} is a list. Batches are not taken: send each operation in a request of its own.")
    return _object(value, what)


def parse_object(data: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object."""
    return _object(_value(data, what), what)


def _value(data: str | bytes, what: str) -> Any:
    try:
        return decode_json(data)
    except json.JSONDecodeError:
        raise BadRequest(400, f"{what} is not valid JSON in UTF-8.") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(400, f"{what} must be a JSON object.")
    return value
