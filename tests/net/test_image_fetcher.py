from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from gql_imgproc import __version__
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.net import http_client
from gql_imgproc.net import image_fetcher as fetcher_module
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.fetch_errors import status_advice
from tests.support.image_host import (
    CLOSED,
    LIMITS,
    LOOPBACK,
    PICTURE,
    Exchange,
    Host,
    Script,
    canary,
    failure_of,
    fetching,
    outcome,
    picture,
    resolving,
    serving,
)

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
            assert failure.retryable
            return host

    host = asyncio.run(story())

    # "/second" was tried on the kept connection and once on a new one, which is no surprise any more.
    assert [exchange.path for exchange in host.requests] == ["/and-close", "/first", "/second", "/second"]
    assert host.connections == 3


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"\r\n", b"x"])
def test_what_comes_after_an_answer_is_not_taken_for_the_next_one(surplus: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", exchange.path[1:].encode(), surplus)

    async def story() -> tuple[list[bytes], int]:
        async with serving(script) as host, fetching() as fetcher:
            bodies = [await fetcher.fetch(host.url(path)) for path in ("/one", "/two", "/six")]
            return bodies, host.connections

    assert asyncio.run(story()) == ([b"one", b"two", b"six"], 3)


def test_a_long_head_of_an_honest_host_is_read_and_the_body_is_not_counted_with_it() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(PICTURE, "200 OK", *(f"X-{number}: {'x' * 1_000}" for number in range(40)))

    async def story() -> list[bytes]:
        async with serving(script) as host, fetching() as fetcher:
            return [await fetcher.fetch(host.url()) for _ in range(3)]

    assert asyncio.run(story()) == [PICTURE] * 3


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
        *(
            (302, False),
            (500, True),
            (501, True),
            (502, True),
            (503, True),
            (504, True),
            (520, True),
            (599, True),
            (600, False),
            (999, False),
        ),
    ],
)
def test_statuses_are_temporary_or_permanent(status: int, temporary: bool) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"" if status == 304 else b"no", f"{status} Because", "Retry-After: 7")

    failure, host = outcome(script)

    assert failure.code is ImageErrorCode.HTTP_STATUS
    assert failure.http_status == status
    assert failure.retryable is temporary
    assert failure.retry_after_s == (7.0 if temporary else None)
    assert failure.message == f"127.0.0.1 answered with status {status}. {status_advice(status)}"
    assert len(host.requests) == 1


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


async def floods_of_interim_answers(exchange: Exchange) -> None:
    while True:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)


async def endless_trailers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while True:
        await exchange.send(b"T: y\r\n" * 1_000)


