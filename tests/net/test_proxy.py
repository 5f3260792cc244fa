"""Downloads through the proxy of `IMGPROC_FETCH_PROXY`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gql_imgproc.errors import ConfigurationError, ImageErrorCode
from gql_imgproc.net import checked_resolver
from gql_imgproc.net.fetch_errors import FetchError
from gql_imgproc.net.http_client import GuardedClient
from gql_imgproc.net.proxy import Proxy
from gql_imgproc.net.target import parse_target
from gql_imgproc.settings import load
from tests.net.test_canary import AMBIGUOUS, THIS_MACHINE, resolve_from_table
from tests.support.http_proxy import serve_proxy
from tests.support.image_host import (
    CLOSED,
    IMAGE,
    LIMITS,
    LOOPBACK,
    Exchange,
    fetch_error,
    open_fetcher,
    send_image,
    serve,
)


async def resolve_nothing(host: str, port: int) -> Sequence[str]:
    raise OSError("no DNS server")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_images_are_downloaded_through_the_proxy(
    tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext, loop: str
) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None

    async def fetch_twice_from_each() -> None:
        async with (
            serve_proxy() as proxy,
            serve(send_image) as plain,
            serve(send_image, tls=tls_server) as secure,
            open_fetcher(
                CLOSED,
                proxy=Proxy.parse(f"http://shop:p%40ss@127.0.0.1:{proxy.port}"),
                resolve=resolve_nothing,
                ssl_context=tls_trusting,
            ) as fetcher,
        ):
            # Each host gets two requests on one connection. Names need not resolve here.
            for _ in range(2):
                assert await fetcher.fetch(plain.url("/a.jpg", "images.test")) == IMAGE
                assert await fetcher.fetch(secure.url("/a.jpg", "images.test", "https")) == IMAGE

        assert (plain.connections, secure.connections) == (1, 1)
        assert proxy.lines == [
            f"GET http://images.test:{plain.port}/a.jpg HTTP/1.1",
            f"CONNECT images.test:{secure.port} HTTP/1.1",
        ]
        assert all("Proxy-Authorization: Basic c2hvcDpwQHNz\r\n" in head for head in proxy.heads)
        assert "Proxy-Authorization" not in secure.requests[0].head
        assert f"Host: images.test:{plain.port}" in plain.requests[0].head

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(fetch_twice_from_each())


async def test_proxy_is_asked_for_no_spelling_of_this_machine() -> None:
    async with serve_proxy() as proxy:
        options = {"proxy": Proxy("127.0.0.1", proxy.port, {}), "resolve": resolve_from_table}
        async with open_fetcher(CLOSED, **options) as fetcher:
            for scheme in ("http", "https"):
                for name in THIS_MACHINE:
                    error = await fetch_error(fetcher, f"{scheme}://{name}:8080/a.jpg")
                    assert error.code is ImageErrorCode.FORBIDDEN_ADDRESS, name
                for template in AMBIGUOUS:
                    error = await fetch_error(fetcher, template.replace("http:", f"{scheme}:").format(port=8080))
                    assert error.code is ImageErrorCode.UNREACHABLE, template
        async with open_fetcher(replace(CLOSED, allow_ports=frozenset({80})), **options) as fetcher:
            assert (await fetch_error(fetcher, "http://images.test:81/")).code is ImageErrorCode.FORBIDDEN_ADDRESS

    assert proxy.heads == []


async def test_client_checks_what_it_asks_the_proxy_for() -> None:
    async with serve_proxy() as proxy:
        client = GuardedClient(CLOSED, max_idle=1, proxy=Proxy("127.0.0.1", proxy.port, {}), resolve=resolve_from_table)
        for host in ("127.0.0.1", "one.test", "1.2.3.4.5"):
            with pytest.raises(Exception, match="not"):
                await client.request("GET", parse_target(f"http://{host}/"), {}, connect_s=2, read_s=2)
        await client.aclose()

    assert proxy.heads == []


async def test_redirect_through_the_proxy_is_checked() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(b"", "302 Found", "Location: http://127.0.0.1:8080/a.jpg")

    async with (
        serve_proxy() as proxy,
        serve(script) as host,
        open_fetcher(CLOSED, proxy=Proxy("127.0.0.1", proxy.port, {}), resolve=resolve_nothing) as fetcher,
    ):
        error = await fetch_error(fetcher, host.url("/a.jpg", "images.test"))

    assert error.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert len(proxy.heads) == 1


async def test_name_that_no_dns_server_answers_is_left_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_resolver, "PROXIED_LOOKUP_S", 0.05)

    async def resolve_never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    async with (
        serve_proxy() as proxy,
        serve(send_image) as host,
        open_fetcher(CLOSED, proxy=Proxy("127.0.0.1", proxy.port, {}), resolve=resolve_never) as fetcher,
    ):
        assert await fetcher.look_up([f"images.test:{host.port}"]) == set()
        assert await fetcher.fetch(host.url("/a.jpg", "images.test")) == IMAGE


async def download(scheme: str, port: int) -> FetchError:
    limits = replace(LIMITS, connect_s=0.5)
    async with open_fetcher(LOOPBACK, limits, proxy=Proxy("127.0.0.1", port, {}), resolve=resolve_nothing) as fetcher:
        return await fetch_error(fetcher, f"{scheme}://images.test/a.jpg")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_unreachable_proxy_is_named(scheme: str) -> None:
    async with serve_proxy() as proxy:
        port = proxy.port

    error = await download(scheme, port)

    assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert error.message == "Could not connect to images.test: the proxy of IMGPROC_FETCH_PROXY cannot be reached."


async def test_refusal_of_the_proxy_is_named() -> None:
    async with serve_proxy("407 Proxy Authentication Required") as proxy:
        plain, secure = await download("http", proxy.port), await download("https", proxy.port)

    assert (plain.http_status, plain.retryable) == (407, False)
    assert "The proxy of IMGPROC_FETCH_PROXY needs valid credentials." in plain.message
    assert (secure.code, secure.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert "the proxy of IMGPROC_FETCH_PROXY responded with status 407." in secure.message


async def test_proxy_that_does_not_answer_times_out() -> None:
    async def wait(exchange: Exchange) -> None:
        await asyncio.sleep(30)

    async with serve(wait) as proxy:
        error = await download("https", proxy.port)

    assert (error.code, error.retryable) == (ImageErrorCode.TIMEOUT, True)


@pytest.mark.parametrize(
    "value", ["https://proxy:3128", "proxy:3128", "http://", "http://proxy/path", "http://proxy:x"]
)
def test_invalid_proxy_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"IMGPROC_FETCH_PROXY: .* use `http://HOST:PORT`"):
        load(_env_file=None, fetch_proxy=value)
    assert "secret" not in repr(Proxy.parse("http://user:secret@proxy"))
