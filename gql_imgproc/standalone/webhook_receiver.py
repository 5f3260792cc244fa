"""A webhook receiver for one's own machine: checks each signature and prints each event."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from datetime import datetime

import uvicorn
from rich.console import Console
from rich.text import Text
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.security import webhook_signature

#: Largest event that is read; ours have less than one thousandth of it.
MAX_BODY_BYTES = 1024 * 1024
#: How long a sender may take to send it, in seconds.
BODY_TIMEOUT_S = 15


def listen(port: int, secret: str | None, host: str = "127.0.0.1") -> None:
    """Receives on a port (0: any that is free) until Ctrl-C; with a secret, refuses what it did not sign.

    Raises ConfigurationError for a malformed secret and for a port that cannot be had.
    """
    keys = webhook_signature.parse_webhook_keys(secret or "")
    console = Console(highlight=False)
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} of {host} cannot be listened on: {error.strerror}. Choose another one with --port."
        ) from None
    with listener:
        checked = "signatures are checked" if keys else "signatures are not checked; give --secret to check them"
        console.print(
            f"listening on http://{host}:{listener.getsockname()[1]}/, {checked}; Ctrl-C ends", soft_wrap=True
        )
        server = uvicorn.Server(
            uvicorn.Config(create_receiver_app(keys, console), log_level="warning", access_log=False)
        )
        # The server ends by itself on Ctrl-C, then passes the signal on.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def create_receiver_app(keys: tuple[Webhook, ...], console: Console) -> Starlette:
    """The receiver as an application: every path takes events."""

    async def receive(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("The event did not arrive in time.", 408)
        if body is None:
            return _refuse(console, 413, f"The event is larger than {MAX_BODY_BYTES:,} bytes.")
        if keys and not webhook_signature.verify(keys, request.headers, body):
            return _refuse(console, 401, "The signature is missing, too old, or not made with this secret.")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            return _refuse(console, 400, "The event is not JSON.")
        message = request.headers.get("webhook-id", "without webhook-id")
        _show(console, f"{_kind(event)}  {message}  {'verified' if keys else 'not verified'}")
        console.print(_printable(json.dumps(event, indent=2, ensure_ascii=False)), soft_wrap=True)
        return Response(status_code=204)

    return Starlette(routes=[Route("/{path:path}", receive, methods=["POST"])])


async def _body(request: Request) -> bytes | None:
    """What was sent; None when it is over the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _refuse(console: Console, status: int, reason: str) -> Response:
    _show(console, f"refused with {status}: {reason}")
    return PlainTextResponse(reason, status)


def _show(console: Console, line: str) -> None:
    console.print(_printable(f"{datetime.now().astimezone():%H:%M:%S}  {line}"), soft_wrap=True)


def _kind(event: object) -> str:
    return str(event.get("type", "event without type")) if isinstance(event, dict) else "event without type"


def _printable(text: str) -> Text:
    """What strangers sent, without what would steer the terminal."""
    return Text("".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text))
