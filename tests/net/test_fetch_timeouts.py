"""Every wait for an image host has a limit (promise P7)."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net.fetch_errors import FetchError
from tests.support.image_host import (
    IMAGE,
    LIMITS,
    Exchange,
    ImageHost,
    Script,
    fail_to_fetch,
    fetch_error,
    open_fetcher,
    resolve_to,
    send_image,
    send_nothing,
    serve,
)

#: A limit that does not end a download within the test's own timeout.
NEVER_S = 900.0


async def stop_in_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
    await asyncio.sleep(30)


def drip(start: bytes, drop: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 ", start)
        while True:
            await exchange.send(drop)
            await asyncio.sleep(0.02)

    return script


async def flood_with_tiny_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"1\r\nx\r\n" * 1_000)


SLOW_SCRIPTS = {
    "no response": send_nothing,
    "headers": drip(b"200 OK\r\n", b"X: y\r\n"),
    "body": drip(b"200 OK\r\nContent-Length: 50000\r\n\r\n", b"x"),
    "interim responses": drip(b"103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "chunk extension": drip(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x"),
    "trailers": drip(b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"T: y\r\n"),
    "tiny chunks": flood_with_tiny_chunks,
}


@pytest.mark.parametrize("script", [send_nothing, stop_in_body])
async def test_silent_host_times_out(script: Script) -> None:
    limits = replace(LIMITS, first_byte_s=0.2, total_s=NEVER_S)

    error, _ = await fail_to_fetch(script, limits)

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert error.message == "127.0.0.1 sent no data for 0.2 s."


@pytest.mark.parametrize("script", SLOW_SCRIPTS.values(), ids=SLOW_SCRIPTS)
async def test_slow_host_times_out(script: Script) -> None:
    limits = replace(LIMITS, first_byte_s=NEVER_S, total_s=0.4, max_bytes=10**9)

    error, _ = await fail_to_fetch(script, limits)

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert error.message == "127.0.0.1 did not send the whole image within 0.4 s."


async def test_total_timeout_includes_redirects() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await exchange.respond(b"", "302 Found", f"Location: {exchange.path}x")

    error, host = await fail_to_fetch(script, replace(LIMITS, total_s=0.5, max_redirects=1_000))

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert len(host.requests) <= 10


async def test_silent_dns_server_times_out() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    async with open_fetcher(limits=replace(LIMITS, connect_s=0.2), resolve=resolve) as fetcher:
        error = await fetch_error(fetcher, "http://images.test/")

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert error.message == "Could not connect to images.test within 0.2 s."


async def test_silent_tls_handshake_times_out() -> None:
    # The host expects plain HTTP and waits for the end of the headers.
    async with serve(send_image) as host, open_fetcher(limits=replace(LIMITS, connect_s=0.2)) as fetcher:
        error = await fetch_error(fetcher, host.url(scheme="https"))

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a listener that accepts no connection")
@pytest.mark.parametrize("ips", [("127.0.0.2",), ("127.0.0.2", "127.0.0.1")])
async def test_next_ip_address_is_tried_when_a_connection_times_out(ips: tuple[str, ...]) -> None:
    # Given a listener whose backlog is full at 127.0.0.2, and an image host at the same port of 127.0.0.1.
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
        host = ImageHost(send_image)
        server = await asyncio.start_server(host.accept, "127.0.0.1", port)

        result: bytes | FetchError
        async with open_fetcher(limits=replace(LIMITS, connect_s=0.4), resolve=resolve_to(*ips)) as fetcher:
            try:
                result = await fetcher.fetch(f"http://images.test:{port}/")
            except FetchError as error:
                result = error
        server.close()
        host.close_connections()
        for filler in fillers:
            filler.close()

    if len(ips) > 1:
        assert result == IMAGE
    else:
        assert isinstance(result, FetchError)
        assert (result.code, result.retryable) == (ImageErrorCode.TIMEOUT, True)
