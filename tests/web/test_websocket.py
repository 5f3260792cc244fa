"""WebSockets on the wire: handshakes that are none, and pings whose pongs nobody reads."""

from __future__ import annotations

import asyncio
import json

import pytest
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from gql_imgproc.web.headers import BARE
from gql_imgproc.web.server import configuration
from gql_imgproc.web.websocket import WebSocket
from tests.web.test_protocol import App, connected, parts, run

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
def test_what_is_no_handshake_is_answered_and_closed(request_: bytes) -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(request_)
            status, headers, body = parts(await client.rest())

            assert status == 400
            assert {name.lower(): value.lower() for name, value in BARE.items()}.items() <= headers.items()
            assert headers["content-type"] == "application/json"
            # Nothing of what was sent, and no exception's text.
            assert json.loads(body)["error"].startswith("This is no WebSocket handshake as RFC 6455 has it: ")
            assert app.began == []

    run(story)


class Unread(asyncio.Transport):
    """The way to a client; what was written to it, and whether it was closed."""

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


def test_pongs_that_nobody_reads_do_not_pile_up() -> None:
    async def play() -> None:
        # Given an open socket,
        app = App()
        config = configuration(app)
        config.load()
        client, socket = Unread(), WebSocket(config, ServerState(), {}, asyncio.get_running_loop())
        socket.connection_made(client)
        socket.data_received(GET + HANDSHAKE + b"\r\n")
        while b"101" not in client.written:  # noqa: ASYNC110 - a transport tells nobody
            await asyncio.sleep(0)
        ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
        pong = Frame(Opcode.PONG, b"x" * 125).serialize(mask=False)
        client.written = b""
        socket.data_received(ping)
        assert client.written == pong

        # when it reads nothing more, yet goes on to send pings,
        client.written = b""
        socket.pause_writing()
        for _ in range(1_000):
            socket.data_received(ping)

        # then none waits for it, and when it reads again the next one is answered.
        assert client.written == b""
        socket.resume_writing()
        socket.data_received(ping)
        assert client.written == pong
        assert not client.closed
        socket.connection_lost(None)
        app.disconnected = 1
        app.go_on.set()
        await asyncio.gather(*socket.tasks)

    asyncio.run(play())
