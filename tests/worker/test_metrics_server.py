"""The figures of a worker process: one page on a port of its own, whoever asks, and however."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.worker import metrics_server
from gql_imgproc.worker.metrics_server import listen
from tests.acceptance.test_observability import free_port


async def exchange(port: int, *sent: bytes) -> bytes:
    """All that is answered until the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in sent:
        writer.write(part)
        await writer.drain()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def listening(story: Callable[[int], Awaitable[None]]) -> None:
    async def play() -> None:
        port = free_port()
        server = await listen("127.0.0.1", port)
        async with server:
            await story(port)

    asyncio.run(play())


def test_it_shows_what_the_process_counts_and_nothing_else() -> None:
    async def story(port: int) -> None:
        page = await exchange(port, b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n")
        elsewhere = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        changed = await exchange(port, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

        head, _, body = page.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;")
        assert b"imgproc_products_claimed_total " in body
        # Those about the whole service are the API's: it alone is asked for them.
        assert b"imgproc_requests_open" not in body
        assert elsewhere.startswith(b"HTTP/1.1 404 ")
        assert changed.startswith(b"HTTP/1.1 405 ")

    listening(story)


def test_whoever_is_slow_or_sends_too_much_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "EXCHANGE_SECONDS", 0.2)

    async def story(port: int) -> None:
        silent = [exchange(port, b"GET /metr") for _ in range(3 * metrics_server.MAX_EXCHANGES)]
        large = exchange(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000)

        async with asyncio.timeout(5):
            answers = await asyncio.gather(*silent, large)

        assert set(answers) == {b""}
        assert (await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    listening(story)


async def test_each_process_takes_the_next_port_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(together=3)
    with socket.create_server(("127.0.0.1", port + 1)):
        async with await listen("127.0.0.1", port), await listen("127.0.0.1", port):
            assert (await exchange(port, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert (await exchange(port + 2, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

            monkeypatch.setattr(metrics_server, "PORTS", 3)
            with pytest.raises(ConfigurationError, match=f"no port from {port} on is free on 127.0.0.1"):
                await listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ConfigurationError, match="Check IMGPROC_METRICS_HOST"):
        asyncio.run(listen("192.0.2.1", 9191))
