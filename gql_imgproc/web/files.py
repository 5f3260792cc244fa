"""Downloads: output CSVs, compressed pictures, and their sources for comparison."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from gql_imgproc.errors import (
    ImageError,
    ImageErrorCode,
    RequestNotFound,
    ScopeMissing,
    SignedUrlInvalid,
    SourceNotFound,
    TooManySources,
)
from gql_imgproc.graphql.auth import authenticate_http
from gql_imgproc.graphql.context import AppState
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, decode_global_id
from gql_imgproc.processing.source_preview import fetch_preview as source_of
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Scope
from gql_imgproc.security.url_signature import SIGNATURE
from gql_imgproc.storage.object_store import StoredObject
from gql_imgproc.storage.paths import image_key_from_path, output_key, request_id_from_key, request_id_from_path
from gql_imgproc.storage.response_headers import (
    OUTPUT_CACHE,
    OUTPUT_TYPE,
    content_disposition,
    image_cache_control,
    output_filename,
)

#: How long a signed address of the object store is good, in seconds; and how long a browser may keep it.
SIGNED_SECONDS, SIGNED_CACHE_SECONDS = 300, 60

#: How long a browser may keep a source, in seconds: it is a stranger's, and may change.
SOURCE_CACHE_SECONDS = 300
#: What to answer when a source cannot be had; everything else is a bad gateway.
_SOURCE_STATUS = {ImageErrorCode.FORBIDDEN_ADDRESS: 403, ImageErrorCode.TIMEOUT: 504}

_TYPES = {
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


async def download(request: Request) -> Response:
    """The output CSV of a request."""
    runtime: Runtime = request.app.state.runtime
    request_id = request_id_from_path(request.path_params["request_id"])
    if request_id is None:
        return _error(404, str(RequestNotFound()))
    tenant_id = await authorize_file(request, lambda connection: queries.tenant_of_request(connection, request_id))
    found = await runtime.db.read(queries.get_request, tenant_id, request_id)
    if found is None:
        return _error(404, str(RequestNotFound()))
    if not found.status.is_terminal:
        return _error(409, f"The request is still {found.status.value}. Its output CSV is there when it has ended.")
    key = output_key(found.id, found.output_name) if found.output_name else None
    if key and (elsewhere := await _redirect_to_bucket(request, key, "no-store")):
        return elsewhere
    stored = await runtime.storage.open(key) if key else None
    if stored is None:
        return _error(404, "The request has no output CSV.")
    # A retry of failed images writes another one in the same place.
    etag = f'"{found.id.hex}-{found.generation}-{stored.size_bytes}"'
    headers = {
        "Content-Disposition": content_disposition(output_filename(found.csv_filename)),
        "Cache-Control": OUTPUT_CACHE,
    }
    return _serve(request, stored, etag, OUTPUT_TYPE, headers)


async def image(request: Request) -> Response:
    """A compressed picture. Its bytes never change: a new try is stored under a new name."""
    runtime: Runtime = request.app.state.runtime
    path: str = request.path_params["key"]
    key = image_key_from_path(path)
    if key is None or (runtime.settings.private_images and not await _is_allowed(request, key)):
        return _error(404, "There is no such picture.")
    if elsewhere := await _redirect_to_bucket(request, key, f"private, max-age={SIGNED_CACHE_SECONDS}"):
        return elsewhere
    stored = await runtime.storage.open(key)
    if stored is None:
        return _error(404, "There is no such picture.")
    name, _, extension = path.rpartition("/")[2].rpartition(".")
    return _serve(
        request,
        stored,
        f'"{name}"',
        _TYPES.get(extension, "application/octet-stream"),
        {"Cache-Control": image_cache_control(private=runtime.settings.private_images)},
    )


async def source(request: Request) -> Response:
    """The source of a compressed picture, through the guard, so that the page needs no other host to compare."""
    named = decode_global_id(request.path_params["image_id"])
    if named is None or named[0] is not IdPrefix.IMAGE:
        return _error(404, str(SourceNotFound()))
    tenant_id = await authorize_file(request, lambda connection: queries.tenant_of_image(connection, named[1]))
    try:
        found = await source_of(request.app.state.runtime, tenant_id, named[1])
    except SourceNotFound as error:
        return _error(404, str(error))
    except TooManySources as error:
        return _error(503, str(error), {"Retry-After": "2"})
    except ImageError as error:
        return _error(_SOURCE_STATUS.get(error.code, 502), error.message)
    headers = {
        "Cache-Control": f"private, max-age={SOURCE_CACHE_SECONDS}",
        # Other sites are not to show strangers' pictures through this service.
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(found.data, headers=headers, media_type=found.media_type)


async def _is_allowed(request: Request, key: str) -> bool:
    """Whether a picture is the visitor's own."""
    runtime: Runtime = request.app.state.runtime
    request_id = request_id_from_key(key)
    tenant_id = await authorize_file(request, lambda connection: queries.tenant_of_request(connection, request_id))
    return await runtime.db.read(queries.get_request, tenant_id, request_id) is not None


async def _redirect_to_bucket(request: Request, key: str, cache_control: str) -> Response | None:
    """Where the bucket itself serves the object; None when it is for us to do, or to say that there is none."""
    storage = request.app.state.runtime.storage
    # A bucket's own word on what is missing is for programs.
    if storage.public_endpoint is None or not await storage.exists(key):
        return None
    # Who signs says for which method.
    signed = await storage.presign_or_none(key, "HEAD" if request.method == "HEAD" else "GET", SIGNED_SECONDS)
    return RedirectResponse(signed, 302, {"Cache-Control": cache_control}) if signed else None


def _serve(request: Request, stored: StoredObject, etag: str, kind: str, headers: dict[str, str]) -> Response:
    headers |= {"ETag": etag}
    if _is_not_modified(request, etag):
        return Response(status_code=304, headers=headers)
    headers |= {"Content-Length": str(stored.size_bytes), "Content-Type": kind}
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(stored.chunks, headers=headers)


def _is_not_modified(request: Request, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in tags or "*" in tags


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, {"Cache-Control": "no-store"} | (headers or {}))


async def authorize_file(request: Request, owner: Callable[[Connection], UUID | None]) -> UUID:
    """The tenant in whose name a file is asked for; `owner` tells whose it is, of which a signature is proof enough.

    Raises KeyMissing, KeyRefused, RateLimited, ScopeMissing or AddressOver.
    """
    app_state: AppState = request.app.state.app_state
    if SIGNATURE in request.query_params:
        if not await app_state.url_signer.verify(request.url.path, request.query_params):
            raise SignedUrlInvalid
        # What has gone since is nobody's.
        return await app_state.runtime.db.read(owner) or DEFAULT_TENANT
    caller = await authenticate_http(app_state, request)
    if Scope.READ not in caller.scopes:
        raise ScopeMissing(Scope.READ)
    return caller.tenant_id
