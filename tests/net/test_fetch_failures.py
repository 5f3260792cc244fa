"""Every kind of download error, each caused by a real host."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net import host_categories
from gql_imgproc.net.fetch_errors import FetchError, FetchErrorKind
from gql_imgproc.net.host_categories import HostCategory
from tests.support.image_host import (
    CLOSED,
    LIMITS,
    LOOPBACK,
    Exchange,
    Script,
    fetch_error,
    open_fetcher,
    resolve_to,
    send_image,
    send_nothing,
    serve,
)

SHORT_TIMEOUTS = replace(LIMITS, connect_s=0.2, first_byte_s=0.2)
Failure = Callable[[], Awaitable[FetchError]]


def response(status: str, *headers: str, body: bytes = b"x") -> Failure:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(body, status, *headers)

    return download(script)


def download(script: Script = send_image, *, path: str = "/a.jpg", **options: object) -> Failure:
    async def fail() -> FetchError:
        async with serve(script) as host, open_fetcher(**{"limits": SHORT_TIMEOUTS, **options}) as fetcher:  # type: ignore[arg-type]
            return await fetch_error(fetcher, path if "://" in path else host.url(path))

    return fail


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def truncate(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nabc")
    exchange.close()


async def fail_to_resolve(host: str, port: int) -> Sequence[str]:
    raise OSError


async def resolve_slowly(host: str, port: int) -> Sequence[str]:
    await asyncio.sleep(30)
    return []


async def download_from_a_closed_port() -> FetchError:
    async with serve(send_image) as closed:
        url = closed.url()
    async with open_fetcher() as fetcher:
        return await fetch_error(fetcher, url)


async def download_beyond_the_limit_of_a_host() -> FetchError:
    limits = replace(LIMITS, per_host=1, limiter_wait_s=0.1)
    async with serve(send_nothing) as host, open_fetcher(limits=limits) as fetcher:
        first = asyncio.create_task(fetcher.fetch(host.url()))
        await asyncio.sleep(0.02)
        error = await fetch_error(fetcher, host.url())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return error


#: A download that fails with each kind of error, and a part of its message: several kinds share a code.
FAILURES: dict[FetchErrorKind, tuple[Failure, str]] = {
    FetchErrorKind.URL_INVALID: (download(path="http://user@127.0.0.1/"), "contains a user name"),
    FetchErrorKind.HOST_FORBIDDEN: (download(policy=CLOSED), "belongs to this machine"),
    FetchErrorKind.NAME_NOT_RESOLVED: (
        download(path="http://images.test/", resolve=fail_to_resolve),
        "cannot be resolved",
    ),
    FetchErrorKind.NOT_CONNECTED: (
        download_from_a_closed_port,
        "Could not connect to 127.0.0.1. Check the URL, or retry when the host is available.",
    ),
    FetchErrorKind.CONNECT_TIMEOUT: (
        download(path="http://images.test/", resolve=resolve_slowly),
        "Could not connect to images.test within 0.2 s",
    ),
    FetchErrorKind.READ_TIMEOUT: (download(send_nothing), "sent no data for 0.2 s"),
    FetchErrorKind.TOTAL_TIMEOUT: (
        download(drip, limits=replace(LIMITS, total_s=0.2)),
        "did not send the whole image within 0.2 s",
    ),
    FetchErrorKind.LIMITER_TIMEOUT: (download_beyond_the_limit_of_a_host, "could not start within 0.1 s"),
    FetchErrorKind.RESPONSE_BROKEN: (download(truncate), "closed the connection"),
    FetchErrorKind.RESPONSE_EMPTY: (response("200 OK", body=b""), "empty response"),
    FetchErrorKind.STATUS_RETRYABLE: (response("503 Busy"), "status 503"),
    FetchErrorKind.STATUS_PERMANENT: (response("404 Not Found"), "status 404"),
    FetchErrorKind.TOO_MANY_REDIRECTS: (response("302 Found", "Location: /a.jpg"), "in a loop"),
    FetchErrorKind.CONTENT_ENCODED: (response("200 OK", "Content-Encoding: br"), "as incomplete br data"),
    FetchErrorKind.SHARE_LINK: (download(path="https://drive.google.com/drive/folders/1"), "leads to a folder"),
    FetchErrorKind.TOO_LARGE: (response("200 OK", body=b"x" * (LIMITS.max_bytes + 1)), "larger than the limit"),
}


@pytest.mark.parametrize("kind", [kind for kind in FetchErrorKind if kind is not FetchErrorKind.TLS_FAILED])
async def test_failure_has_the_code_of_its_kind_and_is_counted(kind: FetchErrorKind) -> None:
    fail, message = FAILURES[kind]
    before = downloads(kind.name)

    error = await fail()

    assert message in error.message
    assert (error.code, error.retryable) == (kind.value.code, kind.value.retryable)
    assert sum(downloads(kind.name).values()) == sum(before.values()) + 1


async def test_invalid_certificate_is_permanent_and_counted(tls_server: ssl.SSLContext) -> None:
    kind = FetchErrorKind.TLS_FAILED
    before = downloads(kind.name)

    async with (
        serve(send_image, tls=tls_server) as host,
        open_fetcher(LOOPBACK, resolve=resolve_to("127.0.0.1")) as fetcher,
    ):
        error = await fetch_error(fetcher, host.url("/", "images.test", "https"))

    assert error.message.startswith("TLS with images.test failed: certificate of an unknown authority (self-signed")
    assert (error.code, error.retryable) == (kind.value.code, kind.value.retryable)
    assert sum(downloads(kind.name).values()) == sum(before.values()) + 1


def downloads(result: str) -> dict[HostCategory, float]:
    """The number of downloads with this result, by the category of their host."""
    return {
        category: REGISTRY.get_sample_value(
            "imgproc_downloads_total", {"host_category": category.value, "result": result}
        )
        or 0
        for category in HostCategory
    }


def increased(before: dict[HostCategory, float], after: dict[HostCategory, float]) -> list[HostCategory]:
    return [category for category in HostCategory if after[category] > before[category]]


async def test_downloads_are_counted_by_host_category() -> None:
    async with serve(send_image) as host:
        before = downloads("OK")
        async with open_fetcher(LOOPBACK) as fetcher:
            await fetcher.fetch(host.url())
            # Over the kept-alive connection.
            await fetcher.fetch(host.url("/b.jpg"))
        assert increased(before, downloads("OK")) == [HostCategory.ALLOWED_PRIVATE]
        assert sum(downloads("OK").values()) == sum(before.values()) + 2

        before = downloads("HOST_FORBIDDEN")
        async with open_fetcher(CLOSED, resolve=resolve_to("127.0.0.1")) as fetcher:
            await fetch_error(fetcher, host.url("/", "images.test"))
        assert increased(before, downloads("HOST_FORBIDDEN")) == [HostCategory.UNKNOWN]


def test_host_is_public_if_all_its_ip_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_categories, "MAX_HOSTS", 2)
    categories = host_categories.HostCategories()

    categories.record("public", ["93.184.216.34", "2606:2800:220:1::1"])
    categories.record("mixed", ["93.184.216.34", "10.0.0.1"])

    assert [categories.get(host) for host in ("public", "mixed", "never resolved")] == list(HostCategory)
    categories.record("third", ["10.0.0.2"])
    assert categories.get("public") is HostCategory.UNKNOWN


def test_fetch_errors_use_all_codes_of_downloads() -> None:
    others = {"UNSUPPORTED_FORMAT", "CORRUPT", "OPTIONS_IMPOSSIBLE", "HOST_OVERLOADED", "WORKER_CRASHED", "INTERNAL"}

    assert {kind.value.code for kind in FetchErrorKind} == set(ImageErrorCode) - others