async def endless_chunk_extension(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        await exchange.send(b"x" * 10_000)


def answering(head: bytes, body: bytes = b"abc") -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 ", head, b"\r\n\r\n", body)
        exchange.close()

    return script


@pytest.mark.parametrize(
    "script",
    [
        floods_of_interim_answers,
        endless_trailers,
        endless_chunk_extension,
        answering(b"101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x"),
        answering(b"200 OK\r\nContent-Length: -3"),
        answering(b"200 OK\r\nContent-Length: +3"),
        answering(b"200 OK\r\nContent-Length: 0x3"),
        answering(b"200 OK\r\nContent-Length: 3, 4"),
        answering(b"200 OK\r\nContent-Length: " + b"9" * 5_000),
        answering(b"200 OK\r\nTransfer-Encoding: gzip, chunked", b"1\r\nx\r\n0\r\n\r\n"),
        answering(b"200 OK\r\nTransfer-Encoding: identity"),
        answering(b"200 OK\r\nTransfer-Encoding: chunked", b"-1\r\nx\r\n0\r\n\r\n"),
        answering(b"200 OK\r\nTransfer-Encoding: chunked", b"f" * 30 + b"\r\nx\r\n0\r\n\r\n"),
        answering(b"000 OK"),
        *(no_answer, reset, reset_in_body, cut_by_length, cut_in_chunk, cut_between_chunks, cut_in_headers),
        *(empty, no_content, not_http, endless_header, two_lengths),
    ],
)
def test_a_broken_answer_is_unreachable_for_now(script: Script) -> None:
    failure, host = outcome(script)

    assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.http_status is None
    assert host.connections == 1


def test_nobody_listening_is_unreachable_for_now() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        async def story() -> ImageError:
            async with fetching() as fetcher:
                return await failure_of(fetcher, f"http://127.0.0.1:{port}/")

        failure = asyncio.run(story())

    assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.message == "127.0.0.1 could not be connected to."


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_an_unknown_name_is_unreachable_for_now(error: Exception) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise error

    async def story() -> ImageError:
        async with fetching(resolve=resolve) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    failure = asyncio.run(story())

    assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert failure.message == "The host name pictures.test cannot be resolved."


def test_a_name_without_addresses_is_unreachable_for_now() -> None:
    async def story() -> ImageError:
        async with fetching(resolve=resolving()) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    assert asyncio.run(story()).code is ImageErrorCode.UNREACHABLE


@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, identity", "identity, gzip", "GZIP"]
)
def test_a_compressed_answer_is_refused(encoding: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(PICTURE, "200 OK", f"Content-Encoding: {encoding}")

    failure, _ = outcome(script)

    assert (failure.code, failure.retryable) == (ImageErrorCode.NOT_AN_IMAGE, False)
    assert encoding.lower() in failure.message


def test_a_content_encoding_in_a_second_header_is_refused() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(PICTURE, "200 OK", "Content-Encoding: identity", "Content-Encoding: gzip")

    failure, _ = outcome(script)

    assert failure.code is ImageErrorCode.NOT_AN_IMAGE


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

    assert (failure.code, failure.retryable) == (ImageErrorCode.TOO_LARGE, False)
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

    assert (failure.code, failure.retryable) == (ImageErrorCode.TOO_LARGE, False)
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


async def dripping_chunk_extension(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def dripping_trailers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while True:
        await exchange.send(b"T: y\r\n")
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
        (dripping_chunk_extension, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (dripping_trailers, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (endless_hints, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
        (flood_of_tiny_chunks, 9.0, 0.4, "127.0.0.1 did not send the whole picture within 0.4 s."),
    ],
)
def test_a_slow_host_times_out(script: Script, first_byte_s: float, total_s: float, message: str) -> None:
    async def story() -> tuple[ImageError, float]:
        limits = replace(LIMITS, first_byte_s=first_byte_s, total_s=total_s, max_bytes=10**9)
        async with serving(script) as host, fetching(limits=limits) as fetcher:
            loop = asyncio.get_running_loop()
            began = loop.time()
            failure = await failure_of(fetcher, host.url())
            return failure, loop.time() - began

    failure, took = asyncio.run(story())

    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert failure.message == message
    assert took < 4


def test_the_total_deadline_spans_redirects() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await exchange.answer(b"", "302 Found", f"Location: {exchange.path}x")

    failure, host = outcome(script, replace(LIMITS, total_s=0.5, max_redirects=1_000))

    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert len(host.requests) <= 10


def test_a_name_server_that_is_silent_times_out() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    async def story() -> ImageError:
        async with fetching(limits=replace(LIMITS, connect_s=0.2), resolve=resolve) as fetcher:
            return await failure_of(fetcher, "http://pictures.test/")

    failure = asyncio.run(story())

    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert failure.message == "pictures.test could not be connected to in 0.2 s."


@pytest.mark.skipif(sys.platform != "linux", reason="needs a listener that accepts nobody")
def test_a_host_that_does_not_accept_times_out_and_its_next_address_is_tried() -> None:
    async def story(*addresses: str) -> bytes | ImageError:
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
            except ImageError as failure:
                return failure
            finally:
                server.close()
                host.hang_up()
                for filler in fillers:
                    filler.close()

    failure = asyncio.run(story("127.0.0.2"))
    assert isinstance(failure, ImageError)
    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)
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

    async def story() -> tuple[bytes, ImageError, int]:
        async with serving(script) as host, fetching() as fetcher:
            body = await fetcher.fetch(host.url("/5"))
            failure = await failure_of(fetcher, host.url("/6"))
            return body, failure, len(host.requests)

    body, failure, requests = asyncio.run(story())

    assert body == PICTURE
    assert (failure.code, failure.retryable) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert requests == 6 + 6


def test_a_circle_is_seen_at_once() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"", "302 Found", f"Location: {'/b' if exchange.path == '/a' else '/a#x'}")

    failure, host = outcome(script, path="/a")

    assert (failure.code, failure.retryable) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
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

    assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, False)
    assert host.connections == 1


