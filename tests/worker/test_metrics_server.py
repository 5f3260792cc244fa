"""The metrics server of a worker process: one page, on a port of its own."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.worker import metrics_server
from gql_imgproc.worker.metrics_server import listen
from tests.support.free_port import free_port


async def exchange(port: int, *parts: bytes) -> bytes:
    """Sends a request; everything that is received until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a running metrics server."""
    port = free_port()
    async with await listen("127.0.0.1", port):
        yield port


async def test_metrics_page_has_the_metrics_of_this_process_only(port: int) -> None:
    page = await exchange(port, b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n")
    other_path = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    other_method = await exchange(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;")
    assert b"imgproc_images_claimed_total " in body
    # A rate needs a value before the first event.
    assert re.findall(rb'imgproc_leases_lost_total{work="(.*)"}', page) == [b"image", b"request"]
    # Only the API serves the metrics of the whole service.
    assert b"imgproc_requests_open" not in body
    assert other_path.startswith(b"HTTP/1.1 404 ")
    assert other_method.startswith(b"HTTP/1.1 405 ")


async def test_slow_or_oversized_metrics_requests_are_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "EXCHANGE_SECONDS", 0.2)
    silent = [exchange(port, b"GET /metr") for _ in range(3 * metrics_server.MAX_EXCHANGES)]
    large = exchange(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000)

    async with asyncio.timeout(30):
        responses = await asyncio.gather(*silent, large)

    assert set(responses) == {b""}
    assert (await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_each_process_uses_the_next_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(together=3)
    with socket.create_server(("127.0.0.1", port + 1)):
        async with await listen("127.0.0.1", port), await listen("127.0.0.1", port):
            assert (await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert (await exchange(port + 2, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

            monkeypatch.setattr(metrics_server, "PORTS", 3)
            with pytest.raises(ConfigurationError, match=f"no port from {port} on is free on 127.0.0.1"):
                await listen("127.0.0.1", port)


async def test_ip_address_of_another_machine_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="Check IMGPROC_METRICS_HOST"):
        await listen("192.0.2.1", 9191)
