"""WebSocket handshakes on real sockets, and buffers that must not grow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS
from gql_imgproc.web.server import WEBSOCKET_MESSAGE_BYTES, uvicorn_config
from gql_imgproc.web.websocket_limits import WebSocket
from tests.web.test_http_limits import App, anyio_backend, connected, parse_response, serving

__all__ = ["anyio_backend"]

GET = b"GET /socket HTTP/1.1\r\n"
HANDSHAKE = (
    b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /socket HTTP/1.1\r\n" + HANDSHAKE + b"Content-Length: 5\r\n\r\nhello",
        GET + HANDSHAKE + b"Content-Length: 5\r\n\r\nhello",
        GET + HANDSHAKE + b"Content-Length: 5\r\n\r\n",
        GET + HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + HANDSHAKE + b"X: y\r\n" * 200 + b"\r\n",
        GET + HANDSHAKE + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /socket?" + b"x" * 20_000 + b" HTTP/1.1\r\n" + HANDSHAKE + b"\r\n",
        GET + HANDSHAKE.replace(KEY, b"A") + b"\r\n",
        GET + HANDSHAKE.replace(b"13", b"7") + b"\r\n",
    ],
)
async def test_invalid_handshake_is_rejected(request_: bytes) -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        client.send(request_)
        status, headers, body = parse_response(await client.rest())

        assert status == 400
        assert {name.lower(): value.lower() for name, value in JSON_SECURITY_HEADERS.items()}.items() <= headers.items()
        assert headers["content-type"] == "application/json"
        # Neither the request nor an exception text.
        assert json.loads(body)["error"].startswith("Invalid WebSocket handshake: expected a GET ")
        assert app.started == []


class UnreadTransport(asyncio.Transport):
    """A transport to a client that does not read; it records the written bytes and a close."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@asynccontextmanager
async def open_websocket() -> AsyncIterator[tuple[WebSocket, UnreadTransport]]:
    """Opens a WebSocket after the handshake; yields it and the transport to its client."""
    app = App()
    config = uvicorn_config(app)
    config.load()
    client, socket = UnreadTransport(), WebSocket(config, ServerState(), {}, asyncio.get_running_loop())
    socket.connection_made(client)
    socket.data_received(GET + HANDSHAKE + b"\r\n")
    while b"101" not in client.written:  # noqa: ASYNC110 - a transport has no event
        await asyncio.sleep(0)
    client.written = b""
    yield socket, client
    socket.connection_lost(None)
    app.disconnected = 1
    app.resume.set()
    await asyncio.gather(*socket.tasks)


async def test_unread_pongs_do_not_accumulate() -> None:
    async with open_websocket() as (socket, client):
        # Given an open WebSocket,
        first, pong = Frame(Opcode.PING, b"0"), Frame(Opcode.PONG, b"0").serialize(mask=False)
        socket.data_received(first.serialize(mask=True))
        assert client.written == pong

        # when its client stops reading, but continues to send pings,
        socket.pause_writing()
        for number in range(1_000):
            socket.data_received(Frame(Opcode.PING, b"%d" % number).serialize(mask=True))
        assert client.written == pong

        # then it gets one pong for the newest ping when it reads again, and the next ping is answered at once.
        newest = Frame(Opcode.PONG, b"999").serialize(mask=False)
        socket.resume_writing()
        socket.pause_writing()
        socket.resume_writing()
        assert client.written == pong + newest
        socket.data_received(first.serialize(mask=True))
        assert client.written == pong + newest + pong
        assert not client.closed


async def test_empty_fragments_do_not_accumulate() -> None:
    async with open_websocket() as (socket, _):
        socket.data_received(Frame(Opcode.TEXT, b"[", fin=False).serialize(mask=True))
        socket.data_received(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * 1_000)
        assert socket.frames == [b"["]

        socket.data_received(Frame(Opcode.CONT, b"]").serialize(mask=True))
        socket.data_received(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True))
        socket.data_received(Frame(Opcode.CONT, b"").serialize(mask=True))

        events = [socket.queue.get_nowait() for _ in range(2)]
        assert events == [{"type": "websocket.receive", "text": text} for text in ("[]", "")]


async def test_reason_of_a_close_reaches_a_client_that_still_sends() -> None:
    async with open_websocket() as (socket, client):
        # Given a client that sends a message above the limit,
        size = WEBSOCKET_MESSAGE_BYTES + 1
        whole = Frame(Opcode.TEXT, b" " * size).serialize(mask=True)

        # when its first bytes arrive,
        socket.data_received(whole[:1_000])

        # then the close frame is sent, and the connection stays open while the client sends the rest.
        reason = f"frame with {size} bytes exceeds limit of {WEBSOCKET_MESSAGE_BYTES} bytes"
        assert client.written == Frame(Opcode.CLOSE, b"\x03\xf1" + reason.encode()).serialize(mask=False)
        socket.data_received(whole[1_000:])
        assert not client.closed
        assert socket.queue.get_nowait() == {"type": "websocket.disconnect", "code": 1009, "reason": reason}

        # It is closed when the client is silent, and at the latest when the time limit is reached.
        socket.close_timeout = 0
        socket.data_received(b"more")
        await asyncio.sleep(0.01)
        assert client.closed