# The guard


async def test_a_name_cannot_change_its_meaning_between_check_and_connection() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

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


def test_the_message_does_not_tell_what_an_inner_name_means() -> None:
    async def story() -> ImageError:
        async with fetching(CLOSED, resolve=resolving("10.1.2.3")) as fetcher:
            return await failure_of(fetcher, "http://wiki.corp.test/")

    failure = asyncio.run(story())

    assert failure.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "10.1.2.3" not in failure.message
    assert "wiki.corp.test" in failure.message


def test_a_port_that_is_not_allowed_is_not_connected_to() -> None:
    async def story() -> tuple[ImageError, int]:
        async with serving(picture) as host, fetching(replace(LOOPBACK, allow_ports=frozenset({80}))) as fetcher:
            return await failure_of(fetcher, host.url()), host.connections

    failure, connections = asyncio.run(story())

    assert failure.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "IMGPROC_FETCH_ALLOW_PORTS" in failure.message
    assert connections == 0


@pytest.mark.parametrize("policy", [CLOSED, replace(LOOPBACK, allow_ports=frozenset({80}))])
def test_what_connects_judges_by_itself_whatever_was_judged_before(policy: NetworkPolicy) -> None:
    async def story() -> int:
        transport = http_client.GuardedTransport(policy, max_idle=1)
        async with serving(picture) as host:
            with pytest.raises(http_client.ForbiddenAddress):
                await transport.handle_async_request(httpx.Request("GET", host.url()))
            await transport.aclose()
            return host.connections

    assert asyncio.run(story()) == 0


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


def test_names_that_nobody_waits_for_any_more_do_not_queue_for_the_name_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a name server that is silent about one name, and one look-up at a time,
    asked: list[str] = []
    silence = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host == "silent.test":
            silence.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(http_client, "RESOLVER_THREADS", 1)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def story() -> bytes:
        async with serving(picture) as host, fetching(limits=replace(LIMITS, connect_s=0.1)) as fetcher:
            # when it and others behind it have been given up,
            names = ["silent.test", "one.test", "two.test", "silent.test"]
            failures = await asyncio.gather(*(failure_of(fetcher, host.url("/", name)) for name in names))
            assert {failure.code for failure in failures} == {ImageErrorCode.TIMEOUT}
            silence.set()
            return await fetcher.fetch(host.url("/", "three.test"))

    # then they are not asked for when it is heard of again, and what is asked for then is.
    assert asyncio.run(story()) == PICTURE
    assert asked == ["silent.test", "three.test"]


def test_the_system_resolves_names() -> None:
    async def story() -> bytes:
        policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow_ports="*")
        async with canary() as host, fetching(policy) as fetcher:
            return await fetcher.fetch(host.url("/", "localhost"))

    assert asyncio.run(story()) == PICTURE


# TLS


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
                assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, False)
                assert "certificate of other.test" in failure.message
            async with fetching(resolve=resolving("127.0.0.1")) as fetcher:
                failure = await failure_of(fetcher, host.url("/", "pictures.test", "https"))
                assert (failure.code, failure.retryable) == (ImageErrorCode.UNREACHABLE, False)
            assert len(host.requests) == 2

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())

    assert server_names == ["pictures.test", "other.test", "pictures.test"]


def test_a_silent_tls_handshake_times_out() -> None:
    async def story() -> ImageError:
        # Speaks no TLS and waits for the end of headers, which does not come.
        async with serving(picture) as host, fetching(limits=replace(LIMITS, connect_s=0.2)) as fetcher:
            return await failure_of(fetcher, host.url(scheme="https"))

    failure = asyncio.run(story())

    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)


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


async def test_a_slow_host_does_not_hold_up_the_others() -> None:
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


def test_waiting_for_a_turn_has_an_end_of_its_own() -> None:
    async def story() -> tuple[ImageError, int]:
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

    assert (failure.code, failure.retryable) == (ImageErrorCode.TIMEOUT, True)
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


async def test_idle_connections_are_closed_when_too_many_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.net.http_client.KEEPALIVE_S", 0.1)

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


def test_a_long_error_page_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "DRAIN_S", 0.05)

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n", b"x" * 100)
        await asyncio.sleep(30)

    failure, _ = outcome(script)

    assert (failure.code, failure.http_status) == (ImageErrorCode.HTTP_STATUS, 404)
