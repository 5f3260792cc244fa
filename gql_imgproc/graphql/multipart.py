"""Uploads by the GraphQL multipart request specification: parsed, kept within limits, put where they belong."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Receive

from gql_imgproc.graphql.request_body import (
    MAX_JSON_BYTES,
    BadRequest,
    BodyTooLarge,
    media_type,
    parse_object,
    parse_operation,
    read_limited,
    require_utf_8,
)

#: What a multipart body may have beside the file, in bytes.
MULTIPART_MARGIN_BYTES = 1024 * 1024
#: A body is read to its end up to so many times the largest file, so that one that is too large hears it from the
#: mutation, in the answer's own type; what is beyond the limit is thrown away. Larger ones are refused unread.
OVERSIZE_FACTOR = 10
#: Fields of a multipart body: `operations`, `map` and some to spare.
MAX_FIELDS = 10
#: Files of a multipart body: no operation takes more, and a place for each would multiply the work of one request.
MAX_FILES = 1

#: A browser asks the server before it sends one of these to a foreign one, so a foreign page cannot upload in
#: the name of its visitor.
PREFLIGHT_HEADERS = ("Apollo-Require-Preflight", "X-Apollo-Operation-Name", "GraphQL-Preflight", "X-Requested-With")


class UploadParser(MultiPartParser):
    """Parts of a body, of whose files no more is kept than tells that they are too large."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], *, max_file_bytes: int) -> None:
        super().__init__(
            headers,
            self._bounded(stream),
            max_files=MAX_FILES,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_JSON_BYTES,
        )
        self._max_file_bytes = max_file_bytes
        self._part_bytes = 0
        self._dropped_bytes = 0
        self._ended = False

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._part_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            # One byte more than allowed: whoever measures the file finds it too large.
            room = max(0, self._max_file_bytes + 1 - self._part_bytes)
            self._part_bytes += end - start
            kept = min(end, start + room)
            self._dropped_bytes += end - kept
            end = kept
        if start < end:
            super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self._ended = True

    async def _bounded(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Ends the reading when what is kept of all parts together is too much, or when their end is missing."""
        received = 0
        async for data in stream:
            received += len(data)
            yield data
            if received - self._dropped_bytes > self._max_file_bytes + MULTIPART_MARGIN_BYTES:
                raise BodyTooLarge(_too_large(self._max_file_bytes))
        if not self._ended:
            # The parser takes the end of the bytes for that of the body.
            raise MultiPartException("It has no closing boundary, so its end is missing. Send it again.")


def is_multipart(request: Request) -> bool:
    return media_type(request) == "multipart/form-data"


def limited_upload(request: Request) -> Receive:
    """Receives a multipart body up to where not even its end is of interest."""
    limit = _max_file_bytes(request)
    return read_limited(request, limit * OVERSIZE_FACTOR + MULTIPART_MARGIN_BYTES, _too_large(limit))


async def multipart_operation(request: Request) -> dict[str, Any]:
    """The operation of a multipart request, its files put where `map` says."""
    if not any(header in request.headers for header in PREFLIGHT_HEADERS):
        raise BadRequest(
            400,
            f"A multipart request needs one of the headers {', '.join(PREFLIGHT_HEADERS)}, with any value,"
            " so that no foreign web page can send it.",
        )
    # The parser would decode names and fields with whatever codec Python has.
    require_utf_8(request, "A multipart body")
    try:
        parser = UploadParser(request.headers, request.stream(), max_file_bytes=_max_file_bytes(request))
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(400, f"The multipart body cannot be read. {error.message}") from None
    # Where `request.form()` would put it, so that `request.close()` closes its files.
    request._form = form
    operation = parse_operation(_field(form, "operations"), "The part `operations`")
    places = parse_object(_field(form, "map"), "The part `map`")
    _refuse_several(form, places)
    for part, paths in places.items():
        file = form.get(part)
        if not isinstance(file, UploadFile):
            raise BadRequest(400, f"`map` names the file part {part[:100]!r}, which is missing.")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise BadRequest(400, "`map` must give a list of paths for each file part.")
        for path in paths:
            _place(operation, path, file)
    return operation


def _refuse_several(form: FormData, places: dict[str, Any]) -> None:
    """One file in one place; one without a place would be taken in for nothing."""
    if sum(len(paths) for paths in places.values() if isinstance(paths, list)) > 1:
        raise BadRequest(400, "`map` names several places. One request can upload one file, in one place.")
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name not in places:
            raise BadRequest(400, f"The file part {name[:100]!r} is not named in `map`, so it has no place.")


def _max_file_bytes(request: Request) -> int:
    return int(request.app.state.app_state.runtime.settings.max_upload_bytes)


def _too_large(max_file_bytes: int) -> str:
    return (
        f"The body is too large: the file in it may have {max_file_bytes:,} bytes, and all the rest of it"
        f" {MULTIPART_MARGIN_BYTES:,}. Split the file into smaller ones."
    )


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise BadRequest(400, f"The multipart body has no field `{name}`.")
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
        raise BadRequest(400, f"`map` names the path {path[:100]!r}, where `operations` has no null.") from None


def _step(holder: Any, step: str) -> str | int:
    return int(step) if isinstance(holder, list) else step
