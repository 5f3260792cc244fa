"""A local webhook receiver that verifies the signature of each event and prints it."""

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

#: Maximum size of an event, in bytes. This service's events are a thousand times smaller.
MAX_BODY_BYTES = 1024 * 1024
#: Deadline to receive an event, in seconds.
BODY_TIMEOUT_S = 15
_HOST = "127.0.0.1"


def listen(port: int, secret: str | None) -> None:
    """Receives events on a port (0: any free one) until Ctrl-C; with a secret, rejects events not signed with it.

    Raises ConfigurationError for a malformed secret and for an unusable port.
    """
    keys = webhook_signature.parse_webhook_keys(secret or "")
    console = Console(highlight=False)
    try:
        listener = socket.create_server((_HOST, port))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {_HOST} port {port}: {error.strerror}. Choose another port with --port"
        ) from None
    with listener:
        note = "verifying signatures" if keys else "not verifying signatures; set IMGPROC_WEBHOOK_SECRET to verify them"
        console.print(
            f"listening on http://{_HOST}:{listener.getsockname()[1]}/, {note}; press Ctrl-C to stop", soft_wrap=True
        )
        server = uvicorn.Server(
            uvicorn.Config(create_receiver_app(keys, console), log_level="warning", access_log=False)
        )
        # On Ctrl-C the server stops, then raises the signal again.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def create_receiver_app(keys: tuple[Webhook, ...], console: Console) -> Starlette:
    """Creates the receiver application, which accepts events on every path."""

    async def receive(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read_body(request)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("The event did not arrive in time.", 408)
        if body is None:
            return _reject(console, 413, f"The event is larger than {MAX_BODY_BYTES:,} bytes.")
        if keys and not webhook_signature.verify(keys, request.headers, body):
            return _reject(console, 401, "The signature is missing, expired, or made with another secret.")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            return _reject(console, 400, "The event is not JSON.")
        message_id = request.headers.get("webhook-id", "no webhook-id")
        kind = event.get("type") if isinstance(event, dict) else None
        _print(console, f"{kind or 'event without type'}  {message_id}  {'verified' if keys else 'not verified'}")
        console.print(_to_printable(json.dumps(event, indent=2, ensure_ascii=False)), soft_wrap=True)
        return Response(status_code=204)

    return Starlette(routes=[Route("/{path:path}", receive, methods=["POST"])])


async def _read_body(request: Request) -> bytes | None:
    """Reads the body; returns None when it exceeds the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _reject(console: Console, status: int, reason: str) -> Response:
    _print(console, f"rejected with status {status}: {reason}")
    return PlainTextResponse(reason, status)


def _print(console: Console, line: str) -> None:
    console.print(_to_printable(f"{datetime.now().astimezone():%H:%M:%S}  {line}"), soft_wrap=True)


def _to_printable(text: str) -> Text:
    """Replaces control characters: untrusted text must not send escape sequences to the terminal."""
    return Text("".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text))
