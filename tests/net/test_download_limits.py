"""Concurrent downloads per host and idle connections are limited."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from dataclasses import replace

import pytest

from gql_imgproc.errors import ImageErrorCode
from tests.support.image_host import (
    IMAGE,
    LIMITS,
    Exchange,
    fetch_error,
    open_fetcher,
    resolve_to,
    send_image,
    send_nothing,
    serve,
)


async def test_downloads_are_limited_per_host() -> None:
    # Given hosts whose every response waits until as many downloads as possible have started.
    in_flight: Counter[str] = Counter()
    peak = Counter[str]()
    full = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        in_flight[exchange.path] += 1
        peak[exchange.path] = max(peak[exchange.path], in_flight[exchange.path])
        if in_flight.total() == 6:
            full.set()
        await full.wait()
        await asyncio.sleep(0.01)
        in_flight[exchange.path] -= 1
        await exchange.respond()

    limits = replace(LIMITS, per_host=3)
    async with serve(script) as host, open_fetcher(limits=limits, resolve=resolve_to("127.0.0.1")) as fetcher:
        # When eight images of each of two hosts are downloaded at once.
        names = ["a.test", "b.test"] * 8
        await asyncio.gather(*(fetcher.fetch(host.url(f"/{name}", name)) for name in names))

        # Then the limit was reached and not exceeded, and no host is remembered.
        assert len(fetcher._hosts) == 0
    assert peak == {"/a.test": 3, "/b.test": 3}


async def test_slow_host_does_not_block_other_hosts() -> None:
    async def script(exchange: Exchange) -> None:
        await (send_nothing(exchange) if exchange.path == "/slow" else exchange.respond())

    limits = replace(LIMITS, per_host=2, first_byte_s=60.0, total_s=60.0)
    async with serve(script) as host, open_fetcher(limits=limits, resolve=resolve_to("127.0.0.1")) as fetcher:
        slow = [asyncio.create_task(fetcher.fetch(host.url("/slow", "slow.test"))) for _ in range(20)]
        await asyncio.sleep(0.05)

        for _ in range(5):
            assert await fetcher.fetch(host.url("/", "quick.test")) == IMAGE

        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_waiting_for_the_limits_times_out() -> None:
    limits = replace(LIMITS, per_host=1, limiter_wait_s=0.2)
    async with serve(send_nothing) as host, open_fetcher(limits=limits) as fetcher:
        first = asyncio.create_task(fetcher.fetch(host.url()))
        await asyncio.sleep(0.02)

        error = await fetch_error(fetcher, host.url())

        requests = len(host.requests)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)
    assert error.message == (
        "The download from 127.0.0.1 could not start within 0.2 s: too many downloads are in progress."
    )
    assert requests == 1


async def test_waiting_for_the_limits_does_not_count_towards_the_total_timeout() -> None:
    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(0.25)
        await exchange.respond()

    limits = replace(LIMITS, per_host=1, total_s=1.0)
    async with serve(script) as host, open_fetcher(limits=limits) as fetcher:
        assert await asyncio.gather(*(fetcher.fetch(host.url()) for _ in range(5))) == [IMAGE] * 5


async def test_cancelled_download_releases_its_connection_and_its_limits() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/slow":
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
            await asyncio.sleep(30)
        await exchange.respond()

    limits = replace(LIMITS, max_idle=2, per_host=2)
    async with serve(script) as host, open_fetcher(limits=limits) as fetcher:
        for _ in range(3):
            tasks = [asyncio.create_task(fetcher.fetch(host.url("/slow"))) for _ in range(4)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        # A place that was not released would let this wait for `limiter_wait_s`, and fail.
        assert await fetcher.fetch(host.url()) == IMAGE
        assert fetcher._client is not None
        assert len(fetcher._client._idle) == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelled_download_leaves_no_task_and_no_socket(
    tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext, scheme: str, sent: bytes
) -> None:
    # Given a download from a host that has sent a part of its response.
    before = asyncio.all_tasks()
    waiting = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(sent)
        waiting.set()

    async with (
        serve(script, tls=tls_server if scheme == "https" else None) as host,
        open_fetcher(resolve=resolve_to("127.0.0.1"), ssl_context=tls_trusting) as fetcher,
    ):
        download = asyncio.create_task(fetcher.fetch(host.url("/", "images.test", scheme)))
        await waiting.wait()
        await asyncio.sleep(0.02)

        # When it is cancelled.
        download.cancel()
        await asyncio.gather(download, return_exceptions=True)
        await asyncio.sleep(0.02)

        # Then nothing remains.
        assert (host.connections, host.open) == (1, 0)
        assert asyncio.all_tasks() == before


async def test_surplus_and_old_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql_imgproc.net.http_client.KEEPALIVE_S", 0.1)

    limits = replace(LIMITS, max_idle=2, per_host=2)
    async with serve(send_image) as host, open_fetcher(limits=limits, resolve=resolve_to("127.0.0.1")) as fetcher:
        for number in range(6):
            await fetcher.fetch(host.url("/", f"host{number}.test"))
        await asyncio.sleep(0.02)
        assert (host.connections, host.open) == (6, 2)

        await asyncio.sleep(0.15)
        await fetcher.fetch(host.url("/", "host5.test"))
        await asyncio.sleep(0.02)
        assert (host.connections, host.open) == (7, 1)
