"""The ASGI application: routes, middleware and error responses."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ExceptionHandler, Receive, Scope, Send

from gql_imgproc import tracing
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.errors import (
    UNAVAILABLE_RETRY_AFTER_S,
    ApiKeyRejected,
    ApiKeyRequired,
    DatabaseUnavailable,
    RateLimited,
    RequestNotFinished,
    RequestNotFound,
    ScopeMissing,
    SignedUrlInvalid,
    SourceNotFound,
    StorageError,
    TooManyOutputs,
    TooManySources,
    unavailable_message,
)
from gql_imgproc.graphql.auth import CHALLENGE, retry_after
from gql_imgproc.graphql.context import AppState
from gql_imgproc.graphql.http import serve_graphql
from gql_imgproc.graphql.persisted_queries import load_trusted_documents
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings, load
from gql_imgproc.storage.object_store import open_storage
from gql_imgproc.web import files, health, pages
from gql_imgproc.web.host_check import TrustedHostMiddleware
from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS, SecurityHeadersMiddleware, content_security_policy
from gql_imgproc.web.static_files import StaticAssets
from gql_imgproc.web.telemetry import HttpMetricsMiddleware, TracingMiddleware

log = logging.getLogger(__name__)


class GraphQLRoute:
    """`/graphql`: GraphiQL for browsers, the GraphQL API for other clients."""

    # A class, because Starlette calls a function with a request instead.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if pages.wants_graphiql(scope):
            await pages.serve_graphiql(Request(scope))(scope, receive, send)
        else:
            await serve_graphql(scope, receive, send)


def create_app(
    settings: Settings | None = None,
    *,
    loopback_only: bool = False,
    anonymous: AnonymousAccess = AnonymousAccess.NEVER,
    started_by: str = "",
) -> Starlette:
    """Creates the application. Without `settings` it loads them: ASGI servers call factories without arguments.

    `loopback_only`: the server listens on loopback, so requests must use a host name of this machine or of the
    public URL. `anonymous`: when callers need no API key. `started_by`: a token that `/readyz` returns.
    """
    settings = settings or load()
    public_host = urlsplit(settings.public_url).hostname or ""
    host_check = [Middleware(TrustedHostMiddleware, public_host=public_host)] if loopback_only else []
    endpoint = open_storage(settings).public_endpoint
    policy = content_security_policy(endpoint.origins if endpoint else ())
    app = Starlette(
        routes=_routes(),
        middleware=[
            Middleware(SecurityHeadersMiddleware, policy=policy),
            Middleware(HttpMetricsMiddleware),
            Middleware(TracingMiddleware),
            *host_check,
        ],
        exception_handlers=_EXCEPTION_HANDLERS,
        lifespan=partial(_run, settings, anonymous, load_trusted_documents(settings.trusted_documents)),
    )
    app.state.started_by = started_by
    # Such a redirect would lead to the name in the `Host` header, which the client chooses.
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def _run(
    settings: Settings, anonymous: AnonymousAccess, trusted: dict[str, str] | None, app: Starlette
) -> AsyncIterator[None]:
    tracing.set_up("api")
    try:
        async with Runtime(settings) as runtime:
            app.state.runtime = runtime
            app.state.app_state = app_state = AppState(runtime, anonymous, trusted)
            await app_state.refresh_keys()
            runtime.background.start("keys", app_state.watch_keys)
            yield
    finally:
        await asyncio.to_thread(tracing.shut_down)


def _routes() -> list[BaseRoute]:
    routes: list[BaseRoute] = [
        Route("/", pages.serve_index),
        # An ASGI application gets every method; the GraphQL endpoint itself rejects unsupported ones.
        Route("/graphql", GraphQLRoute()),
        WebSocketRoute("/graphql", GraphQLRoute()),
        Route("/api/download/{request_id}", files.serve_output),
        Route("/api/report/{request_id}", files.serve_report),
        Route("/api/archive/{request_id}", files.serve_archive),
        Route("/api/image/{key:path}", files.serve_image),
        Route("/api/source/{image_id}", files.serve_source),
        Route("/healthz", health.report_liveness),
        Route("/readyz", health.report_readiness),
        Route("/metrics", health.report_metrics),
    ]
    if pages.STATIC.is_dir():
        routes.append(Mount("/static", StaticAssets(directory=pages.STATIC)))
    return routes


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "Not found.", 405: "Method not allowed."}.get(error.status_code, error.detail)
    return JSONResponse({"error": message}, error.status_code, headers=error.headers)


async def _refuse(request: Request, error: Exception) -> Response:
    headers = {"Cache-Control": "no-store"}
    match error:
        case ApiKeyRequired() | ApiKeyRejected():
            return JSONResponse({"error": str(error)}, 401, headers | CHALLENGE)
        case RateLimited():
            return JSONResponse({"error": str(error)}, 429, headers | retry_after(error))
        case RequestNotFound() | SourceNotFound():
            return JSONResponse({"error": str(error)}, 404, headers)
        case RequestNotFinished():
            return JSONResponse({"error": str(error)}, 409, headers)
        case TooManyOutputs() | TooManySources():
            return JSONResponse({"error": str(error)}, 503, headers | {"Retry-After": "2"})
    return JSONResponse({"error": str(error)}, 403, headers)


async def _service_unavailable(request: Request, error: Exception) -> Response:
    message = unavailable_message(error)
    log.warning("request failed: %s", message, extra={"path": request.url.path, "reason": str(error)})
    headers = {"Cache-Control": "no-store", "Retry-After": str(UNAVAILABLE_RETRY_AFTER_S)}
    return JSONResponse({"error": message}, 503, headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    error_id = secrets.token_hex(6)
    log.error("unexpected error", extra={"error_id": error_id, "path": request.url.path})
    message = f"Internal server error. Contact the operator and quote error ID {error_id}."
    # This response does not pass through the middleware. The server closes the connection after an exception.
    headers = JSON_SECURITY_HEADERS | {"Cache-Control": "no-store", "Vary": "Authorization", "Connection": "close"}
    return JSONResponse({"error": message}, 500, headers)


_EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    HTTPException: _http_error,
    **dict.fromkeys((ApiKeyRequired, ApiKeyRejected, RateLimited, ScopeMissing, SignedUrlInvalid), _refuse),
    **dict.fromkeys((RequestNotFound, RequestNotFinished, SourceNotFound, TooManyOutputs, TooManySources), _refuse),
    **dict.fromkeys((DatabaseUnavailable, StorageError), _service_unavailable),
    Exception: _internal_error,
}
