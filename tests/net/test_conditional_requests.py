"""Downloads that transfer no body when the host still has the known bytes."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net.validators import NO_VALIDATORS, Validators
from tests.support.image_host import IMAGE, Exchange, fetch_error, open_fetcher, serve

DATE = "Date: Mon, 30 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "etag", "last_modified"),
    [
        (['ETag: "abc"'], '"abc"', None),
        (['ETag: W/"abc"'], 'W/"abc"', None),
        # As many hosts write it.
        (["ETag: 5f3c-a1"], "5f3c-a1", None),
        (['ETag: "a b"'], None, None),
        ([f'ETag: "{"x" * 255}"'], None, None),
        ([DATE, "Last-Modified: Mon, 30 Nov 2026 11:58:00 GMT"], None, "Mon, 30 Nov 2026 11:58:00 GMT"),
        # It may have changed again within the second.
        ([DATE, "Last-Modified: Mon, 30 Nov 2026 11:59:30 GMT"], None, None),
        ([DATE, "Last-Modified: Tue, 01 Dec 2026 11:59:30 GMT"], None, None),
        ([DATE, "Last-Modified: yesterday"], None, None),
        ([], None, None),
    ],
)
async def test_validators_of_a_response(headers: list[str], etag: str | None, last_modified: str | None) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(IMAGE, "200 OK", *headers)

    async with serve(script) as host, open_fetcher() as fetcher:
        download = await fetcher.fetch_if_changed(host.url(), NO_VALIDATORS)

    assert (download.data, download.is_unchanged) == (IMAGE, False)
    assert download.validators == Validators(etag, last_modified)


async def test_unchanged_bytes_are_not_sent_again() -> None:
    known = Validators('"abc"', "Mon, 30 Nov 2026 11:58:00 GMT")

    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "304 Not Modified", "Content-Length: 0")

    async with serve(script) as host, open_fetcher() as fetcher:
        downloads = [await fetcher.fetch_if_changed(host.url(), known) for _ in range(2)]

    assert [(download.data, download.is_unchanged, download.validators) for download in downloads] == [
        (b"", True, known)
    ] * 2
    heads = [exchange.head for exchange in host.requests]
    assert all('If-None-Match: "abc"\r\nIf-Modified-Since: Mon, 30 Nov 2026 11:58:00 GMT\r\n' in head for head in heads)
    assert (len(heads), host.connections) == (2, 1)


async def test_validators_are_not_used_across_a_redirect() -> None:
    # Given a URL that leads to another, older file than before,
    known = Validators(None, "Mon, 30 Nov 2026 11:58:00 GMT")

    async def script(exchange: Exchange) -> None:
        if exchange.path == "/latest.jpg":
            await exchange.respond(b"", "302 Found", "Location: /older.jpg")
        else:
            await exchange.respond(IMAGE, "200 OK", 'ETag: "older"')

    # when it is downloaded again,
    async with serve(script) as host, open_fetcher() as fetcher:
        download = await fetcher.fetch_if_changed(host.url("/latest.jpg"), known)

    # then that file is not asked whether it changed since.
    assert (download.data, download.validators) == (IMAGE, NO_VALIDATORS)
    assert ["If-Modified-Since" in exchange.head for exchange in host.requests] == [True, False]


async def test_changed_bytes_are_downloaded() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(IMAGE, "200 OK", 'ETag: "new"')

    async with serve(script) as host, open_fetcher() as fetcher:
        download = await fetcher.fetch_if_changed(host.url(), Validators('"old"'))

    assert (download.data, download.validators) == (IMAGE, Validators('"new"'))


async def test_304_to_an_unconditional_request_is_an_error() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "304 Not Modified", "Content-Length: 0")

    async with serve(script) as host, open_fetcher() as fetcher:
        error = await fetch_error(fetcher, host.url())

    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_STATUS, 304)
    assert "If-None-Match" not in host.requests[0].head
