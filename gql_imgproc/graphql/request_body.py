"""Reads the bodies of HTTP requests within size limits, and parses JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message, Receive

from gql_imgproc.graphql.errors import NO_DOCUMENT, Code

#: Size limit of a JSON body, and of a field in a multipart body, in bytes; documents have under 100 KiB.
MAX_JSON_BYTES = 1024 * 1024
#: The extension with the hash of a document, in place of the document or with it.
PERSISTED_QUERY = "persistedQuery"


class BadRequest(Exception):
    """The request is invalid; the message says how to correct it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: Code = Code.BAD_REQUEST,
        headers: dict[str, str] | None = None,
        extensions: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        #: Extensions of the GraphQL error.
        self.extensions = {"code": code.value} | (extensions or {})


class BodyTooLarge(BadRequest):
    def __init__(self, message: str) -> None:
        super().__init__(413, message, code=Code.PAYLOAD_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class OperationFields:
    """The fields of an operation, with their types checked."""

    #: Empty if the client only sends the hash of a document.
    query: str
    variables: dict[str, Any] | None
    name: str | None
    extensions: dict[str, Any]

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> OperationFields:
        """Raises BadRequest."""
        query, name, extensions = fields.get("query"), fields.get("operationName"), fields.get("extensions")
        for field in ("variables", "extensions"):
            if not isinstance(fields.get(field), dict | None):
                raise BadRequest(400, f"`{field}` must be an object or null.")
        if not isinstance(name, str | None):
            raise BadRequest(400, "`operationName` must be a string or null.")
        if not isinstance(query, str) and not (query is None and PERSISTED_QUERY in (extensions or {})):
            raise BadRequest(400, NO_DOCUMENT)
        return cls(query or "", fields.get("variables"), name or None, extensions or {})


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_utf_8(request: Request, what: str) -> None:
    """Raises for a content type with another charset."""
    _, parameters = parse_options_header(request.headers["content-type"])
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in ("utf-8", "utf8"):
        raise BadRequest(415, f"{what} must be in UTF-8, not {charset[:100]!r}. Omit the charset.")


def read_limited(request: Request, limit_bytes: int, too_large: str = "") -> Receive:
    """Receives the body of a request; raises BodyTooLarge with the message `too_large` above the limit."""
    too_large = too_large or f"The body is larger than the limit of {limit_bytes:,} bytes."
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length[:20]) > limit_bytes:
        raise BodyTooLarge(too_large)
    received_bytes = 0

    async def receive() -> Message:
        nonlocal received_bytes
        message = await request.receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > limit_bytes:
            raise BodyTooLarge(too_large)
        return message

    return receive


def decode_json(data: str | bytes) -> Any:
    """Raises ValueError for every problem."""
    try:
        # Given bytes, `json.loads` would also detect UTF-16 and UTF-32.
        value = json.loads(data if isinstance(data, str) else data.decode("utf-8-sig"))
        # JSON and Python accept a lone surrogate; databases and responses cannot encode it.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def parse_operation_object(data: str | bytes, what: str) -> dict[str, Any]:
    """The operation in a body, or in a part of a multipart body."""
    batch = f"{what} is a list. Batches are not supported: send each operation in its own request."
    return parse_object(data, what, of_list=batch)


def parse_object(data: str | bytes, what: str, *, of_list: str = "") -> dict[str, Any]:
    """`of_list`: the message about a list."""
    try:
        value = decode_json(data)
    except ValueError:
        raise BadRequest(400, f"{what} is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise BadRequest(400, (isinstance(value, list) and of_list) or f"{what} must be a JSON object.")
    return value
