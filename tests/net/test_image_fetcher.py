"""Responses of image hosts: what arrives, what fails, and whether a retry can help."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gql_imgproc import __version__
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net import image_fetcher
from gql_imgproc.net.fetch_errors import status_advice
from tests.support.image_host import (
    IMAGE,
    Exchange,
    Script,
    fail_to_fetch,
    fetch,
    fetch_error,
    open_fetcher,
    send_image,
    serve,
)

# Successful responses


async def send_chunked(exchange: Exchange) -> None:
    halves = (IMAGE[:1000], IMAGE[1000:])
    parts = [b"%x\r\n%s\r\n" % (len(half), half) for half in halves]
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *parts, b"0\r\n\r\n")


async def send_until_close(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.0 200 OK\r\n\r\n", IMAGE)
    exchange.close()


async def send_after_early_hints(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await exchange.respond()


@pytest.mark.parametrize("script", [send_image, send_chunked, send_until_close, send_after_early_hints])
async def test_image_is_downloaded_with_any_framing(script: Script) -> None:
    assert await fetch(script) == IMAGE


@pytest.mark.parametrize(
    "line",
    [b"no colon", b": no name", b"Two words: x", b"Name : x", "Größe: 1".encode(), b"X: \x01", b" X: x", b"X:\n y"],
)
async def test_malformed_header_line_is_skipped(line: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/gif\r\n%s\r\nContent-Length: 20\r\n\r\n" % line
        await exchange.send(head, b"GIF89a\r\nno colon\r\n\r\n")

    async with serve(script) as host, open_fetcher() as fetcher:
        images = [await fetcher.fetch(host.url()) for _ in range(3)]

    assert images == [b"GIF89a\r\nno colon\r\n\r\n"] * 3


async def test_malformed_header_line_is_skipped_in_a_head_that_arrives_in_parts() -> None:
    async def script(exchange: Exchange) -> None:
        for part in (b"HTTP/1.1 200 OK\r\nX: ", b"y\r\nno colon\r\nContent-Le", b"ngth: 3\r\n", b"\r\nGIF"):
            await exchange.send(part)
            await asyncio.sleep(0.02)

    assert await fetch(script) == b"GIF"


@pytest.mark.parametrize(
    "parts",
    [
        # Malformed lines in several reads, after an interim response, and in one.
        (b"HTTP/1.1 200 OK\r\nno colon\r\nX", b": y\r\nno colon\r\nContent-Length: 3\r\n", b"\r\nGIF"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 3\r\n\r\nGIF"),
        (b"HTTP/1.1 103 Early Hints\r\nno colon\r\n\r\nHTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 3\r\n\r\nGIF",),
        # A line break within a value, and a length that is sent twice.
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nGIF",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\ncontent-length: 3\r\n\r\nGIF",),
    ],
)
async def test_malformed_head_is_read_as_browsers_read_it(parts: tuple[bytes, ...]) -> None:
    async def script(exchange: Exchange) -> None:
        for part in parts:
            await exchange.send(part)
            await asyncio.sleep(0.02)

    assert await fetch(script) == b"GIF"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"200 OK\r\nX: y\r\nContent-Length: x\r\nY: z", "the header Content-Length is invalid"),
        (b"200 OK\r\nContent-Length: 3\r\nno colon\r\nContent-Length: 4", "the header Content-Length is invalid"),
        (b"200 OK\r\nTransfer-Encoding: gzip", "the header Transfer-Encoding has an unsupported value"),
        (b"101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade", "the status 101 is unsupported"),
        (b"200 OK\r\nX: " + b"x" * 600_000, "its headers are longer than 65,536 bytes"),
    ],
)
async def test_response_that_cannot_be_read_names_the_header(head: bytes, reason: str) -> None:
    error, _ = await fail_to_fetch(send_raw(head))

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert error.message == f"127.0.0.1 sent a response that cannot be read: {reason}."


async def test_bare_line_feeds_end_header_lines() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\nContent-Length: 3\n\nGIF")

    assert await fetch(script) == b"GIF"


def test_image_is_downloaded_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def fetch_twice() -> bytes:
        async with serve(send_image) as host, open_fetcher() as fetcher:
            await fetcher.fetch(host.url())
            return await fetcher.fetch(host.url())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(fetch_twice()) == IMAGE


async def test_request_has_user_agent_and_accepts_images_only() -> None:
    async with serve(send_image) as host, open_fetcher() as fetcher:
        await fetcher.fetch(host.url("/grün%20.jpg?x=1#top"))

    assert host.requests[0].head.split("\r\n") == [
        "GET /gr%C3%BCn%20.jpg?x=1 HTTP/1.1",
        f"Host: 127.0.0.1:{host.port}",
        f"User-Agent: gql_imgproc/{__version__} (+https://github.com/gql-imgproc/gql-imgproc)",
        "Accept: image/*,*/*;q=0.5",
        "Accept-Encoding: identity",
        "",
        "",
    ]


async def test_connections_are_reused_and_cookies_are_not_sent_to_the_next_download() -> None:
    async def script(exchange: Exchange) -> None:
        status = {"/gone": "404 Not Found", "/moved": "302 Found"}.get(exchange.path, "200 OK")
        await exchange.respond(IMAGE[:500], status, "Location: /a.jpg", "Set-Cookie: a=b; Path=/")

    async with serve(script) as host, open_fetcher() as fetcher:
        for _ in range(3):
            await fetcher.fetch(host.url())
        await fetcher.fetch(host.url("/moved"))
        await fetch_error(fetcher, host.url("/gone"))
        await fetcher.fetch(host.url())

    assert host.connections == 1
    assert len(host.requests) == 7
    assert [number for number, exchange in enumerate(host.requests) if "Cookie: a=b" in exchange.head] == [4]


async def test_request_on_a_connection_that_the_host_closed_is_repeated_once() -> None:
    # Given a host that closes each kept-alive connection: before the second request, or during it.
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/second":
            exchange.reset()
        else:
            await exchange.respond()
            if exchange.path == "/and-close":
                exchange.close()

    async with serve(script) as host, open_fetcher() as fetcher:
        await fetcher.fetch(host.url("/and-close"))
        await asyncio.sleep(0.02)
        await fetcher.fetch(host.url("/first"))

        error = await fetch_error(fetcher, host.url("/second"))

    # "/second" was sent on the kept-alive connection and once on a new one; the second failure is final.
    assert error.retryable
    assert [exchange.path for exchange in host.requests] == ["/and-close", "/first", "/second", "/second"]
    assert host.connections == 3


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"\r\n", b"x"])
async def test_data_after_a_response_is_not_read_as_the_next_response(surplus: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", exchange.path[1:].encode(), surplus)

    async with serve(script) as host, open_fetcher() as fetcher:
        bodies = [await fetcher.fetch(host.url(path)) for path in ("/one", "/two", "/six")]

    assert (bodies, host.connections) == ([b"one", b"two", b"six"], 3)


async def test_body_does_not_count_towards_the_limit_of_the_head() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(IMAGE, "200 OK", *(f"X-{number}: {'x' * 1_000}" for number in range(40)))

    async with serve(script) as host, open_fetcher() as fetcher:
        images = [await fetcher.fetch(host.url()) for _ in range(3)]

    assert images == [IMAGE] * 3


async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(send_image) as proxy, serve(send_image) as host:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url("/"))

        async with open_fetcher() as fetcher:
            await fetcher.fetch(host.url())

    assert (proxy.connections, host.connections) == (0, 1)


@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "", "image/png; charset=utf-8", "x"])
async def test_content_type_is_ignored(media_type: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"GIF89a", "200 OK", f"Content-Type: {media_type}")

    assert await fetch(script) == b"GIF89a"


# Statuses

RETRYABLE = (202, 408, 423, 425, 429, 500, 501, 502, 503, 504, 520, 599)
PERMANENT = (300, 302, 304, 400, 401, 403, 404, 405, 409, 410, 418, 451, 600, 999)


@pytest.mark.parametrize("status", [*RETRYABLE, *PERMANENT])
async def test_status_is_retryable_or_permanent(status: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"" if status == 304 else b"no", f"{status} Because", "Retry-After: 7")

    error, host = await fail_to_fetch(script)

    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_STATUS, status)
    assert error.retryable is (status in RETRYABLE)
    assert error.retry_after_s == (7.0 if status in RETRYABLE else None)
    assert error.message == f"127.0.0.1 responded with status {status}. {status_advice(status, has_retry_after=True)}"
    assert len(host.requests) == 1


@pytest.mark.parametrize(("status", "is_retryable"), [(202, True), (423, False), (503, True)])
async def test_status_without_retry_after_is_retryable_or_permanent(status: int, is_retryable: bool) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b'{"status": "working"}', f"{status} Because", "Content-Type: application/json")

    error, _ = await fail_to_fetch(script)

    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_STATUS, status)
    assert (error.retryable, error.retry_after_s) == (is_retryable, None)


async def test_long_error_response_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_fetcher, "DRAIN_S", 0.05)

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n", b"x" * 100)
        await asyncio.sleep(30)

    error, _ = await fail_to_fetch(script)

    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_STATUS, 404)


# Broken responses


async def close(exchange: Exchange) -> None:
    exchange.close()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def reset_in_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", IMAGE[:100])
    exchange.reset()


async def close_before_content_length(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", IMAGE[:4999])
    exchange.close()


async def close_in_chunk(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n", IMAGE[:50])
    exchange.close()


async def close_between_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n", IMAGE[:100], b"\r\n")
    exchange.close()


async def close_in_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


async def send_empty_body(exchange: Exchange) -> None:
    await exchange.respond(b"")


async def send_no_content(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")


async def send_ssh_banner(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    exchange.close()


async def send_endless_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000)


async def send_two_lengths(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")


async def flood_with_interim_responses(exchange: Exchange) -> None:
    while True:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)


async def send_endless_trailers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while True:
        await exchange.send(b"T: y\r\n" * 1_000)


async def send_endless_chunk_extension(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        await exchange.send(b"x" * 10_000)


def send_raw(head: bytes, body: bytes = b"abc") -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 ", head, b"\r\n\r\n", body)
        exchange.close()

    return script


@pytest.mark.parametrize(
    "script",
    [
        flood_with_interim_responses,
        send_endless_trailers,
        send_endless_chunk_extension,
        send_raw(b"101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x"),
        send_raw(b"200 OK\r\nContent-Length: -3"),
        send_raw(b"200 OK\r\nContent-Length: +3"),
        send_raw(b"200 OK\r\nContent-Length: 0x3"),
        send_raw(b"200 OK\r\nContent-Length: 3, 4"),
        send_raw(b"200 OK\r\nContent-Length: " + b"9" * 5_000),
        send_raw(b"200 OK\r\nTransfer-Encoding: gzip, chunked", b"1\r\nx\r\n0\r\n\r\n"),
        send_raw(b"200 OK\r\nTransfer-Encoding: identity"),
        send_raw(b"200 OK\r\nTransfer-Encoding: chunked", b"-1\r\nx\r\n0\r\n\r\n"),
        send_raw(b"200 OK\r\nTransfer-Encoding: chunked", b"f" * 30 + b"\r\nx\r\n0\r\n\r\n"),
        send_raw(b"000 OK"),
        *(close, reset, reset_in_body, close_before_content_length, close_in_chunk, close_between_chunks),
        *(close_in_headers, send_empty_body, send_no_content, send_ssh_banner, send_endless_header, send_two_lengths),
    ],
)
async def test_broken_response_is_retryable(script: Script) -> None:
    error, host = await fail_to_fetch(script)

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert error.http_status is None
    assert host.connections == 1


async def test_refused_connection_is_retryable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        async with open_fetcher() as fetcher:
            error = await fetch_error(fetcher, f"http://127.0.0.1:{port}/")

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert error.message == "Could not connect to 127.0.0.1. Check the URL, or retry when the host is available."


# Sizes


@pytest.mark.parametrize("length", [100_001, 10**12, 10**19])
async def test_content_length_over_the_limit_is_refused_before_the_body(length: int) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        await asyncio.sleep(30)

    error, _ = await fail_to_fetch(script)

    assert (error.code, error.retryable) == (ImageErrorCode.TOO_LARGE, False)
    assert error.message == "The image is larger than the limit of 100,000 bytes."


async def test_endless_body_is_cut_off_at_the_limit() -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await exchange.send(b"x" * 10_000)
            sent += 10_000

    error, _ = await fail_to_fetch(script)

    assert (error.code, error.retryable) == (ImageErrorCode.TOO_LARGE, False)
    # No more than the socket buffers hold.
    assert sent < 20_000_000


async def test_image_of_exactly_the_limit_is_accepted() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"x" * 100_000)

    assert len(await fetch(script)) == 100_000
