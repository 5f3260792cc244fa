from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from gql_imgproc import __version__
from gql_imgproc.core.netguard import NetworkPolicy
from gql_imgproc.errors import ImageErrorCode, ImageFailure
from gql_imgproc.io import fetcher as fetcher_module
from gql_imgproc.io.fetcher import Fetcher, FetchLimits, retry_after_s

LOOPBACK = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_ports="*")
CLOSED = NetworkPolicy(allow_ports="*")
LIMITS = FetchLimits(
    max_bytes=100_000, connect_s=2.0, first_byte_s=2.0, total_s=5.0, concurrency=8, per_host=8, slot_wait_s=5.0
)
PICTURE = bytes(range(256)) * 300

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request, and the raw bytes of its answer."""

    def __init__(self, host: Host, head: str, writer: asyncio.StreamWriter) -> None:
        self.host = host
        self.head = head
        self.writer = writer
        self.path = head.split(" ")[1]

    async def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def answer(self, body: bytes = PICTURE, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n", body)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


class Host:
    """A server that does as the script says, to the byte, and counts."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.open = 0
        self.requests: list[Exchange] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, path: str = "/a.jpg", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                exchange = Exchange(self, head, writer)
                self.requests.append(exchange)
                await self.script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(
    script: Script, host: str | Sequence[str] = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    server_side = Host(script)
    server = await asyncio.start_server(server_side.accept, host, 0, ssl=tls)
    server_side.port = server.sockets[0].getsockname()[1]
    try:
        yield server_side
    finally:
        server.close()
        server_side.hang_up()
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def fetching(
    policy: NetworkPolicy = LOOPBACK, limits: FetchLimits = LIMITS, **options: object
) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(policy, limits, **options)  # type: ignore[arg-type]
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def failure_of(fetcher: Fetcher, url: str) -> ImageFailure:
    with pytest.raises(ImageFailure) as caught:
        await fetcher.fetch(url)
    assert caught.value.message.endswith(".")
    return caught.value


def outcome(script: Script, limits: FetchLimits = LIMITS, path: str = "/a.jpg") -> tuple[ImageFailure, Host]:
    async def story() -> tuple[ImageFailure, Host]:
        async with serving(script) as host, fetching(limits=limits) as fetcher:
            return await failure_of(fetcher, host.url(path)), host

    return asyncio.run(story())


async def picture(exchange: Exchange) -> None:
    await exchange.answer()


def resolving(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


# What arrives


async def chunked(exchange: Exchange) -> None:
    halves = (PICTURE[:1000], PICTURE[1000:])
    parts = [b"%x\r\n%s\r\n" % (len(half), half) for half in halves]
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *parts, b"0\r\n\r\n")


async def until_closed(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.0 200 OK\r\n\r\n", PICTURE)
    exchange.close()


async def after_early_hints(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await exchange.answer()


@pytest.mark.parametrize("script", [picture, chunked, until_closed, after_early_hints])
def test_a_picture_arrives_however_it_is_framed(script: Script) -> None:
    async def story() -> bytes:
        async with serving(script) as host, fetching() as fetcher:
            return await fetcher.fetch(host.url())

    assert asyncio.run(story()) == PICTURE


def test_a_picture_arrives_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def story() -> bytes:
        async with serving(picture) as host, fetching() as fetcher:
            await fetcher.fetch(host.url())
            return await fetcher.fetch(host.url())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(story()) == PICTURE


def test_the_request_says_who_asks_and_for_what() -> None:
    async def story() -> tuple[str, int]:
        async with serving(picture) as host, fetching() as fetcher:
            await fetcher.fetch(host.url("/grün%20.jpg?x=1#top"))
            return host.requests[0].head, host.port

    head, port = asyncio.run(story())

    assert head.split("\r\n") == [
        "GET /gr%C3%BCn%20.jpg?x=1 HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"User-Agent: gql_imgproc/{__version__}",
        "Accept: image/*,*/*;q=0.5",
        "Accept-Encoding: identity",
        "",
        "",
    ]


def test_connections_are_kept_and_cookies_are_not() -> None:
    async def script(exchange: Exchange) -> None:
        status = {"/gone": "404 Not Found", "/moved": "302 Found"}.get(exchange.path, "200 OK")
        await exchange.answer(PICTURE[:500], status, "Location: /a.jpg", "Set-Cookie: a=b; Path=/")

    async def story() -> Host:
        async with serving(script) as host, fetching() as fetcher:
            for _ in range(3):
                await fetcher.fetch(host.url())
            await fetcher.fetch(host.url("/moved"))
            await failure_of(fetcher, host.url("/gone"))
            await fetcher.fetch(host.url())
            return host

    host = asyncio.run(story())

    assert host.connections == 1
    assert len(host.requests) == 7
    assert not any("cookie" in exchange.head.lower() for exchange in host.requests)


def test_a_kept_connection_that_the_host_closed_costs_nothing() -> None:
    # The second request of each connection meets its end: before it is sent, or just then.
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/second":
            exchange.reset()
        else:
            await exchange.answer()
            if exchange.path == "/and-close":
                exchange.close()

    async def story() -> Host:
        async with serving(script) as host, fetching() as fetcher:
            await fetcher.fetch(host.url("/and-close"))
            await asyncio.sleep(0.02)
            await fetcher.fetch(host.url("/first"))
            failure = await failure_of(fetcher, host.url("/second"))
            assert failure.temporary
            return host

    host = asyncio.run(story())

    # "/second" was tried on the kept connection and once on a new one, which is no surprise any more.
    assert [exchange.path for exchange in host.requests] == ["/and-close", "/first", "/second", "/second"]
    assert host.connections == 3


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> tuple[int, int]:
        async with serving(picture) as proxy, serving(picture) as host:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
                monkeypatch.setenv(name, proxy.url("/"))
            async with fetching() as fetcher:
                await fetcher.fetch(host.url())
            return proxy.connections, host.connections

    assert asyncio.run(story()) == (0, 1)


# What fails, and whether a later try may help


@pytest.mark.parametrize(
    ("status", "temporary"),
    [
        *((400, False), (401, False), (403, False), (404, False), (405, False), (408, True), (409, False)),
        *((410, False), (418, False), (425, True), (429, True), (451, False), (300, False), (304, False)),
        *((302, False), (500, True), (501, True), (502, True), (503, True), (504, True), (520, True), (599, True)),
    ],
)
def test_statuses_are_temporary_or_permanent(status: int, temporary: bool) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"" if status == 304 else b"no", f"{status} Because", "Retry-After: 7")

    failure, host = outcome(script)

    assert failure.code is ImageErrorCode.HTTP_STATUS
    assert failure.http_status == status
    assert failure.temporary is temporary
    assert failure.retry_after_s == (7.0 if temporary else None)
    assert failure.message == f"127.0.0.1 answered with status {status}."
    assert len(host.requests) == 1


def test_retry_after_is_seconds_or_a_date_and_has_an_end() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = format_datetime(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), usegmt=True)

    assert retry_after_s("120") == 120.0
    assert retry_after_s(" 0 ") == 0.0
    assert retry_after_s("9" * 5_000) == 3_600.0
    assert retry_after_s(later, now.timestamp()) == 60.0
    assert retry_after_s(later, now.timestamp() + 1_000) == 0.0
    assert retry_after_s("Fri, 31 Dec 9999 23:59:59 GMT", now.timestamp()) == 3_600.0
    for nonsense in ("", "-5", "1.5", "soon", "١٢", "Fri, 99 Dec 2026 99:99:99 GMT"):
        assert retry_after_s(nonsense) is None


async def no_answer(exchange: Exchange) -> None:
    exchange.close()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def reset_in_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", PICTURE[:100])
    exchange.reset()


async def cut_by_length(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", PICTURE[:4999])
    exchange.close()


async def cut_in_chunk(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n", PICTURE[:50])
    exchange.close()


async def cut_between_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n", PICTURE[:100], b"\r\n")
    exchange.close()


async def cut_in_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


async def empty(exchange: Exchange) -> None:
    await exchange.answer(b"")


async def no_content(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    exchange.close()


async def endless_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000)


async def two_lengths(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")


@pytest.mark.parametrize(
    "script",
    [
        *(no_answer, reset, reset_in_body, cut_by_length, cut_in_chunk, cut_between_chunks, cut_in_headers),
        *(empty, no_content, not_http, endless_header, two_lengths),
    ],
)
def test_a_broken_answer_is_unreachable_for_now(script: Script) -> None:
    failure, host = outcome(script)

    assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.http_status is None
    assert host.connections == 1


def test_nobody_listening_is_unreachable_for_now() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        async def story() -> ImageFailure:
            async with fetching() as fetcher:
                return await failure_of(fetcher, f"http://127.0.0.1:{port}/")

        failure = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.message == "127.0.0.1 could not be connected to."


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_an_unknown_name_is_unreachable_for_now(error: Exception) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise error

    async def story() -> ImageFailure:
        async with fetching(resolve=resolve) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    failure = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.message == "The host name pictures.test cannot be resolved."


def test_a_name_without_addresses_is_unreachable_for_now() -> None:
    async def story() -> ImageFailure:
        async with fetching(resolve=resolving()) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    assert asyncio.run(story()).code is ImageErrorCode.UNREACHABLE


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, identity", "GZIP"])
def test_a_compressed_answer_is_refused(encoding: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(PICTURE, "200 OK", f"Content-Encoding: {encoding}")

    failure, _ = outcome(script)

    assert (failure.code, failure.temporary) == (ImageErrorCode.NOT_AN_IMAGE, False)
    assert encoding.lower() in failure.message


def test_a_content_encoding_of_identity_is_none() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(PICTURE, "200 OK", "Content-Encoding: identity")

    async def story() -> bytes:
        async with serving(script) as host, fetching() as fetcher:
            return await fetcher.fetch(host.url())

    assert asyncio.run(story()) == PICTURE


@pytest.mark.parametrize("length", [100_001, 10**12, 10**19])
def test_a_length_over_the_limit_is_refused_before_the_body(length: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        await asyncio.sleep(30)

    failure, _ = outcome(script)

    assert (failure.code, failure.temporary) == (ImageErrorCode.TOO_LARGE, False)
    assert failure.message == "The picture is larger than the limit of 100,000 bytes."


def test_bytes_are_counted_while_they_come() -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.send(b"x" * 10_000)
            sent += 10_000

    failure, _ = outcome(script)

    assert (failure.code, failure.temporary) == (ImageErrorCode.TOO_LARGE, False)
    # What the sockets hold, and not what the host would like to send.
    assert sent < 20_000_000


def test_exactly_the_limit_is_allowed() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 100_000)

    async def story() -> int:
        async with serving(script) as host, fetching() as fetcher:
            return len(await fetcher.fetch(host.url()))

    assert asyncio.run(story()) == 100_000


# Every wait has an end


async def silent(exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def silent_in_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
    await asyncio.sleep(30)


async def dripping_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X: y\r\n")
        await asyncio.sleep(0.02)


async def dripping_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def endless_hints(exchange: Exchange) -> None:
    while True:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.02)


async def flood_of_tiny_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"1\r\nx\r\n" * 1_000)


@pytest.mark.parametrize(
    ("script", "first_byte_s", "total_s", "message"),
    [
        (silent, 0.2, 9.0, "127.0.0.1 was silent for 0.2 s."),
        (silent_in_body, 0.2, 9.0, "127.0.0.1 was silent for 0.2 s."),
        (silent, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (dripping_headers, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (dripping_body, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (endless_hints, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (flood_of_tiny_chunks, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
    ],
)
def test_a_slow_host_times_out(script: Script, first_byte_s: float, total_s: float, message: str) -> None:
    async def story() -> tuple[ImageFailure, float]:
        limits = replace(LIMITS, first_byte_s=first_byte_s, total_s=total_s, max_bytes=10**9)
        async with serving(script) as host, fetching(limits=limits) as fetcher:
            loop = asyncio.get_running_loop()
            began = loop.time()
            failure = await failure_of(fetcher, host.url())
            return failure, loop.time() - began

    failure, took = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)
    assert failure.message == message
    assert took < 4


def test_the_total_deadline_spans_redirects() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await exchange.answer(b"", "302 Found", f"Location: {exchange.path}x")

    failure, host = outcome(script, replace(LIMITS, total_s=0.5, max_redirects=1_000))

    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)
    assert len(host.requests) <= 10


def test_a_name_server_that_is_silent_times_out() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    async def story() -> ImageFailure:
        async with fetching(limits=replace(LIMITS, connect_s=0.2), resolve=resolve) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    failure = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)
    assert failure.message == "pictures.test could not be connected to in 0.2 s."


@pytest.mark.skipif(sys.platform != "linux", reason="needs a listener that accepts nobody")
def test_a_host_that_does_not_accept_times_out_and_its_next_address_is_tried() -> None:
    async def story(*addresses: str) -> bytes | ImageFailure:
        with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
            port = full.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", port))
            host = Host(picture)
            server = await asyncio.start_server(host.accept, "127.0.0.1", port)
            try:
                async with fetching(limits=replace(LIMITS, connect_s=0.4), resolve=resolving(*addresses)) as fetcher:
                    return await fetcher.fetch(f"http://pictures.test:{port}/")
            except ImageFailure as failure:
                return failure
            finally:
                server.close()
                host.hang_up()
                for filler in fillers:
                    filler.close()

    failure = asyncio.run(story("127.0.0.2"))
    assert isinstance(failure, ImageFailure)
    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)
    assert asyncio.run(story("127.0.0.2", "127.0.0.1")) == PICTURE


def test_a_cancelled_fetch_leaves_nothing_behind() -> None:
    async def story() -> tuple[int, int, bytes]:
        async def script(exchange: Exchange) -> None:
            await (silent_in_body(exchange) if exchange.path == "/slow" else exchange.answer())

        limits = replace(LIMITS, concurrency=2, per_host=2)
        async with serving(script) as host, fetching(limits=limits) as fetcher:
            for _ in range(3):
                tasks = [asyncio.create_task(fetcher.fetch(host.url("/slow"))) for _ in range(4)]
                await asyncio.sleep(0.05)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            remembered = len(fetcher._slots)
            body = await fetcher.fetch(host.url())
            assert fetcher._transport is not None
            return remembered, len(fetcher._transport._connections), body

    assert asyncio.run(story()) == (0, 1, PICTURE)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_five_redirects_are_followed_and_a_sixth_is_not(status: int) -> None:
    async def script(exchange: Exchange) -> None:
        left = int(exchange.path.strip("/"))
        if left:
            await exchange.answer(b"moved", f"{status} Moved", f"Location: /{left - 1}")
        else:
            await exchange.answer()

    async def story() -> tuple[bytes, ImageFailure, int]:
        async with serving(script) as host, fetching() as fetcher:
            body = await fetcher.fetch(host.url("/5"))
            failure = await failure_of(fetcher, host.url("/6"))
            return body, failure, len(host.requests)

    body, failure, requests = asyncio.run(story())

    assert body == PICTURE
    assert (failure.code, failure.temporary) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert requests == 6 + 6


def test_a_circle_is_seen_at_once() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"", "302 Found", f"Location: {'/b' if exchange.path == '/a' else '/a#x'}")

    failure, host = outcome(script, path="/a")

    assert (failure.code, failure.temporary) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert failure.message == "127.0.0.1 redirects in a circle."
    assert [exchange.path for exchange in host.requests] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/c.jpg", "/c.jpg"),
        ("c.jpg", "/a/c.jpg"),
        ("../c.jpg?x=1", "/c.jpg?x=1"),
        ("?x=1", "/a/b.jpg?x=1"),
        ("  /c d.jpg ", "/c%20d.jpg"),
        ("/c.jpg#top", "/c.jpg"),
        ("HTTP://127.0.0.1:{port}/c.jpg#top", "/c.jpg"),
        ("//127.0.0.1:{port}/c.jpg", "/c.jpg"),
    ],
)
def test_a_redirect_may_be_relative_and_untidy(location: str, path: str) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/a/b.jpg":
            await exchange.answer(b"", "302 Found", f"Location: {location.format(port=exchange.host.port)}")
        else:
            await exchange.answer()

    async def story() -> Host:
        async with serving(script) as host, fetching() as fetcher:
            assert await fetcher.fetch(host.url("/a/b.jpg")) == PICTURE
            return host

    assert asyncio.run(story()).requests[1].path == path


@pytest.mark.parametrize(
    "location",
    [
        "ftp://example.com/a",
        "file:///etc/passwd",
        "http://user:pw@127.0.0.1/",
        "http://[",
        "http://a..b/",
        "http:///x",
        "http:x",
        "///x",
    ],
)
def test_a_redirect_to_a_malformed_address_fails_for_good(location: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"", "302 Found", f"Location: {location}")

    failure, host = outcome(script)

    assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, False)
    assert host.connections == 1


# The guard

#: This machine, as strangers write it.
HERE = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "2130706433", "2130706433."),
    *("0x7f000001", "0X7F000001", "0x7f.1", "0x7f.0.1", "0x7f.0x0.0x0.0x1", "0x0000007f.0.0.1", "017700000001"),
    *("0177.0.0.1", "0177.1", "0000177.0.0.1", "0177.0x0.0.1", "127.0.0.01", "127.0x1", "127.00.00.01"),
    *("0", "0.0.0.0", "0.0", "0x0", "00", "0x"),
    *("１２７.0.0.1", "①②⑦.⓪.⓪.①", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "0ｘ7f.1"),  # noqa: RUF001
    *("127.0.0.\u00ad1", "127.0.0.1\u200b", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127.0.0.1%2e"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0.0.0.0]", "[::ffff:0:127.0.0.1]"),
    *(
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[::1%25lo]",
        "[::1%lo]",
    ),
    *("[fe80::1%25lo]", "[2a00::5efe:127.0.0.1]"),
    *("localhost", "LOCALHOST", "localhost.", "LocalHost"),
    *("one.test", "both.test", "six.test", "mapped.test", "nat64.test", "zero.test", "scoped.test"),
]
NAMES = {
    "one.test": ["127.0.0.1"],
    "both.test": ["93.184.215.14", "127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "zero.test": ["0.0.0.0"],
    "scoped.test": ["fe80::1%lo"],
    "localhost": ["127.0.0.1", "::1"],
}


async def by_table(host: str, port: int) -> Sequence[str]:
    return NAMES[host.lower().rstrip(".")]


@asynccontextmanager
async def canary() -> AsyncIterator[Host]:
    """Listens wherever this machine can be reached, and must not be."""
    host = Host(picture)
    first = await asyncio.start_server(host.accept, "0.0.0.0", 0)
    host.port = first.sockets[0].getsockname()[1]
    servers = [first]
    if socket.has_ipv6:
        with suppress(OSError):
            servers.append(await asyncio.start_server(host.accept, "::", host.port))
    try:
        yield host
    finally:
        for server in servers:
            server.close()
        host.hang_up()
        for _ in range(5):
            await asyncio.sleep(0)


def test_no_spelling_of_this_machine_is_connected_to() -> None:
    async def story() -> None:
        async with canary() as host:
            async with fetching(CLOSED, resolve=by_table) as fetcher:
                addresses = [host.url("/a.jpg", name, scheme) for name in HERE for scheme in ("http", "https")]
                for url in addresses:
                    failure = await failure_of(fetcher, url)
                    assert (failure.code, failure.temporary) == (ImageErrorCode.FORBIDDEN_ADDRESS, False), url
                    assert "IMGPROC_FETCH_ALLOW_NETWORKS" in failure.message, url
            # A canary that hears nothing may be deaf.
            await asyncio.sleep(0.05)
            assert len(addresses) >= 100
            assert host.connections == 0
            async with fetching(LOOPBACK, resolve=by_table) as fetcher:
                await fetcher.fetch(host.url("/a.jpg", "0x7f.1"))
                await fetcher.fetch(host.url("/a.jpg", "one.test"))
            assert host.connections == 2

    asyncio.run(story())


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback address")
@pytest.mark.parametrize("hops", [1, 3, 5])
def test_no_redirect_leads_to_this_machine(hops: int) -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.3/32"),), allow_ports="*")

    async def story() -> None:
        async with canary() as forbidden:

            async def script(exchange: Exchange) -> None:
                left, _, name = exchange.path.strip("/").partition("/")
                location = f"/{int(left) - 1}/{name}" if int(left) > 1 else forbidden.url("/a.jpg", HERE[int(name)])
                await exchange.send(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n".encode())

            async with serving(script, "127.0.0.3") as open_host, fetching(policy, resolve=by_table) as fetcher:
                for number, name in enumerate(HERE):
                    before = len(open_host.requests)
                    failure = await failure_of(fetcher, open_host.url(f"/{hops}/{number}", "127.0.0.3"))
                    assert (failure.code, failure.temporary) == (ImageErrorCode.FORBIDDEN_ADDRESS, False), name
                    assert len(open_host.requests) - before == hops
            await asyncio.sleep(0.05)
            assert forbidden.connections == 0

    asyncio.run(story())


def test_a_name_cannot_change_its_meaning_between_check_and_connection() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async def story() -> None:
        async with serving(picture) as host, fetching(resolve=resolve) as fetcher:
            assert await fetcher.fetch(host.url("/", "pictures.test")) == PICTURE
            assert asked == ["pictures.test"]
            # The kept connection goes where it was checked to go; a new one is checked anew.
            assert await fetcher.fetch(host.url("/", "pictures.test")) == PICTURE
            assert asked == ["pictures.test"]
            host.hang_up()
            await asyncio.sleep(0.02)
            failure = await failure_of(fetcher, host.url("/", "pictures.test"))
            assert failure.code is ImageErrorCode.FORBIDDEN_ADDRESS
            assert host.connections == 1

    asyncio.run(story())


def test_the_message_does_not_tell_what_an_inner_name_means() -> None:
    async def story() -> ImageFailure:
        async with fetching(CLOSED, resolve=resolving("10.1.2.3")) as fetcher:
            return await failure_of(fetcher, "http://wiki.corp.test/")

    failure = asyncio.run(story())

    assert failure.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "10.1.2.3" not in failure.message
    assert "wiki.corp.test" in failure.message


def test_a_port_that_is_not_allowed_is_not_connected_to() -> None:
    async def story() -> tuple[ImageFailure, int]:
        async with serving(picture) as host, fetching(replace(LOOPBACK, allow_ports=frozenset({80}))) as fetcher:
            return await failure_of(fetcher, host.url()), host.connections

    failure, connections = asyncio.run(story())

    assert failure.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "IMGPROC_FETCH_ALLOW_PORTS" in failure.message
    assert connections == 0


def test_one_look_up_serves_all_who_ask_at_the_same_time() -> None:
    asked = 0

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return ["127.0.0.1"]

    async def story() -> None:
        async with serving(picture) as host, fetching(resolve=resolve) as fetcher:
            await asyncio.gather(*(fetcher.fetch(host.url("/", "pictures.test")) for _ in range(8)))

    asyncio.run(story())

    assert asked == 1


def test_the_system_resolves_names() -> None:
    async def story() -> bytes:
        policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow_ports="*")
        async with canary() as host, fetching(policy) as fetcher:
            return await fetcher.fetch(host.url("/", "localhost"))

    assert asyncio.run(story()) == PICTURE


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem "
        "-subj /CN=pictures.test -addext subjectAltName=DNS:pictures.test",
        shell=True,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_asks_for_the_name_and_not_for_the_address(certificate: Path, loop: str) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    server_names: list[str | None] = []
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server_side.sni_callback = lambda _socket, name, _context: server_names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    async def story() -> None:
        async with serving(picture, tls=server_side) as host:
            async with fetching(resolve=resolving("127.0.0.1"), ssl_context=trusting) as fetcher:
                assert await fetcher.fetch(host.url("/", "pictures.test", "https")) == PICTURE
                assert await fetcher.fetch(host.url("/", "pictures.test", "https")) == PICTURE
                assert host.connections == 1
                failure = await failure_of(fetcher, host.url("/", "other.test", "https"))
                assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, False)
                assert "certificate of other.test" in failure.message
            async with fetching(resolve=resolving("127.0.0.1")) as fetcher:
                failure = await failure_of(fetcher, host.url("/", "pictures.test", "https"))
                assert (failure.code, failure.temporary) == (ImageErrorCode.UNREACHABLE, False)
            assert len(host.requests) == 2

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())

    assert server_names == ["pictures.test", "other.test", "pictures.test"]


