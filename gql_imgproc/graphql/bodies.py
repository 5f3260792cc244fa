"""Bodies of HTTP requests: no larger than they may be, and no worse than a refusal can tell."""

from __future__ import annotations

import json
from typing import Any

from cross_web import HTTPException, StarletteRequestAdapter
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from gql_imgproc.graphql.faults import Code

#: Largest JSON body, and largest field of a multipart one beside its file, in bytes: documents have under 100 KiB.
MAX_JSON_BYTES = 1024 * 1024
#: What a multipart body may have beside the file, in bytes.
MULTIPART_MARGIN_BYTES = 1024 * 1024
#: Parts of a multipart body: `operations`, `map` and some to spare.
MAX_PARTS = 10

#: A browser asks the server before it sends one of these to a foreign one, so a foreign page cannot upload in
#: the name of its visitor.
PREFLIGHT_HEADERS = ("Apollo-Require-Preflight", "X-Apollo-Operation-Name", "GraphQL-Preflight", "X-Requested-With")


class Refused(HTTPException):
    """An HTTP request that is not as it must be; the message tells how it must be."""

    def __init__(
        self, status: int, message: str, *, code: Code = Code.BAD_REQUEST, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message)
        self.code = code
        self.headers = headers


class BodyTooLarge(Refused):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            413, f"The body is larger than the limit of {limit_bytes:,} bytes.", code=Code.PAYLOAD_TOO_LARGE
        )


class Body(StarletteRequestAdapter):
    """A request as Strawberry sees it, with the request itself."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


def is_multipart(request: Request) -> bool:
    return media_type(request) == "multipart/form-data"


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def limited(request: Request, limit_bytes: int) -> Receive:
    """Receives the body of a request up to the limit, whatever length it says it has."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        return message

    return receive


def decoded(data: str | bytes) -> Any:
    """A value from JSON. All that can be wrong with it is one kind of error, which Strawberry knows."""
    try:
        value = json.loads(data)
        # Half a surrogate pair is fine in JSON and in Python, yet no database and no answer can hold it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(f"not JSON: {error}", "", 0) from None
    return value


def object_from(data: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = decoded(data)
    except json.JSONDecodeError:
        raise Refused(400, f"{what} is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise Refused(400, f"{what} must be a JSON object.")
    return value


async def multipart_operation(request: Request) -> dict[str, Any]:
    """The operation of a multipart request, its files put where `map` says."""
    if not any(header in request.headers for header in PREFLIGHT_HEADERS):
        raise Refused(
            400,
            f"A multipart request needs one of the headers {', '.join(PREFLIGHT_HEADERS)}, with any value,"
            " so that no foreign web page can send it.",
        )
    try:
        form = await request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_JSON_BYTES)
    except StarletteHTTPException as error:
        raise Refused(400, f"The multipart body cannot be read. {error.detail}") from None
    operation = object_from(_field(form, "operations"), "The part `operations`")
    places = object_from(_field(form, "map"), "The part `map`")
    for part, paths in places.items():
        file = form.get(part)
        if not isinstance(file, UploadFile):
            raise Refused(400, f"`map` names the file part {part[:100]!r}, which is missing.")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise Refused(400, "`map` must give a list of paths for each file part.")
        for path in paths:
            _place(operation, path, file)
    return operation


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise Refused(400, f"The multipart body has no field `{name}`.")
    return value


def _place(operation: dict[str, Any], path: str, file: UploadFile) -> None:
    """Puts a file in place of the null that stands at a path like `variables.input.file`."""
    holder: Any = {"variables": operation.get("variables")}
    *way, last = path.split(".")
    try:
        for step in way:
            holder = holder[_step(holder, step)]
        if holder[_step(holder, last)] is not None or len(way) == 0:
            raise LookupError
        holder[_step(holder, last)] = file
    except (LookupError, TypeError, ValueError):
        raise Refused(400, f"`map` names the path {path[:100]!r}, where `operations` has no null.") from None


def _step(holder: Any, step: str) -> str | int:
    return int(step) if isinstance(holder, list) else step
