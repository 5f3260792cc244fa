"""File routes: output CSVs, reports, archives, compressed images, and source images for comparison."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from gql_imgproc.errors import (
    ImageError,
    ImageErrorCode,
    RequestNotFinished,
    RequestNotFound,
    SourceNotFound,
)
from gql_imgproc.ids import IdPrefix, parse_global_id
from gql_imgproc.imaging.formats import FORMATS
from gql_imgproc.processing.source_preview import fetch_preview
from gql_imgproc.requests.archive import stream_archive
from gql_imgproc.requests.output_csv import write_partial_output
from gql_imgproc.requests.repository import queries, renditions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import StoredObject
from gql_imgproc.storage.paths import (
    csv_name,
    output_key,
    parse_image_path,
    rendition_id_from_key,
    report_key,
    request_id_from_key,
    request_id_from_path,
)
from gql_imgproc.storage.response_headers import (
    OUTPUT_CACHE,
    Attachment,
    archive_download,
    content_disposition,
    image_cache_control,
    output_download,
    report_download,
)
from gql_imgproc.storage.temporary_file import temporary_file
from gql_imgproc.web.file_authorization import authorize_file
from gql_imgproc.web.image_negotiation import rank_objects

#: Lifetime of a signed object store URL, and of its redirect in a browser's cache, in seconds.
SIGNED_URL_SECONDS, REDIRECT_CACHE_SECONDS = 300, 60

#: Bytes of a temporary file that are read at once.
FILE_CHUNK_BYTES = 256 * 1024
#: Lifetime of a source image in a browser's cache, in seconds. Its host may change it.
SOURCE_CACHE_SECONDS = 300
#: HTTP status by image error when a source cannot be fetched; 502 for all others.
_SOURCE_STATUS = {ImageErrorCode.FORBIDDEN_ADDRESS: 403, ImageErrorCode.TIMEOUT: 504}

_MEDIA_TYPES = {format.extension: format.media_type for format in FORMATS.values()}


async def serve_output(request: Request) -> Response:
    """Serves the output: of a workbook as CSV with `?format=csv`, of a running request so far with `?partial=true`."""
    if request.query_params.get("partial") == "true":
        found = await _find_request(request)
        if not found.status.is_terminal:
            return await _serve_partial_output(request, found)
    choose = csv_name if request.query_params.get("format") == "csv" else str
    return await _serve_result(
        request,
        "output CSV",
        lambda found: found.output_name and output_key(found.id, choose(found.output_name)),
        lambda found: output_download(found.csv_filename, found.profile, choose(found.output_name or "")),
    )


async def serve_report(request: Request) -> Response:
    return await _serve_result(
        request,
        "report",
        lambda found: report_key(found.id, found.output_name) if found.output_name and found.has_report else None,
        lambda found: report_download(found.csv_filename),
    )


async def _serve_result(
    request: Request,
    name: str,
    find_key: Callable[[Snapshot], str | None],
    describe: Callable[[Snapshot], Attachment],
) -> Response:
    runtime: Runtime = request.app.state.runtime
    found = await _find_finished(request, name)
    key = find_key(found)
    if key and (redirect := await _redirect_to_bucket(request, key, "no-store")):
        return redirect
    stored = await runtime.storage.open(key) if key else None
    if stored is None:
        return _error(404, f"The request has no {name}.")
    # A retry of failed images replaces the file under the same URL.
    etag = f'"{found.id.hex}-{found.generation}-{stored.size_bytes}"'
    return _serve_object(request, stored, etag, _download_headers(describe(found), OUTPUT_CACHE))


async def serve_archive(request: Request) -> Response:
    """Streams a ZIP archive, whose size is not known before its end."""
    runtime: Runtime = request.app.state.runtime
    found = await _find_finished(request, "archive")
    output = await runtime.storage.open(output_key(found.id, found.output_name)) if found.output_name else None
    if output is None:
        return _error(404, "The request has no output CSV.")
    headers = _download_headers(archive_download(found.csv_filename), OUTPUT_CACHE)
    return _stream(request, stream_archive(runtime, found, output), headers)


async def _serve_partial_output(request: Request, found: Snapshot) -> Response:
    """Serves the output of a running request so far, which is written now."""
    runtime: Runtime = request.app.state.runtime
    with ExitStack() as stack:
        file = stack.enter_context(temporary_file())
        name = await write_partial_output(runtime, found, file, as_csv=request.query_params.get("format") == "csv")
        download = output_download(found.csv_filename, found.profile, name, "-partial")
        headers = _download_headers(download, "no-store")
        headers |= {"Content-Length": str(file.seek(0, os.SEEK_END)), "X-Partial": "true"}
        if request.method == "HEAD":
            return Response(headers=headers)
        return StreamingResponse(_read_file(file, stack.pop_all()), headers=headers)


async def _read_file(file: BinaryIO, stack: ExitStack) -> AsyncIterator[bytes]:
    with stack:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, FILE_CHUNK_BYTES):
            yield chunk


async def _find_request(request: Request) -> Snapshot:
    """The request of the path. Raises RequestNotFound."""
    runtime: Runtime = request.app.state.runtime
    request_id = request_id_from_path(request.path_params["request_id"])
    if request_id is None:
        raise RequestNotFound
    tenant_id = await authorize_file(request, queries.tenant_of_request, request_id)
    found = await runtime.db.read(queries.get_request, tenant_id, request_id)
    if found is None:
        raise RequestNotFound
    return found


async def _find_finished(request: Request, file: str) -> Snapshot:
    """The finished request of the path. Raises RequestNotFound or RequestNotFinished."""
    found = await _find_request(request)
    if not found.status.is_terminal:
        raise RequestNotFinished(found.status, file)
    return found


async def serve_image(request: Request) -> Response:
    """Serves a compressed image, or another output of it that the client prefers, if the URL names some."""
    runtime: Runtime = request.app.state.runtime
    path = parse_image_path(request.path_params["key"])
    if path and (not runtime.settings.private_images or await _is_allowed(request, path.key)):
        for key in await rank_objects(request, path):
            if response := await _serve_stored_image(request, key):
                if path.alternatives:
                    response.headers.add_vary_header("Accept")
                return response
    return _error(404, "Image not found.")


async def _serve_stored_image(request: Request, key: str) -> Response | None:
    """The bytes of an object never change: another attempt gets another name. None if it does not exist."""
    runtime: Runtime = request.app.state.runtime
    if redirect := await _redirect_to_bucket(request, key, f"private, max-age={REDIRECT_CACHE_SECONDS}"):
        return redirect
    stored = await runtime.storage.open(key)
    if stored is None:
        return None
    name, _, extension = key.rpartition("/")[2].rpartition(".")
    headers = {
        "Cache-Control": image_cache_control(is_private=runtime.settings.private_images),
        "Content-Type": _MEDIA_TYPES.get(extension, "application/octet-stream"),
    }
    return _serve_object(request, stored, f'"{name}"', headers)


async def serve_source(request: Request) -> Response:
    """Fetches a source image under the network policy, so that the page can show it without another origin."""
    image_id = parse_global_id(request.path_params["image_id"], IdPrefix.IMAGE)
    if image_id is None:
        raise SourceNotFound
    tenant_id = await authorize_file(request, queries.tenant_of_image, image_id)
    await request.app.state.app_state.rate_limiter.hit_source(tenant_id)
    try:
        preview = await fetch_preview(request.app.state.runtime, tenant_id, image_id)
    except ImageError as error:
        return _error(_SOURCE_STATUS.get(error.code, 502), error.message)
    headers = {
        "Cache-Control": f"private, max-age={SOURCE_CACHE_SECONDS}",
        # Other sites must not embed untrusted images through this service.
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(preview.data, headers=headers, media_type=preview.media_type)


async def _is_allowed(request: Request, key: str) -> bool:
    """Whether the caller may read the image."""
    runtime: Runtime = request.app.state.runtime
    rendition_id = rendition_id_from_key(key)
    find_owner = queries.tenant_of_request if rendition_id is None else renditions.tenant_of
    row_id = rendition_id or request_id_from_key(key)
    tenant_id = await authorize_file(request, find_owner, row_id)
    return await runtime.db.read(find_owner, row_id) == tenant_id


async def _redirect_to_bucket(request: Request, key: str, cache_control: str) -> Response | None:
    """Redirects to the object store; returns None when this service serves the object or it does not exist."""
    storage = request.app.state.runtime.storage
    # The store's own error response for a missing object is unreadable for people.
    if storage.public_endpoint is None or not await storage.exists(key):
        return None
    # The signature is valid for one method only.
    url = await storage.presign_or_none(key, "HEAD" if request.method == "HEAD" else "GET", SIGNED_URL_SECONDS)
    return RedirectResponse(url, 302, {"Cache-Control": cache_control}) if url else None


def _serve_object(request: Request, stored: StoredObject, etag: str, headers: dict[str, str]) -> Response:
    headers |= {"ETag": etag}
    if _is_not_modified(request, etag):
        del headers["Content-Type"]
        return Response(status_code=304, headers=headers)
    return _stream(request, stored.chunks, headers | {"Content-Length": str(stored.size_bytes)})


def _stream(request: Request, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> Response:
    return Response(headers=headers) if request.method == "HEAD" else StreamingResponse(chunks, headers=headers)


def _download_headers(download: Attachment, cache_control: str) -> dict[str, str]:
    return {
        "Content-Disposition": content_disposition(download.filename),
        "Cache-Control": cache_control,
        "Content-Type": download.media_type,
    }


def _is_not_modified(request: Request, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in tags or "*" in tags


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status, {"Cache-Control": "no-store"})
