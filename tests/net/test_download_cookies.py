"""Cookies live for one download, over its redirects, within one host."""

from __future__ import annotations

import re
import ssl

import pytest

from gql_imgproc.errors import ImageErrorCode
from tests.support.image_host import IMAGE, Exchange, fail_to_fetch, open_fetcher, resolve_to, serve


def cookie(exchange: Exchange) -> str:
    found = re.search(r"^Cookie: (.*)\r$", exchange.head, re.MULTILINE)
    return found[1] if found else ""


async def send_image_for_a_cookie(exchange: Exchange) -> None:
    if cookie(exchange) == "seen=1":
        await exchange.respond()
    else:
        await exchange.respond(b"", "302 Found", f"Location: {exchange.path}", "Set-Cookie: seen=1; Path=/; HttpOnly")


async def test_redirect_to_the_same_url_with_a_new_cookie_is_no_loop() -> None:
    async with serve(send_image_for_a_cookie) as host, open_fetcher() as fetcher:
        # The second download begins without cookies.
        assert await fetcher.fetch(host.url()) == await fetcher.fetch(host.url()) == IMAGE

    assert [cookie(exchange) for exchange in host.requests] == ["", "seen=1", "", "seen=1"]


async def test_redirect_to_the_same_url_with_the_same_cookie_is_a_loop() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "302 Found", "Location: /a.jpg", "Set-Cookie: a=b")

    error, host = await fail_to_fetch(script)

    assert error.code is ImageErrorCode.TOO_MANY_REDIRECTS
    assert error.message == "127.0.0.1 redirects in a loop."
    assert [cookie(exchange) for exchange in host.requests] == ["", "a=b"]


async def test_endless_new_cookies_end_at_the_limit_of_redirects() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "302 Found", "Location: /a.jpg", f"Set-Cookie: n={len(exchange.host.requests)}")

    error, host = await fail_to_fetch(script)

    assert error.code is ImageErrorCode.TOO_MANY_REDIRECTS
    assert [cookie(exchange) for exchange in host.requests] == ["", "n=1", "n=2", "n=3", "n=4", "n=5"]


async def test_hosts_do_not_share_cookies() -> None:
    # Given cookies of one host for its whole domain, and a redirect to its neighbour and back.
    async def script(exchange: Exchange) -> None:
        urls = {"/1": "http://b.shop.test:{}/2", "/2": "http://a.shop.test:{}/3"}
        if url := urls.get(exchange.path):
            headers = ("Set-Cookie: a=b; Domain=shop.test", "Set-Cookie: c=d; Expires=Wed, 01 Jan 2098 00:00:00 GMT")
            await exchange.respond(b"", "302 Found", f"Location: {url.format(exchange.host.port)}", *headers)
        else:
            await exchange.respond()

    async with serve(script) as host, open_fetcher(resolve=resolve_to("127.0.0.1")) as fetcher:
        assert await fetcher.fetch(host.url("/1", "a.shop.test")) == IMAGE

    assert [cookie(exchange) for exchange in host.requests] == ["", "", "a=b; c=d"]


async def test_secure_cookie_is_not_sent_without_tls(tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext) -> None:
    async with serve(send_image_for_a_cookie) as plain:

        async def redirect(exchange: Exchange) -> None:
            await exchange.respond(
                b"", "302 Found", f"Location: {plain.url('/a.jpg', 'images.test')}", "Set-Cookie: seen=1; Secure"
            )

        async with (
            serve(redirect, tls=tls_server) as secure,
            open_fetcher(resolve=resolve_to("127.0.0.1"), ssl_context=tls_trusting) as fetcher,
        ):
            assert await fetcher.fetch(secure.url("/a.jpg", "images.test", "https")) == IMAGE

    assert [cookie(exchange) for exchange in plain.requests] == ["", "seen=1"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "=",
        ";;;",
        "a",
        "=b",
        "a=b; Expires=x",
        "a=b; Max-Age=x",
        "ä=ö",
        "a=\x01",
        "a=b; Domain=..",
        "a=" + "x" * 9_000,
    ],
)
async def test_any_cookie_is_stored_or_ignored(header: str) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/b.jpg":
            await exchange.respond()
        else:
            await exchange.send(
                b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /b.jpg\r\nSet-Cookie: ",
                header.encode(),
                b"\r\n\r\n",
            )

    async with serve(script) as host, open_fetcher() as fetcher:
        assert await fetcher.fetch(host.url()) == IMAGE


async def test_expired_cookie_is_deleted() -> None:
    async def script(exchange: Exchange) -> None:
        match exchange.path:
            case "/a.jpg":
                await exchange.respond(b"", "302 Found", "Location: /b.jpg", "Set-Cookie: a=b; Path=/")
            case "/b.jpg":
                await exchange.respond(b"", "302 Found", "Location: /c.jpg", "Set-Cookie: a=; Path=/; Max-Age=0")
            case _:
                await exchange.respond()

    async with serve(script) as host, open_fetcher() as fetcher:
        assert await fetcher.fetch(host.url()) == IMAGE

    assert [cookie(exchange) for exchange in host.requests] == ["", "a=b", ""]
