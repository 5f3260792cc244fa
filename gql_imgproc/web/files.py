"""File routes: output CSVs, compressed images, and source images for comparison."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from gql_imgproc.errors import (
    ImageError,
    ImageErrorCode,
    RequestNotFound,
    SourceNotFound,
    TooManySources,
)
from gql_imgproc.ids import IdPrefix, decode_global_id
from gql_imgproc.processing.source_preview import fetch_preview
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import StoredObject
from gql_imgproc.storage.paths import image_key_from_path, output_key, request_id_from_key, request_id_from_path
from gql_imgproc.storage.response_headers import (
    OUTPUT_CACHE,
    OUTPUT_TYPE,
    content_disposition,
    image_cache_control,
    output_filename,
)
from gql_imgproc.web.file_authorization import authorize_file

#: Lifetime of a signed object store URL, and of its redirect in a browser's cache, in seconds.
SIGNED_URL_SECONDS, REDIRECT_CACHE_SECONDS = 300, 60

#: Lifetime of a source image in a browser's cache, in seconds. Its host may change it.
SOURCE_CACHE_SECONDS = 300
#: HTTP status by image error when a source cannot be fetched; 502 for all others.
_SOURCE_STATUS = {ImageErrorCode.FORBIDDEN_ADDRESS: 403, ImageErrorCode.TIMEOUT: 504}

_MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "avif": "image/avif",
}


async def serve_output_csv(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    request_id = request_id_from_path(request.path_params["request_id"])
    if request_id is None:
        return _error(404, str(RequestNotFound()))
    tenant_id = await authorize_file(request, queries.tenant_of_request, request_id)
    found = await runtime.db.read(queries.get_request, tenant_id, request_id)
    if found is None:
        return _error(404, str(RequestNotFound()))
    if not found.status.is_terminal:
        return _error(409, f"The request is still {found.status.value}. Its output CSV is available after it finishes.")
    key = output_key(found.id, found.output_name) if found.output_name else None
    if key and (redirect := await _redirect_to_bucket(request, key, "no-store")):
        return redirect
    stored = await runtime.storage.open(key) if key else None
    if stored is None:
        return _error(404, "The request has no output CSV.")
    # A retry of failed images replaces the output CSV under the same URL.
    etag = f'"{found.id.hex}-{found.generation}-{stored.size_bytes}"'
    headers = {
        "Content-Disposition": content_disposition(output_filename(found.csv_filename)),
        "Cache-Control": OUTPUT_CACHE,
    }
    return _serve_object(request, stored, etag, OUTPUT_TYPE, headers)


async def serve_image(request: Request) -> Response:
    """Serves a compressed image. Its bytes never change: another attempt gets another name."""
    runtime: Runtime = request.app.state.runtime
    path: str = request.path_params["key"]
    key = image_key_from_path(path)
    if key is None or (runtime.settings.private_images and not await _is_allowed(request, key)):
        return _error(404, "Image not found.")
    if redirect := await _redirect_to_bucket(request, key, f"private, max-age={REDIRECT_CACHE_SECONDS}"):
        return redirect
    stored = await runtime.storage.open(key)
    if stored is None:
        return _error(404, "Image not found.")
    name, _, extension = path.rpartition("/")[2].rpartition(".")
    return _serve_object(
        request,
        stored,
        f'"{name}"',
        _MEDIA_TYPES.get(extension, "application/octet-stream"),
        {"Cache-Control": image_cache_control(is_private=runtime.settings.private_images)},
    )


async def serve_source(request: Request) -> Response:
    """Fetches a source image under the network policy, so that the page can show it without another origin."""
    decoded = decode_global_id(request.path_params["image_id"])
    if decoded is None or decoded[0] is not IdPrefix.IMAGE:
        return _error(404, str(SourceNotFound()))
    image_id = decoded[1]
    tenant_id = await authorize_file(request, queries.tenant_of_image, image_id)
    try:
        preview = await fetch_preview(request.app.state.runtime, tenant_id, image_id)
    except SourceNotFound as error:
        return _error(404, str(error))
    except TooManySources as error:
        return _error(503, str(error), {"Retry-After": "2"})
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
    request_id = request_id_from_key(key)
    tenant_id = await authorize_file(request, queries.tenant_of_request, request_id)
    return await runtime.db.read(queries.get_request, tenant_id, request_id) is not None


async def _redirect_to_bucket(request: Request, key: str, cache_control: str) -> Response | None:
    """Redirects to the object store; returns None when this service serves the object or it does not exist."""
    storage = request.app.state.runtime.storage
    # The store's own error response for a missing object is unreadable for people.
    if storage.public_endpoint is None or not await storage.exists(key):
        return None
    # The signature is valid for one method only.
    url = await storage.presign_or_none(key, "HEAD" if request.method == "HEAD" else "GET", SIGNED_URL_SECONDS)
    return RedirectResponse(url, 302, {"Cache-Control": cache_control}) if url else None


def _serve_object(
    request: Request, stored: StoredObject, etag: str, media_type: str, headers: dict[str, str]
) -> Response:
    headers |= {"ETag": etag}
    if _is_not_modified(request, etag):
        return Response(status_code=304, headers=headers)
    headers |= {"Content-Length": str(stored.size_bytes), "Content-Type": media_type}
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(stored.chunks, headers=headers)


def _is_not_modified(request: Request, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in tags or "*" in tags


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, {"Cache-Control": "no-store"} | (headers or {}))
