"""Metrics and trace spans of HTTP requests."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gql_imgproc.metrics import HTTP_REQUESTS, HTTP_SECONDS, SOCKETS
from gql_imgproc.tracing import TRACEPARENT, SpanKind, is_enabled, start_span


class HttpMetricsMiddleware:
    """Counts responses by route, method and status, and open WebSockets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            with SOCKETS.track_inprogress():
                await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The route's pattern, not the path: a label value per image would grow without limit.
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                HTTP_REQUESTS.labels(route, method, message["status"]).inc()
                HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, send_and_count if scope["type"] == "http" else send)


class TracingMiddleware:
    """Starts a span for each GraphQL operation sent with POST, as a child of the request's `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Other requests start no work, and a WebSocket or an event stream stays open for hours.
        if (
            not is_enabled()
            or scope["type"] != "http"
            or (scope["method"], scope["path"]) != ("POST", "/graphql")
            or "text/event-stream" in Headers(scope=scope).get("accept", "")
        ):
            await self._app(scope, receive, send)
            return
        with start_span("POST /graphql", Headers(scope=scope).get(TRACEPARENT), SpanKind.SERVER):
            await self._app(scope, receive, send)
