"""A GraphQL request as a span, in the trace of whoever sends it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gql_imgproc import tracing


class Traces:
    """Opens a span for each GraphQL operation that comes by POST, below the `traceparent` that it brings."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Nothing else begins work; a socket, or a stream of events, is open for hours.
        if not tracing.is_on() or scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/graphql"):
            await self._app(scope, receive, send)
            return
        parent = tracing.checked(Headers(scope=scope).get(tracing.TRACEPARENT))
        with tracing.span("POST /graphql", parent, "SERVER"):
            await self._app(scope, receive, send)