def test_a_silent_tls_handshake_times_out() -> None:
    async def story() -> ImageFailure:
        # Speaks no TLS and waits for the end of headers, which does not come.
        async with serving(picture) as host, fetching(limits=replace(LIMITS, connect_s=0.2)) as fetcher:
            return await failure_of(fetcher, host.url(scheme="https"))

    failure = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)


# Turns


def test_no_more_downloads_than_allowed_in_all_and_per_host() -> None:
    async def story() -> tuple[int, int]:
        now: dict[str, int] = {}
        peak: dict[str, int] = {}

        async def script(exchange: Exchange) -> None:
            for key in ("all", exchange.path):
                now[key] = now.get(key, 0) + 1
                peak[key] = max(peak.get(key, 0), now[key])
            await asyncio.sleep(0.01)
            for key in ("all", exchange.path):
                now[key] -= 1
            await exchange.answer()

        limits = replace(LIMITS, concurrency=5, per_host=3)
        async with serving(script) as host, fetching(limits=limits, resolve=resolving("127.0.0.1")) as fetcher:
            names = ["a.test", "b.test", "c.test"] * 8
            await asyncio.gather(*(fetcher.fetch(host.url(f"/{name}", name)) for name in names))
            assert len(fetcher._slots) == 0
        return peak.pop("all"), max(peak.values())

    assert asyncio.run(story()) == (5, 3)


