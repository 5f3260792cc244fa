"""Security headers of every response."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

#: For responses that browsers never render as a page.
JSON_SECURITY_HEADERS = COMMON | {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}


def content_security_policy(image_origins: Sequence[str] = (), *, inline_styles: bool = False) -> str:
    """Allows pages to load this service's own files, and images from the origins that it redirects to."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'" if inline_styles else "'self'",
        "img-src": " ".join(["'self' data:", *image_origins]),
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class SecurityHeadersMiddleware:
    """Adds the security headers that a response does not set itself.

    A response to a caller with an API key is not stored, unless it is the same for everyone. After an internal error
    the connection is closed.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = COMMON | {"Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if has_key:
                    _forbid_storing(headers)
                if message["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
                    headers["Connection"] = "close"
            await send(message)

        has_key = scope["type"] == "http" and "authorization" in Headers(scope=scope)
        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _forbid_storing(headers: MutableHeaders) -> None:
    rules = headers.get("Cache-Control", "")
    if "public" in rules:
        return
    if "no-store" not in rules:
        headers["Cache-Control"] = f"{rules}, no-store" if rules else "no-store"
    headers.add_vary_header("Authorization")
