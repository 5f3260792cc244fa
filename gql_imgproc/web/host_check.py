"""A check of the `Host` header against DNS rebinding, while callers need no API key.

A page of `evil.example` can let its name resolve to 127.0.0.1 after it was loaded. The browser then treats this service
as the page's own server and lets the page read every response. The `Host` header still contains `evil.example`.
"""

from __future__ import annotations

import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gql_imgproc.graphql.errors import Code
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?", re.IGNORECASE)

_UNTRUSTED_HOST = (
    "This service requires no API key, so it accepts only host names of this machine, such as localhost. "
    "To use another host name, set IMGPROC_PUBLIC_URL to a URL with that name."
)


class TrustedHostMiddleware:
    """Accepts requests for a host name of this machine or of the public URL, with any port."""

    def __init__(self, app: ASGIApp, public_host: str) -> None:
        self._app = app
        self._public_host = public_host.lower().rstrip(".")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = parse_host(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            await _reject(400, "The request needs exactly one `Host` header with a host name.", scope, receive, send)
        elif host != self._public_host and not is_local_host(host):
            await _reject(421, _UNTRUSTED_HOST, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def parse_host(header: str) -> str | None:
    """Returns the host name or IP address in a `Host` header, without the port; None for an invalid header."""
    match = _HOST.fullmatch(header.strip())
    return (match["six"] or match["name"]).lower().rstrip(".") or None if match else None


def is_local_host(host: str) -> bool:
    """Whether the name means this machine without a DNS query (RFC 6761, 6.3)."""
    return host.endswith(".localhost") or is_loopback(host)


async def _reject(status: int, message: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/graphql":
        body: object = {"errors": [{"message": message, "extensions": {"code": Code.BAD_REQUEST.value}}]}
    else:
        body = {"error": message}
    # Middleware adds no headers to a response that rejects a handshake.
    await JSONResponse(body, status, JSON_SECURITY_HEADERS)(scope, receive, send)