def test_a_slow_host_does_not_hold_up_the_others() -> None:
    async def story() -> None:
        async def script(exchange: Exchange) -> None:
            await (silent(exchange) if exchange.path == "/slow" else exchange.answer())

        limits = replace(LIMITS, concurrency=3, per_host=2)
        async with serving(script) as host, fetching(limits=limits, resolve=resolving("127.0.0.1")) as fetcher:
            slow = [asyncio.create_task(fetcher.fetch(host.url("/slow", "slow.test"))) for _ in range(20)]
            await asyncio.sleep(0.05)
            async with asyncio.timeout(1):
                for _ in range(5):
                    assert await fetcher.fetch(host.url("/", "quick.test")) == PICTURE
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(story())


def test_waiting_for_a_turn_has_an_end_of_its_own() -> None:
    async def story() -> tuple[ImageFailure, int]:
        limits = replace(LIMITS, per_host=1, slot_wait_s=0.2)
        async with serving(silent) as host, fetching(limits=limits) as fetcher:
            first = asyncio.create_task(fetcher.fetch(host.url()))
            await asyncio.sleep(0.02)
            failure = await failure_of(fetcher, host.url())
            requests = len(host.requests)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            return failure, requests

    failure, requests = asyncio.run(story())

    assert (failure.code, failure.temporary) == (ImageErrorCode.TIMEOUT, True)
    assert failure.message == "No download to 127.0.0.1 could begin within 0.2 s; too many are under way."
    assert requests == 1


