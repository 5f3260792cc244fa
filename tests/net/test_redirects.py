"""Redirects of image hosts."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import ImageErrorCode
from tests.support.image_host import IMAGE, Exchange, fail_to_fetch, fetch_error, open_fetcher, serve


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_five_redirects_are_followed_and_a_sixth_is_not(status: int) -> None:
    async def script(exchange: Exchange) -> None:
        left = int(exchange.path.strip("/"))
        if left:
            await exchange.respond(b"moved", f"{status} Moved", f"Location: /{left - 1}")
        else:
            await exchange.respond()

    async with serve(script) as host, open_fetcher() as fetcher:
        body = await fetcher.fetch(host.url("/5"))
        error = await fetch_error(fetcher, host.url("/6"))

    assert body == IMAGE
    assert (error.code, error.retryable) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert len(host.requests) == 6 + 6


async def test_redirect_loop_is_detected_at_once() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "302 Found", f"Location: {'/b' if exchange.path == '/a' else '/a#x'}")

    error, host = await fail_to_fetch(script, path="/a")

    assert (error.code, error.retryable) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert error.message == "127.0.0.1 redirects in a loop."
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
async def test_relative_and_unencoded_locations_are_followed(location: str, path: str) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/a/b.jpg":
            await exchange.respond(b"", "302 Found", f"Location: {location.format(port=exchange.host.port)}")
        else:
            await exchange.respond()

    async with serve(script) as host, open_fetcher() as fetcher:
        assert await fetcher.fetch(host.url("/a/b.jpg")) == IMAGE

    assert host.requests[1].path == path


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
async def test_redirect_to_a_malformed_url_fails_permanently(location: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "302 Found", f"Location: {location}")

    error, host = await fail_to_fetch(script)

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, False)
    assert error.message.startswith("The URL redirects to another URL.")
    assert host.connections == 1
