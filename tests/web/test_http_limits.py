"""Connections on real sockets: what is waited for, for how long, and what is no HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import uvloop
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send

from gql_imgproc.web.http_limits import (
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    Http,
    HttpTimeouts,
    MinThroughput,
    ThroughputWindow,
)
from tests.graphql.client import listening

#: Short, yet longer than a busy machine makes an event loop wait.
SPAN = 0.3


class Hasty(Http):
    """The real protocol, with little patience."""

    patience: ClassVar[HttpTimeouts] = HttpTimeouts(
        head=MinThroughput.deadline(SPAN),
        body=MinThroughput(SPAN, 10),
        rest=MinThroughput.deadline(SPAN),
        answer=MinThroughput(SPAN, 1_000),
        farewell=MinThroughput.deadline(SPAN),
        look_seconds=SPAN / 10,
    )


@dataclass
class App:
    """An application that does what the path says, and notes what it saw."""

    began: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    disconnected: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        self.began.append(scope["path"])
        try:
            await getattr(self, scope["path"].strip("/"))(receive, send)
        finally:
            self.ended.append(scope["path"])

    async def short(self, receive: Receive, send: Send) -> None:
        await answer(send, b"short")

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
                await answer(send, b"read")
                return

    async def late_reading(self, receive: Receive, send: Send) -> None:
        await self.go_on.wait()
        await self.reading(receive, send)

    async def whole(self, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 16_000_000)

    async def endless(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.disconnected:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            # As Starlette does, which ends an answer when its client has left.
            try:
                message = await asyncio.wait_for(receive(), 0.001)
            except TimeoutError:
                continue
            self.disconnected += message["type"] == "http.disconnect"

    async def silent(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async def socket(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.go_on.wait()
        while not self.disconnected:
            try:
                await send({"type": "websocket.send", "bytes": b"x" * 100_000})
            except OSError:
                self.disconnected += 1


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drip(self, data: bytes, seconds: float) -> bytes:
        """Sends a byte now and then until the other side closes; what it said."""
        said = asyncio.create_task(self.rest())
        for byte in data:
            if said.done() or self.writer.transport.is_closing():
                break
            self.writer.write(bytes([byte]))
            await asyncio.sleep(seconds)
        return await said

    async def rest(self) -> bytes:
        """All that comes until the connection is closed."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def head(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - a counter tells nobody that it has changed
            await asyncio.sleep(0.01)


Story = Callable[[App, str], Awaitable[None]]


def run(story: Story, http: type[Http] = Hasty) -> None:
    """Plays a story against an application on the event loop that the service uses."""

    async def play() -> None:
        app = App()
        async with listening(app, http) as address, asyncio.timeout(20):
            await story(app, address)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def cut(reason: str) -> float:
    return REGISTRY.get_sample_value("imgproc_http_connections_closed_total", {"reason": reason}) or 0


def parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def post(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


GET = b"GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_span_ends_late_only_when_too_little_moved_in_it() -> None:
    span = ThroughputWindow(MinThroughput(10, 100), now=0, moved=0)

    assert not span.is_too_slow(9.9, 0)
    assert not span.is_too_slow(10, 100)
    # Whoever was fast has no credit for later.
    assert not span.is_too_slow(19.9, 1_000_000)
    assert not span.is_too_slow(20, 1_000_000)
    assert span.is_too_slow(30, 1_000_099)
    assert ThroughputWindow(MinThroughput.deadline(10), now=0, moved=0).is_too_slow(10, 1_000_000)


def test_an_upload_of_the_largest_size_fits_through_a_mobile_line() -> None:
    # Given 20 MiB over 256 kbit/s, seen every second,
    rate, size = 256_000 // 8, 20 * 1024 * 1024
    span = ThroughputWindow(HttpTimeouts().body, now=0, moved=0)

    # when it takes its eleven minutes, then it is never too slow.
    assert not any(span.is_too_slow(second, rate * second) for second in range(size // rate))


def test_requests_that_wait_for_earlier_answers_are_answered_in_turn_up_to_a_number() -> None:
    async def story(app: App, address: str) -> None:
        before = cut("too_many_pipelined")
        async with connected(address) as client:
            # Given as many requests at once as may wait, beside the one that is answered,
            client.send(GET * (MAX_PIPELINED + 1))

            # then all are answered,
            for _ in range(MAX_PIPELINED + 1):
                await client.head()
                assert await client.reader.readexactly(5) == b"short"
            assert (len(app.began), cut("too_many_pipelined")) == (MAX_PIPELINED + 1, before)

        # and of many more the connection ends at once.
        async with connected(address) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET * 10_000)
            with suppress(ConnectionResetError):
                await client.rest()
            await until(lambda: cut("too_many_pipelined") == before + 1)
            assert len(app.began) <= MAX_PIPELINED + 2
            app.go_on.set()

    run(story)


def test_nothing_is_read_while_requests_wait() -> None:
    async def story(app: App, address: str) -> None:
        paused: list[bool] = []

        class Watched(Hasty):
            def on_response_complete(self) -> None:
                super().on_response_complete()
                paused.append(self.flow.read_paused)

        async with listening(app, Watched) as other, connected(other) as client:
            # When requests wait for the answer to an earlier one,
            client.send(GET * 3)
            for _ in range(3):
                await client.head()

            # Then the last of them, which nobody waits behind, is the first beside which more is read.
            assert paused == [True, False, False]

    run(story)


def test_silent_connections_are_closed_without_a_word() -> None:
    async def story(app: App, address: str) -> None:
        before = cut("slow_header")
        async with connected(address) as one, connected(address) as other, connected(address) as third:
            said = await asyncio.gather(one.rest(), other.rest(), third.rest())

        assert said == [b""] * 3
        assert cut("slow_header") == before + 3
        assert app.began == []

    run(story)


@pytest.mark.parametrize("beginning", [b"", GET])
@pytest.mark.parametrize("dripped", [b"GET /short HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100, b"\r\n" * 100])
def test_a_dripping_head_is_closed(beginning: bytes, dripped: bytes) -> None:
    async def story(app: App, address: str) -> None:
        before = cut("slow_header")
        async with connected(address) as client:
            # Given a connection, fresh or one that had an answer,
            client.send(beginning)
            if beginning:
                assert parts(await client.head())[0] == 200
                assert await client.reader.readexactly(5) == b"short"

            # when a head comes byte by byte,
            said = await client.drip(dripped, SPAN / 10)

            # then there is an end.
            assert parts(said)[0] == 408
            assert cut("slow_header") == before + 1
            assert len(app.began) == (1 if beginning else 0)

    run(story)


@pytest.mark.parametrize("headers", [["Content-Length: 1000"], ["Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("path", ["/reading", "/late_reading"])
def test_a_dripping_body_is_closed_and_the_application_hears_it(path: str, headers: list[str]) -> None:
    async def story(app: App, address: str) -> None:
        before = cut("slow_body")
        async with connected(address) as client:
            client.send(post(path, *headers))
            status, told, body = parts(await client.drip(b"1\r\nx\r\n" * 20, SPAN / 5))

        app.go_on.set()
        await until(lambda: app.disconnected > 0)
        assert (status, told["connection"]) == (408, "close")
        assert json.loads(body) == {"error": "The body of the request came too slowly. Send it again."}
        assert cut("slow_body") == before + 1
        assert (app.disconnected, app.bodies, app.ended) == (1, [], [path])

    run(story)


def test_a_slow_body_at_a_steady_pace_arrives() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            # Given twenty times the bytes that a span needs, for five spans,
            client.send(post("/reading", "Content-Length: 1000"))
            for _ in range(20):
                client.send(b"x" * 50)
                await asyncio.sleep(SPAN / 4)

            assert parts(await client.head())[0] == 200
            assert app.bodies == [b"x" * 1_000]

    run(story)


def test_a_client_is_not_blamed_for_an_application_that_does_not_read() -> None:
    async def story(app: App, address: str) -> None:
        body = b"x" * 2_000_000
        async with connected(address) as client:
            client.send(post("/late_reading", f"Content-Length: {len(body)}") + body)
            await asyncio.sleep(3 * SPAN)
            app.go_on.set()

            assert parts(await client.head())[0] == 200
            assert app.bodies == [body]

    run(story)


def test_a_body_that_goes_on_after_its_answer_is_not_listened_to_for_ever() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            # Given a request that was answered at once,
            before = cut("slow_body")
            client.send(post("/short", "Content-Length: 1000000000"))
            assert parts(await client.head())[0] == 200

            # when its body goes on, as fast as it may,
            assert await client.reader.readexactly(5) == b"short"
            async with asyncio.timeout(5):
                while not client.writer.transport.is_closing():
                    client.send(b"x" * 10_000)
                    await asyncio.sleep(0.01)

            # then it is cut.
            assert cut("slow_body") == before + 1
            assert app.began == ["/short"]

    run(story)


@pytest.mark.parametrize("path", ["/endless", "/whole"])
def test_whoever_does_not_read_is_closed(path: str) -> None:
    async def story(app: App, address: str) -> None:
        before = cut("slow_reader")
        async with connected(address) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await until(lambda: cut("slow_reader") > before and bool(app.ended))

            assert cut("slow_reader") == before + 1
            assert (app.began, app.ended) == ([path], [path])

    run(story)


def test_a_slow_reader_gets_everything() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(b"GET /whole HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.head()
            got, pieces = 0, 0
            while got < 16_000_000:
                got += len(await client.reader.readexactly(800_000))
                pieces += 1
                await asyncio.sleep(SPAN / 4)

            assert (got, pieces) == (16_000_000, 20)

    run(story)


def test_a_stream_that_has_nothing_to_say_stays() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.head()
            await asyncio.sleep(5 * SPAN)
            app.go_on.set()

            assert await client.reader.readuntil(b"0\r\n\r\n") == b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n"

    run(story)


SOCKET = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_silent_socket_stays_and_one_that_does_not_read_is_closed() -> None:
    async def story(app: App, address: str) -> None:
        before = cut("slow_reader")
        async with connected(address) as client:
            # Given a socket on which nothing happens,
            client.send(SOCKET)
            status, headers, _ = parts(await client.head())
            assert status == 101
            assert "server" not in headers
            await asyncio.sleep(5 * SPAN)
            assert (app.ended, client.reader.at_eof()) == ([], False)

            # when more is sent to it than it reads,
            app.go_on.set()
            await until(lambda: bool(app.ended))

            # then it is closed, and the application has heard so.
            assert cut("slow_reader") == before + 1
            assert app.disconnected == 1

    run(story)


def test_a_handshake_that_drips_is_closed() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            assert parts(await client.drip(SOCKET, SPAN / 10))[0] == 408
            assert app.began == []

    run(story)


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
def test_a_head_has_a_largest_size(request_: bytes, status: int) -> None:
    async def story(app: App, address: str) -> None:
        before = cut("header_too_large")
        async with connected(address) as client:
            client.send(request_)
            got, headers, body = parts(await client.rest())

        assert (got, headers["connection"], headers["x-content-type-options"]) == (status, "close", "nosniff")
        assert f"{MAX_HEAD_BYTES:,} bytes" in json.loads(body)["error"]
        assert cut("header_too_large") == before + 1
        assert app.began == []

    run(story)


def test_a_head_of_ordinary_size_passes_in_any_pieces() -> None:
    async def story(app: App, address: str) -> None:
        request = b"GET /short?" + b"q" * 30_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n"
        async with connected(address) as client:
            for piece in (request, request[:7], request[7:20_000], request[20_000:]):
                client.send(piece)
                await asyncio.sleep(0.02)
            for _ in range(2):
                assert parts(await client.head())[0] == 200
                assert await client.reader.readexactly(5) == b"short"

        assert app.began == ["/short", "/short"]

    run(story, Http)


@pytest.mark.parametrize(
    "behind", [b"X: y\r\n" * 1_000_000, b"X: " + b"y" * 10_000_000, b"y" * 10_000_000], ids=["fields", "value", "name"]
)
def test_fields_behind_a_body_have_a_largest_size_too(behind: bytes) -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(post("/reading", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n" + behind)

            assert parts(await client.rest())[0] == 431
            assert (app.disconnected, app.bodies) == (1, [])

    run(story)


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
def test_what_two_servers_could_read_in_two_ways_is_refused(request_: bytes) -> None:
    async def story(app: App, address: str) -> None:
        before = cut("malformed")
        async with connected(address) as client:
            client.send(request_)
            status, headers, body = parts(await client.rest())

        assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "deny"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in headers
        assert json.loads(body) == {"error": "This is not HTTP/1.1, or not as it must be."}
        assert cut("malformed") == before + 1
        assert app.began == []

    run(story)


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"1\r\nxx\r\n", b"-1\r\n", b"fffffffffffffffff\r\n"])
def test_a_broken_chunk_ends_the_request(chunk: bytes) -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(post("/reading", "Transfer-Encoding: chunked") + chunk)

            assert parts(await client.rest())[0] == 400
            assert (app.disconnected, app.bodies) == (1, [])

    run(story)


def test_nonsense_behind_a_request_is_not_answered_in_its_place() -> None:
    async def story(app: App, address: str) -> None:
        async with connected(address) as client:
            client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert parts(await client.head())[0] == 200
            client.send(b"nonsense\r\n\r\n")

            assert (await client.rest()) in (b"", b"5\r\nfirst\r\n")
        app.go_on.set()

    run(story)


def test_connections_beyond_the_bound_are_told_so() -> None:
    class Narrow(Hasty):
        max_connections: ClassVar[int] = 2

    async def story(app: App, address: str) -> None:
        before = cut("limit")
        async with connected(address) as one, connected(address) as other:
            for client in (one, other):
                client.send(b"GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await client.head()
            async with connected(address) as third:
                assert parts(await third.rest())[0] == 503
            assert cut("limit") == before + 1
        app.go_on.set()
        await until(lambda: len(app.ended) == 2)
        async with connected(address) as later:
            later.send(GET)
            assert parts(await later.head())[0] == 200

    run(story, Narrow)


def test_what_is_waited_for_in_earnest() -> None:
    waited = Http.patience

    assert (waited.head.seconds, waited.rest.seconds, waited.farewell.seconds) == (10, 30, 2)
    assert (waited.body.seconds, waited.body.least_bytes) == (30, 30 * 4_096)
    assert (waited.answer.seconds, waited.answer.least_bytes) == (60, 60 * 4_096)
