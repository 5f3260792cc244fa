"""To which names we answer while callers are not asked who they are.

A page of `evil.example` may have its own name resolve to 127.0.0.1 once it is loaded (DNS rebinding): the browser then
takes us for that page's server and lets it read all we say. What it still sends is that name.
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
    "This service answers to names of this machine only, such as localhost, since it does not ask callers who they"
    " are. If it is meant to be reached under another name, set IMGPROC_PUBLIC_URL to the address with that name."
)


class TrustedHostMiddleware:
    """Lets in requests for a name of this machine or of the public address, whatever the port."""

    def __init__(self, app: ASGIApp, public_host: str) -> None:
        self._app = app
        self._public_host = public_host.lower().rstrip(".")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = host_in(given[0]) if len(given) == 1 else None
        if host is None:
            await _refuse(400, "A request needs one `Host` header with a name.", scope, receive, send)
        elif host != self._public_host and not is_this_machine(host):
            await _refuse(421, _UNTRUSTED_HOST, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def host_in(header: str) -> str | None:
    """The name or address in a `Host` header, without its port; None when there is none."""
    match = _HOST.fullmatch(header.strip())
    return (match["six"] or match["name"]).lower().rstrip(".") or None if match else None


def is_this_machine(host: str) -> bool:
    """Whether no name server has a say in what the name means (RFC 6761, 6.3)."""
    return host.endswith(".localhost") or is_loopback(host)


async def _refuse(status: int, sentence: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/graphql":
        body: object = {"errors": [{"message": sentence, "extensions": {"code": Code.BAD_REQUEST.value}}]}
    else:
        body = {"error": sentence}
    # Instead of a handshake no middleware adds headers.
    await JSONResponse(body, status, JSON_SECURITY_HEADERS)(scope, receive, send)