def test_waiting_for_a_turn_is_not_the_hosts_fault() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.25)
        await exchange.answer()

    async def story() -> list[bytes]:
        async with serving(script) as host, fetching(limits=replace(LIMITS, per_host=1, total_s=1.0)) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(host.url()) for _ in range(5)))

    assert asyncio.run(story()) == [PICTURE] * 5


def test_idle_connections_are_closed_when_too_many_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.io.connections.KEEPALIVE_S", 0.1)

    async def story() -> None:
        limits = replace(LIMITS, concurrency=2, per_host=2)
        async with serving(picture) as host, fetching(limits=limits, resolve=resolving("127.0.0.1")) as fetcher:
            for number in range(6):
                await fetcher.fetch(host.url("/", f"host{number}.test"))
            await asyncio.sleep(0.02)
            assert (host.connections, host.open) == (6, 2)
            await asyncio.sleep(0.15)
            await fetcher.fetch(host.url("/", "host5.test"))
            await asyncio.sleep(0.02)
            assert (host.connections, host.open) == (7, 1)

    asyncio.run(story())


def test_a_long_error_page_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "DRAIN_S", 0.05)

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n", b"x" * 100)
        await asyncio.sleep(30)

    failure, _ = outcome(script)

    assert (failure.code, failure.http_status) == (ImageErrorCode.HTTP_STATUS, 404)
