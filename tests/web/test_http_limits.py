"""HTTP timeouts and limits on real sockets."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from asyncio import BaseTransport
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send

from gql_imgproc.web.http_limits import (
    LEAST_BYTES_PER_SECOND,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    Deadline,
    Http,
)
from tests.graphql.client import serve_app

#: Time that a client has, in seconds.
WINDOW_S = 0.1


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Runs these tests on the event loop of the service."""
    return "asyncio", {"use_uvloop": True}


class CheckedTime:
    """An event loop whose time passes with the checks of a connection: a machine that stands still takes none of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self.now_s = loop, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self.now_s


class ShortTimeoutHttp(Http):
    """The real protocol with short timeouts."""

    head_seconds: ClassVar[float] = WINDOW_S
    body_seconds: ClassVar[float] = WINDOW_S
    answer_seconds: ClassVar[float] = WINDOW_S
    error_seconds: ClassVar[float] = 0.3
    check_seconds: ClassVar[float] = WINDOW_S / 10
    least_bytes_per_second: ClassVar[float] = 1_000 / WINDOW_S

    def connection_made(self, transport: BaseTransport) -> None:
        self.loop: Any = CheckedTime(self.loop)
        super().connection_made(transport)

    def _check(self) -> None:
        self.loop.now_s += self.check_seconds
        super()._check()


@dataclass
class App:
    """An application that behaves as the path says, and records what happens."""

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    disconnected: int = 0
    resume: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        self.started.append(scope["path"])
        try:
            await getattr(self, scope["path"].strip("/"))(receive, send)
        finally:
            self.finished.append(scope["path"])

    async def short(self, receive: Receive, send: Send) -> None:
        await respond(send, b"short")

    async def reading(self, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(body)
                await respond(send, b"read")
                return

    async def late_reading(self, receive: Receive, send: Send) -> None:
        await self.resume.wait()
        await self.reading(receive, send)

    async def whole(self, receive: Receive, send: Send) -> None:
        await respond(send, b"x" * 16_000_000)

    async def endless(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.disconnected:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            # Starlette too ends a response when the client disconnects.
            try:
                message = await asyncio.wait_for(receive(), 0.001)
            except TimeoutError:
                continue
            self.disconnected += message["type"] == "http.disconnect"

    async def silent(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.resume.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async def socket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.resume.wait()
        while not self.disconnected:
            try:
                await send({"type": "websocket.send", "bytes": b"x" * 100_000})
            except OSError:
                self.disconnected += 1


async def respond(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drip(self, data: bytes, seconds: float) -> bytes:
        """Sends one byte at a time until the server closes the connection; returns its response."""
        response = asyncio.create_task(self.rest())
        for byte in data:
            if response.done() or self.writer.transport.is_closing():
                break
            self.writer.write(bytes([byte]))
            await asyncio.sleep(seconds)
        return await response

    async def rest(self) -> bytes:
        """Returns all bytes until the connection is closed."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def head(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def connected(host_port: str) -> AsyncIterator[Client]:
    host, _, port = host_port.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(http: type[Http] = ShortTimeoutHttp) -> AsyncIterator[tuple[App, str]]:
    """Serves an application; yields it and `HOST:PORT`."""
    app = App()
    async with serve_app(app, http) as host_port, asyncio.timeout(20):
        yield app, host_port


def closed_connections(reason: str) -> float:
    return REGISTRY.get_sample_value("imgproc_http_connections_closed_total", {"reason": reason}) or 0


