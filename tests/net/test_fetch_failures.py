"""Every row of the table of faults, by a host that brings it about."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.net import host_categories
from gql_imgproc.net.fetch_errors import FetchErrorKind
from gql_imgproc.net.host_categories import HostClass
from tests.support.image_host import (
    CLOSED,
    LIMITS,
    LOOPBACK,
    Exchange,
    Host,
    failure_of,
    fetching,
    picture,
    resolving,
    serving,
)

HASTY = replace(LIMITS, connect_s=0.2, first_byte_s=0.2)


def answering(status: str, *headers: str, body: bytes = b"x") -> Callable[[], Awaitable[ImageError]]:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(body, status, *headers)

    return asking(script)


def asking(
    script: Callable[[Exchange], Awaitable[None]] = picture, *, path: str = "/a.jpg", **options: object
) -> Callable[[], Awaitable[ImageError]]:
    async def story() -> ImageError:
        async with serving(script) as host, fetching(**{"limits": HASTY, **options}) as fetcher:  # type: ignore[arg-type]
            return await failure_of(fetcher, path if "://" in path else host.url(path))

    return story


async def silence(exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def cut(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
    exchange.close()


async def never_resolved(host: str, port: int) -> Sequence[str]:
    raise OSError


async def slowly_resolved(host: str, port: int) -> Sequence[str]:
    await asyncio.sleep(30)
    return []


async def nobody_listens() -> ImageError:
    async with serving(picture) as gone:
        url = gone.url()
    async with fetching() as fetcher:
        return await failure_of(fetcher, url)


async def no_turn() -> ImageError:
    limits = replace(LIMITS, per_host=1, slot_wait_s=0.1)
    async with serving(silence) as host, fetching(limits=limits) as fetcher:
        first = asyncio.create_task(fetcher.fetch(host.url()))
        await asyncio.sleep(0.02)
        failure = await failure_of(fetcher, host.url())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return failure


BROUGHT_ABOUT: dict[FetchErrorKind, Callable[[], Awaitable[ImageError]]] = {
    FetchErrorKind.ADDRESS_UNREADABLE: asking(path="http://user@127.0.0.1/"),
    FetchErrorKind.ADDRESS_FORBIDDEN: asking(policy=CLOSED),
    FetchErrorKind.NAME_UNKNOWN: asking(path="http://pictures.test/", resolve=never_resolved),
    FetchErrorKind.NOT_CONNECTED: nobody_listens,
    FetchErrorKind.CONNECT_TIMEOUT: asking(path="http://pictures.test/", resolve=slowly_resolved),
    FetchErrorKind.SILENT: asking(silence),
    FetchErrorKind.TOO_SLOW: asking(drip, limits=replace(LIMITS, total_s=0.2)),
    FetchErrorKind.NO_TURN: no_turn,
    FetchErrorKind.BROKEN_ANSWER: asking(cut),
    FetchErrorKind.EMPTY_ANSWER: answering("200 OK", body=b""),
    FetchErrorKind.STATUS_TEMPORARY: answering("503 Busy"),
    FetchErrorKind.STATUS_PERMANENT: answering("404 Not Found"),
    FetchErrorKind.TOO_MANY_REDIRECTS: answering("302 Found", "Location: /a.jpg"),
    FetchErrorKind.CONTENT_ENCODED: answering("200 OK", "Content-Encoding: gzip"),
    FetchErrorKind.TOO_LARGE: answering("200 OK", body=b"x" * (LIMITS.max_bytes + 1)),
}
#: Told apart by their sentences, because several share a code.
SENTENCES = {
    FetchErrorKind.ADDRESS_UNREADABLE: "carries a user name",
    FetchErrorKind.ADDRESS_FORBIDDEN: "belongs to this machine",
    FetchErrorKind.NAME_UNKNOWN: "cannot be resolved",
    FetchErrorKind.NOT_CONNECTED: "could not be connected to.",
    FetchErrorKind.CONNECT_TIMEOUT: "could not be connected to in 0.2 s",
    FetchErrorKind.CERTIFICATE_INVALID: "TLS certificate",
    FetchErrorKind.SILENT: "was silent for 0.2 s",
    FetchErrorKind.TOO_SLOW: "did not send the whole picture within 0.2 s",
    FetchErrorKind.NO_TURN: "could begin within 0.1 s",
    FetchErrorKind.BROKEN_ANSWER: "broke the connection",
    FetchErrorKind.EMPTY_ANSWER: "empty answer",
    FetchErrorKind.STATUS_TEMPORARY: "status 503",
    FetchErrorKind.STATUS_PERMANENT: "status 404",
    FetchErrorKind.TOO_MANY_REDIRECTS: "in a circle",
    FetchErrorKind.CONTENT_ENCODED: "Content-Encoding 'gzip'",
    FetchErrorKind.TOO_LARGE: "larger than the limit",
}


@pytest.mark.parametrize("fault", list(FetchErrorKind))
def test_a_fault_is_called_what_the_table_says(fault: FetchErrorKind, request: pytest.FixtureRequest) -> None:
    before = downloads(fault.name)
    if fault is FetchErrorKind.CERTIFICATE_INVALID:
        failure = asyncio.run(untrusted(request.getfixturevalue("tls_server")))
    else:
        failure = asyncio.run(BROUGHT_ABOUT[fault]())  # type: ignore[arg-type]

    assert SENTENCES[fault] in failure.message
    assert (failure.code, failure.retryable) == (fault.value.code, fault.value.retryable)
    assert sum(downloads(fault.name).values()) == sum(before.values()) + 1


def downloads(result: str) -> dict[HostClass, float]:
    """How many ended like this, by the class of their host."""
    return {
        host_class: REGISTRY.get_sample_value(
            "imgproc_downloads_total", {"host_class": host_class.value, "result": result}
        )
        or 0
        for host_class in HostClass
    }


def grown(before: dict[HostClass, float], after: dict[HostClass, float]) -> list[HostClass]:
    return [host_class for host_class in HostClass if after[host_class] > before[host_class]]


async def test_downloads_are_counted_by_the_kind_of_host_not_by_host() -> None:
    async with serving(picture) as host:
        before = downloads("OK")
        async with fetching(LOOPBACK) as fetcher:
            await fetcher.fetch(host.url())
            # Over the connection that is kept.
            await fetcher.fetch(host.url("/b.jpg"))
        assert grown(before, downloads("OK")) == [HostClass.ALLOWED_PRIVATE]
        assert sum(downloads("OK").values()) == sum(before.values()) + 2

        before = downloads("ADDRESS_FORBIDDEN")
        async with fetching(CLOSED, resolve=resolving("127.0.0.1")) as fetcher:
            await failure_of(fetcher, host.url("/", "pictures.test"))
        assert grown(before, downloads("ADDRESS_FORBIDDEN")) == [HostClass.UNKNOWN]


def test_a_host_is_public_when_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_categories, "REMEMBERED", 2)
    classes = host_categories.HostCategories()

    classes.note("public", ["93.184.216.34", "2606:2800:220:1::1"])
    classes.note("mixed", ["93.184.216.34", "10.0.0.1"])

    assert [classes.of(host) for host in ("public", "mixed", "never asked")] == list(HostClass)
    classes.note("third", ["10.0.0.2"])
    assert classes.of("public") is HostClass.UNKNOWN


async def untrusted(server_side: ssl.SSLContext) -> ImageError:
    async with serving(picture, tls=server_side) as host, fetching(LOOPBACK, resolve=resolving("127.0.0.1")) as fetcher:
        return await failure_of(fetcher, host.url("/", "pictures.test", "https"))


# The bytes are the truth about what they are, not what the host says of them.


@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "", "image/png; charset=utf-8", "x"])
def test_what_a_host_calls_a_picture_is_not_looked_at(media_type: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"GIF89a", "200 OK", f"Content-Type: {media_type}")

    async def story() -> tuple[bytes, Host]:
        async with serving(script) as host, fetching() as fetcher:
            return await fetcher.fetch(host.url()), host

    assert asyncio.run(story())[0] == b"GIF89a"


def test_the_codes_of_the_table_are_those_of_fetching() -> None:
    others = {"UNSUPPORTED_FORMAT", "CORRUPT", "OPTIONS_IMPOSSIBLE", "WORKER_CRASHED", "INTERNAL"}

    assert {fault.value.code for fault in FetchErrorKind} == set(ImageErrorCode) - others
