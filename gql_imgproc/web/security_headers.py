"""Headers that every answer carries, and what is counted of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gql_imgproc import tracing
from gql_imgproc.metrics import HTTP_REQUESTS, HTTP_SECONDS, SOCKETS

COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

#: For answers of which no part is ever shown as a page.
JSON_SECURITY_HEADERS = COMMON | {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}


def content_security_policy(pictures_at: Sequence[str] = (), *, inline_styles: bool = False) -> str:
    """What a page of ours may load: itself, and pictures from the origins to which we redirect them."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'" if inline_styles else "'self'",
        "img-src": " ".join(["'self' data:", *pictures_at]),
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SecurityHeadersMiddleware:
    """Adds the headers that keep a browser from being fooled, unless the answer has its own."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = COMMON | {"Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class HttpMetricsMiddleware:
    """Counts answers by route, method and status, and open sockets."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            with SOCKETS.track_inprogress():
                await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The route's pattern: an address of its own for every picture would never end.
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                HTTP_REQUESTS.labels(route, method, message["status"]).inc()
                HTTP_SECONDS.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_and_count if scope["type"] == "http" else send)


class TracingMiddleware:
    """Opens a span for each GraphQL operation that comes by POST, below the `traceparent` that it brings."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Nothing else begins work; a socket, or a stream of events, is open for hours.
        if (
            not tracing.is_enabled()
            or scope["type"] != "http"
            or (scope["method"], scope["path"]) != ("POST", "/graphql")
        ):
            await self._app(scope, receive, send)
            return
        parent = tracing.parse_traceparent(Headers(scope=scope).get(tracing.TRACEPARENT))
        with tracing.start_span("POST /graphql", parent, "SERVER"):
            await self._app(scope, receive, send)
