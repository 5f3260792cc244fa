"""Uploads as the GraphQL multipart request specification defines them: parsed, limited, and put into the variables."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
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
    parse_operation_object,
    read_limited,
    require_utf_8,
)

#: Size limit of a multipart body without its file, in bytes.
MULTIPART_MARGIN_BYTES = 1024 * 1024
#: A body of up to this many times the largest file is read to its end, so that the mutation can return the typed error
#: UploadTooLarge; bytes beyond the limit are dropped. Larger bodies are rejected unread.
OVERSIZE_FACTOR = 10
#: Fields in a multipart body: `operations`, `map` and some spare.
MAX_FIELDS = 10
#: Files in a multipart body: no operation takes more, and several would multiply the work of one request.
MAX_FILES = 1

#: CSRF protection: browsers send a preflight request before they send one of these headers to another origin.
PREFLIGHT_HEADERS = ("Apollo-Require-Preflight", "X-Apollo-Operation-Name", "GraphQL-Preflight", "X-Requested-With")


class UploadParser(MultiPartParser):
    """Parses a body. Of a file that is too large it keeps one byte more than the limit, and drops the rest."""

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
            # One byte more than allowed, so that the size check of the upload fails.
            free_bytes = max(0, self._max_file_bytes + 1 - self._part_bytes)
            self._part_bytes += end - start
            kept_end = min(end, start + free_bytes)
            self._dropped_bytes += end - kept_end
            end = kept_end
        if start < end:
            super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self._ended = True

    async def _bounded(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Raises when the kept bytes of all parts exceed the limit, or when the closing boundary is missing."""
        received_bytes = 0
        async for data in stream:
            received_bytes += len(data)
            yield data
            if received_bytes - self._dropped_bytes > self._max_file_bytes + MULTIPART_MARGIN_BYTES:
                raise BodyTooLarge(_too_large_message(self._max_file_bytes))
        if not self._ended:
            # The parser accepts a truncated body.
            raise MultiPartException("Its closing boundary is missing. Send the whole body again.")


def is_multipart(request: Request) -> bool:
    return media_type(request) == "multipart/form-data"


def limited_upload(request: Request) -> Receive:
    """Receives a multipart body up to `OVERSIZE_FACTOR` times the largest file."""
    limit = _max_file_bytes(request)
    return read_limited(request, limit * OVERSIZE_FACTOR + MULTIPART_MARGIN_BYTES, _too_large_message(limit))


async def multipart_operation(request: Request, files: AsyncExitStack) -> dict[str, Any]:
    """The operation of a multipart request, with its file at the path in `map`. `files` closes the file."""
    if not any(header in request.headers for header in PREFLIGHT_HEADERS):
        raise BadRequest(
            400,
            f"A multipart request needs one of the headers {', '.join(PREFLIGHT_HEADERS)}, with any value,"
            " as protection against cross-site request forgery.",
        )
    # The parser would decode names and fields with any codec of Python.
    require_utf_8(request, "A multipart body")
    try:
        parser = UploadParser(request.headers, request.stream(), max_file_bytes=_max_file_bytes(request))
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(400, f"The multipart body cannot be read. {error.message}") from None
    files.push_async_callback(form.close)
    operation = parse_operation_object(_field(form, "operations"), "The part `operations`")
    file_map = parse_object(_field(form, "map"), "The part `map`")
    _require_one_file(form, file_map)
    for part, paths in file_map.items():
        file = form.get(part)
        if not isinstance(file, UploadFile):
            raise BadRequest(400, f"`map` names the file part {part[:100]!r}, which is missing.")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise BadRequest(400, "`map` must give a list of paths for each file part.")
        for path in paths:
            _insert_file(operation, path, file)
    return operation


def _require_one_file(form: FormData, file_map: dict[str, Any]) -> None:
    """Raises unless there is one path, and every file has one."""
    if sum(len(paths) for paths in file_map.values() if isinstance(paths, list)) > 1:
        raise BadRequest(400, "`map` has several paths. Upload one file per request, to one path.")
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name not in file_map:
            raise BadRequest(400, f"`map` has no path for the file part {name[:100]!r}.")


def _max_file_bytes(request: Request) -> int:
    return int(request.app.state.app_state.runtime.settings.max_upload_bytes)


def _too_large_message(max_file_bytes: int) -> str:
    return (
        f"The body is too large: at most {max_file_bytes:,} bytes for the file and {MULTIPART_MARGIN_BYTES:,} bytes for"
        " the rest are allowed. Split the file into smaller ones."
    )


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str):
        raise BadRequest(400, f"The multipart body has no field `{name}`.")
    return value


def _insert_file(operation: dict[str, Any], path: str, file: UploadFile) -> None:
    """Replaces the null at a path like `variables.input.file` by a file."""
    container: Any = {"variables": operation.get("variables")}
    *parents, last = path.split(".")
    try:
        for step in parents:
            container = container[_index(container, step)]
        if container[_index(container, last)] is not None or not parents:
            raise LookupError
        container[_index(container, last)] = file
    except (LookupError, TypeError, ValueError):
        raise BadRequest(400, f"`map` names the path {path[:100]!r}, where `operations` has no null.") from None


def _index(container: Any, step: str) -> str | int:
    return int(step) if isinstance(container, list) else step