def parse_response(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


GET = b"GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_deadline_is_extended_only_by_enough_bytes() -> None:
    deadline = Deadline(10, 100, start=0)

    assert not deadline.is_over(9.9, 99)
    assert deadline.is_over(10, 99)
    assert not deadline.is_over(10, 100)
    # Fast progress gives no credit for later.
    assert not deadline.is_over(11, 1_000_000)
    assert not deadline.is_over(20.9, 1_000_099)
    assert deadline.is_over(21, 1_000_099)
    assert not deadline.is_over(22, 1_000_099, is_idle=True)
    assert deadline.is_over(32, 1_000_198)


def test_largest_upload_succeeds_over_a_mobile_connection() -> None:
    # Given 20 MiB over 256 kbit/s, checked every second,
    rate, size, seconds = 256_000 // 8, 20 * 1024 * 1024, Http.body_seconds
    deadline = Deadline(seconds, seconds * LEAST_BYTES_PER_SECOND, start=0)

    # when it takes its eleven minutes, then it is never too slow.
    assert not any(deadline.is_over(second, rate * second) for second in range(size // rate))


async def test_pipelined_requests_are_answered_in_order_up_to_a_limit() -> None:
    async with serving() as (app, host_port):
        before = closed_connections("too_many_pipelined")
        async with connected(host_port) as client:
            # Given the maximum number of pipelined requests, and one that is being answered,
            client.send(GET * (MAX_PIPELINED + 1))

            # then all of them are answered,
            for _ in range(MAX_PIPELINED + 1):
                await client.head()
                assert await client.reader.readexactly(5) == b"short"
            assert (len(app.started), closed_connections("too_many_pipelined")) == (MAX_PIPELINED + 1, before)

        # and a connection with many more is closed.
        async with connected(host_port) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * 10_000)
            with suppress(ConnectionResetError):
                await client.rest()
            await until(lambda: closed_connections("too_many_pipelined") == before + 1)
            assert len(app.started) <= MAX_PIPELINED + 2
            app.resume.set()


async def test_silent_connections_are_closed_without_a_response() -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_header")
        async with connected(host_port) as one, connected(host_port) as other, connected(host_port) as third:
            responses = await asyncio.gather(one.rest(), other.rest(), third.rest())

        assert responses == [b""] * 3
        assert closed_connections("slow_header") == before + 3
        assert app.started == []


@pytest.mark.parametrize("beginning", [b"", GET])
@pytest.mark.parametrize("dripped", [b"GET /short HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100, b"\r\n" * 100])
async def test_slow_request_head_is_rejected(beginning: bytes, dripped: bytes) -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_header")
        async with connected(host_port) as client:
            # Given a connection, new or after one response,
            client.send(beginning)
            if beginning:
                assert parse_response(await client.head())[0] == 200
                assert await client.reader.readexactly(5) == b"short"

            # when a head arrives byte by byte,
            response = await client.drip(dripped, WINDOW_S / 10)

            # then the connection is closed.
            assert parse_response(response)[0] == 408
            assert closed_connections("slow_header") == before + 1
            assert len(app.started) == (1 if beginning else 0)


@pytest.mark.parametrize("headers", [["Content-Length: 1000"], ["Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("path", ["/reading", "/late_reading"])
async def test_slow_body_is_rejected_and_the_application_is_notified(path: str, headers: list[str]) -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_body")
        async with connected(host_port) as client:
            client.send(post(path, *headers))
            status, response_headers, body = parse_response(await client.drip(b"1\r\nx\r\n" * 20, WINDOW_S / 5))

        app.resume.set()
        await until(lambda: app.disconnected > 0)
        assert (status, response_headers["connection"]) == (408, "close")
        assert json.loads(body) == {"error": "The request body arrived too slowly. Send it again."}
        assert closed_connections("slow_body") == before + 1
        assert (app.disconnected, app.bodies, app.finished) == (1, [], [path])


async def test_slow_but_steady_body_is_accepted() -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        # Given twenty times the bytes that are needed, for five times the time that a client has,
        client.send(post("/reading", "Content-Length: 100000"))
        for _ in range(20):
            client.send(b"x" * 5_000)
            await asyncio.sleep(WINDOW_S / 4)

        assert parse_response(await client.head())[0] == 200
        assert app.bodies == [b"x" * 100_000]


async def test_slow_application_does_not_time_out_its_client() -> None:
    async with serving() as (app, host_port):
        body = b"x" * 2_000_000
        async with connected(host_port) as client:
            client.send(post("/late_reading", f"Content-Length: {len(body)}") + body)
            await asyncio.sleep(3 * WINDOW_S)
            app.resume.set()

            assert parse_response(await client.head())[0] == 200
            assert app.bodies == [body]


async def test_body_after_an_early_response_has_a_deadline() -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        # Given a request that was answered before its body,
        before = closed_connections("slow_body")
        client.send(post("/short", "Content-Length: 1000000000"))
        assert parse_response(await client.head())[0] == 200

        # when its body continues at full speed,
        assert await client.reader.readexactly(5) == b"short"
        async with asyncio.timeout(5):
            while not client.writer.transport.is_closing():
                client.send(b"x" * 10_000)
                await asyncio.sleep(0.01)

        # then the connection is closed.
        assert closed_connections("slow_body") == before + 1
        assert app.started == ["/short"]


@pytest.mark.parametrize("path", ["/endless", "/whole"])
async def test_client_that_does_not_read_is_disconnected(path: str) -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_reader")
        async with connected(host_port) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: closed_connections("slow_reader") > before and bool(app.finished))

            assert closed_connections("slow_reader") == before + 1
            assert (app.started, app.finished) == ([path], [path])


async def test_client_that_reads_too_slowly_is_disconnected() -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_reader")
        async with connected(host_port) as client:
            # Given a client with a response that does not fit into the buffers of the kernel,
            client.send(b"GET /whole HTTP/1.1\r\nHost: localhost\r\n\r\n")

            # when it reads a few bytes at a time,
            got = 0
            while closed_connections("slow_reader") == before:
                got += len(await client.reader.read(100))
                await asyncio.sleep(WINDOW_S / 20)

        # then it is disconnected before it has the response.
        assert closed_connections("slow_reader") == before + 1
        assert 0 < got < 16_000_000
        await until(lambda: app.finished == ["/whole"])


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * MAX_PIPELINED,
        post("/late_reading", "Content-Length: 20000000") + b"x" * 5_000_000,
        b"GET /short HTTP/1.1\r\nHost: localhost\r\n" + b"X:\r\n" * 1_900,
    ],
    ids=["answer", "body", "head"],
)
async def test_memory_of_stalled_connections_is_limited(sent: bytes) -> None:
    connections: list[Http] = []

    class RecordedHttp(Http):
        def connection_made(self, transport: BaseTransport) -> None:
            super().connection_made(transport)
            connections.append(self)

    def is_stalled(http: Http) -> bool:
        return http.flow.write_paused or http.flow.read_paused or http._head_bytes > 60_000

    async with serving(RecordedHttp) as (app, host_port), AsyncExitStack() as clients:
        tracemalloc.start()
        try:
            # When many clients send what they can, and read nothing,
            for _ in range(20):
                (await clients.enter_async_context(connected(host_port))).send(sent)
            await until(lambda: len(connections) == 20 and all(map(is_stalled, connections)))

            # then no connection holds more than half a mebibyte.
            assert tracemalloc.get_traced_memory()[0] < 20 * 512 * 1024
        finally:
            tracemalloc.stop()
            app.resume.set()
            app.disconnected += 1


async def test_memory_of_pipelined_bodies_is_limited() -> None:
    waiting_bytes: list[int] = []

    class RecordedHttp(ShortTimeoutHttp):
        def on_response_complete(self) -> None:
            waiting_bytes.append(sum(len(cycle.body) for cycle, _ in self.pipeline))
            super().on_response_complete()

    async with serving(RecordedHttp) as (app, host_port), connected(host_port) as client:
        # When a client sends bodies before it has the responses to earlier requests,
        request = post("/short", "Content-Length: 250000") + b"x" * 250_000
        client.send(GET * MAX_PIPELINED + request * 40)
        for _ in range(MAX_PIPELINED + 40):
            await client.head()
            assert await client.reader.readexactly(5) == b"short"

        # then few of them wait.
        assert max(waiting_bytes) < 4_000_000
        assert len(app.started) == MAX_PIPELINED + 40


async def test_malformed_pipelined_body_does_not_disturb_the_response() -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        # Given a response that is being sent, to an application that waits for a disconnect,
        client.send(
            b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n" + post("/reading", "Transfer-Encoding: chunked")
        )
        await client.head()

        # when the next request is malformed, then no error is sent as a part of the response.
        client.send(b"zz\r\n")
        with suppress(ConnectionResetError):
            assert b"HTTP/1.1" not in await client.rest()
        assert app.started == ["/endless"]


async def test_slow_reader_gets_the_whole_response() -> None:
    async with serving() as (_, host_port), connected(host_port) as client:
        client.send(b"GET /whole HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.head()
        got, pieces = 0, 0
        while got < 16_000_000:
            got += len(await client.reader.readexactly(800_000))
            pieces += 1
            await asyncio.sleep(WINDOW_S / 4)

        assert (got, pieces) == (16_000_000, 20)


async def test_silent_event_stream_stays_open() -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.head()
        await asyncio.sleep(5 * WINDOW_S)
        app.resume.set()

        assert await client.reader.readuntil(b"0\r\n\r\n") == b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n"


SOCKET = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_silent_websocket_stays_open_and_one_that_does_not_read_is_closed() -> None:
    async with serving() as (app, host_port):
        before = closed_connections("slow_reader")
        async with connected(host_port) as client:
            # Given an idle WebSocket,
            client.send(SOCKET)
            status, headers, _ = parse_response(await client.head())
            assert status == 101
            assert "server" not in headers
            await asyncio.sleep(5 * WINDOW_S)
            assert (app.finished, client.reader.at_eof()) == ([], False)

            # when the server sends more than the client reads,
            app.resume.set()
            await until(lambda: bool(app.finished))

            # then it is closed, and the application is notified.
            assert closed_connections("slow_reader") == before + 1
            assert app.disconnected == 1


async def test_slow_websocket_handshake_is_rejected() -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        assert parse_response(await client.drip(SOCKET, WINDOW_S / 10))[0] == 408
        assert app.started == []


LINE = b"GET /short HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /short?" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /short?" + b"x" * 10_000_000, 414),
        (LINE + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (LINE + b"X: " + b"x" * 10_000_000, 431),
        (LINE + b"x" * 10_000_000, 431),
        (LINE + b"X: y\r\n" * 2_000 + b"\r\n", 431),
        (LINE + b"X:\r\n" * 1_000_000, 431),
    ],
)
async def test_request_head_size_is_limited(request_: bytes, status: int) -> None:
    async with serving() as (app, host_port):
        before = closed_connections("header_too_large")
        async with connected(host_port) as client:
            client.send(request_)
            got, headers, body = parse_response(await client.rest())

        assert (got, headers["connection"], headers["x-content-type-options"]) == (status, "close", "nosniff")
        assert f"{MAX_HEAD_BYTES:,} bytes" in json.loads(body)["error"]
        assert closed_connections("header_too_large") == before + 1
        assert app.started == []


async def test_ordinary_head_is_accepted_in_any_pieces() -> None:
    async with serving(Http) as (app, host_port):
        request = b"GET /short?" + b"q" * 30_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n"
        async with connected(host_port) as client:
            for piece in (request, request[:7], request[7:20_000], request[20_000:]):
                client.send(piece)
                await asyncio.sleep(0.02)
            for _ in range(2):
                assert parse_response(await client.head())[0] == 200
                assert await client.reader.readexactly(5) == b"short"

        assert app.started == ["/short", "/short"]


@pytest.mark.parametrize(
    "trailer", [b"X: y\r\n" * 1_000_000, b"X: " + b"y" * 10_000_000, b"y" * 10_000_000], ids=["fields", "value", "name"]
)
async def test_trailer_size_is_limited(trailer: bytes) -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        client.send(post("/reading", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n" + trailer)

        assert parse_response(await client.rest())[0] == 431
        assert (app.disconnected, app.bodies) == (1, [])


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /sh\xffort HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /short HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /short HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /short HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        post("/reading", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        post("/reading", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n",
        post("/reading", "Content-Length: 3", "Content-Length: 4") + b"xxxx",
        post("/reading", "Content-Length: 3, 3") + b"xxx",
        post("/reading", "Content-Length: +3") + b"xxx",
        post("/reading", "Content-Length: -1"),
        post("/reading", "Content-Length: 99999999999999999999999"),
        post("/reading", "Transfer-Encoding: identity, chunked, gzip") + b"xxx",
        post("/reading", "Transfer-Encoding : chunked") + b"0\r\n\r\n",
    ],
)
async def test_ambiguous_requests_are_rejected(request_: bytes) -> None:
    async with serving() as (app, host_port):
        before = closed_connections("malformed")
        async with connected(host_port) as client:
            client.send(request_)
            status, headers, body = parse_response(await client.rest())

        assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "deny"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in headers
        assert json.loads(body) == {"error": "Malformed HTTP/1.1 request."}
        assert closed_connections("malformed") == before + 1
        assert app.started == []


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"1\r\nxx\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"])
async def test_malformed_chunk_aborts_the_request(chunk: bytes) -> None:
    async with serving() as (app, host_port), connected(host_port) as client:
        client.send(post("/reading", "Transfer-Encoding: chunked") + chunk)

        assert parse_response(await client.rest())[0] == 400
        assert (app.disconnected, app.bodies) == (1, [])


async def test_malformed_pipelined_request_does_not_disturb_the_response() -> None:
    async with serving() as (app, host_port):
        async with connected(host_port) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert parse_response(await client.head())[0] == 200
            client.send(b"nonsense\r\n\r\n")

            assert (await client.rest()) in (b"", b"5\r\nfirst\r\n")
        app.resume.set()


async def test_connections_over_the_limit_get_503() -> None:
    class LimitedHttp(ShortTimeoutHttp):
        max_connections: ClassVar[int] = 2

    async with serving(LimitedHttp) as (app, host_port):
        before = closed_connections("limit")
        async with connected(host_port) as one, connected(host_port) as other:
            for client in (one, other):
                client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await client.head()
            async with connected(host_port) as third:
                assert parse_response(await third.rest())[0] == 503
            assert closed_connections("limit") == before + 1
        app.resume.set()
        await until(lambda: len(app.finished) == 2)
        async with connected(host_port) as later:
            later.send(GET)
            assert parse_response(await later.head())[0] == 200


def test_default_timeouts() -> None:
    assert (Http.head_seconds, Http.body_seconds, Http.answer_seconds, Http.error_seconds) == (10, 30, 60, 2)
    assert (Http.check_seconds, Http.least_bytes_per_second) == (5, 4_096)
