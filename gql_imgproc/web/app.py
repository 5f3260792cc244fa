"""The ASGI application: routes, and the resources that they share."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from gql_imgproc import tracing
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.errors import ApiKeyRejected, ApiKeyRequired, RateLimited, ScopeMissing, SignedUrlInvalid, StorageError
from gql_imgproc.graphql.auth import CHALLENGE, retry_after
from gql_imgproc.graphql.context import AppState
from gql_imgproc.graphql.http import GraphQLEndpoint
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings, load
from gql_imgproc.storage.object_store import open_storage
from gql_imgproc.web import files, health, pages
from gql_imgproc.web.host_check import TrustedHostMiddleware
from gql_imgproc.web.security_headers import (
    JSON_SECURITY_HEADERS,
    HttpMetricsMiddleware,
    SecurityHeadersMiddleware,
    TracingMiddleware,
    content_security_policy,
)
from gql_imgproc.web.static_files import StaticAssets

log = logging.getLogger(__name__)


class GraphQLRoute:
    """`/graphql`: GraphiQL for a person with a browser, GraphQL for everybody else."""

    def __init__(self, settings: Settings) -> None:
        public = urlsplit(settings.public_url)
        self._transport = GraphQLEndpoint(
            allowed_origins=[f"{public.scheme}://{public.netloc}"] if public.netloc else ()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if pages.wants_graphiql(scope):
            await pages.graphiql(Request(scope))(scope, receive, send)
        else:
            await self._transport(scope, receive, send)


def create_app(
    settings: Settings | None = None, *, loopback_only: bool = False, anonymous: AnonymousAccess = AnonymousAccess.NEVER
) -> Starlette:
    """The application; without `settings` it reads them by itself, as an ASGI server's factory call needs.

    `loopback_only`: it listens where only this machine can connect, so it answers to names of this machine and of
    the public address alone. `anonymous`: when callers without an API key are let in.
    """
    settings = settings or load()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tracing.set_up("api")
        try:
            async with Runtime(settings) as runtime:
                app.state.runtime = runtime
                app.state.app_state = app_state = AppState(runtime, anonymous)
                await app_state.refresh_keys()
                runtime.background.start("keys", app_state.watch_keys)
                yield
        finally:
            await asyncio.to_thread(tracing.shut_down)

    public_host = urlsplit(settings.public_url).hostname or ""
    guard = [Middleware(TrustedHostMiddleware, public_host=public_host)] if loopback_only else []
    outlet = open_storage(settings).public_endpoint
    policy = content_security_policy(outlet.origins if outlet else ())
    return Starlette(
        routes=_routes(settings),
        middleware=[
            Middleware(SecurityHeadersMiddleware, policy=policy),
            Middleware(HttpMetricsMiddleware),
            Middleware(TracingMiddleware),
            *guard,
        ],
        exception_handlers={
            HTTPException: _refused,
            ApiKeyRequired: _unauthorized,
            ApiKeyRejected: _unauthorized,
            RateLimited: _too_many_requests,
            ScopeMissing: _forbidden,
            SignedUrlInvalid: _forbidden,
            StorageError: _storage_unavailable,
            Exception: _failed,
        },
        lifespan=lifespan,
    )


def _routes(settings: Settings) -> list[BaseRoute]:
    graphql = GraphQLRoute(settings)
    routes: list[BaseRoute] = [
        Route("/", pages.index),
        # Given as a class's instance it gets every method: GraphQL has its own answer to those it does not take.
        Route("/graphql", graphql),
        WebSocketRoute("/graphql", graphql),
        Route("/api/download/{request_id}", files.download),
        Route("/api/image/{key:path}", files.image),
        Route("/api/source/{image_id}", files.source),
        Route("/healthz", health.alive),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]
    if pages.STATIC.is_dir():
        routes.append(Mount("/static", StaticAssets(directory=pages.STATIC)))
    return routes


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {404: "There is nothing at this address.", 405: "This address does not take that method."}
    return JSONResponse(
        {"error": sentence.get(error.status_code, error.detail)}, error.status_code, headers=error.headers
    )


async def _unauthorized(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 401, {"Cache-Control": "no-store"} | CHALLENGE)


async def _too_many_requests(request: Request, error: Exception) -> Response:
    assert isinstance(error, RateLimited)
    return JSONResponse({"error": str(error)}, 429, {"Cache-Control": "no-store"} | retry_after(error))


async def _forbidden(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 403, {"Cache-Control": "no-store"})


async def _storage_unavailable(request: Request, error: Exception) -> Response:
    log.error("object store failed", extra={"path": request.url.path}, exc_info=error)
    return JSONResponse({"error": "The object store does not answer. Try again later."}, 503, {"Retry-After": "5"})


async def _failed(request: Request, error: Exception) -> Response:
    error_id = secrets.token_hex(6)
    log.error("unexpected error", extra={"error_id": error_id, "path": request.url.path})
    message = f"Something went wrong on our side. Give this number to whoever runs the service: {error_id}"
    # This answer is made outside of the middleware.
    return JSONResponse({"error": message}, 500, JSON_SECURITY_HEADERS)
