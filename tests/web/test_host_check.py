"""Names under which a service on loopback answers, and pages of which other places may talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gql_imgproc.settings import Settings
from gql_imgproc.web.host_check import host_in, is_this_machine
from tests.graphql.client import served

ROUTES = (
    "/",
    "/graphql",
    "/healthz",
    "/readyz",
    "/metrics",
    "/nothing",
    "/api/download/x",
    "/api/image/x",
    "/static/x",
)
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: graphql-transport-ws",
)


class Answer:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)

    @property
    def told(self) -> Any:
        return json.loads(self.body)


async def ask(address: str, target: str, *headers: str, version: str = "1.1") -> Answer:
    """The answer to exactly this request, as no client would send it."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    closing = () if UPGRADE[0] in headers else ("Connection: close",)
    writer.write("\r\n".join((f"GET {target} HTTP/{version}", *headers, *closing, "", "")).encode("latin-1"))
    try:
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            return Answer(head if b" 101 " in head else head + await reader.read())
    finally:
        writer.close()


@pytest.fixture
def on_loopback(settings: Settings) -> Callable[[Callable[[str], Awaitable[None]]], None]:
    """Plays a story against the application as it is served on loopback."""

    def run(story: Callable[[str], Awaitable[None]]) -> None:
        async def play() -> None:
            async with served(settings, loopback_only=True) as (address, _):
                await story(address)

        asyncio.run(play())

    return run


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8000", "localhost"),
        ("localhost.:8000", "localhost"),
        ("127.0.0.1:", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        (" localhost ", "localhost"),
        ("", None),
        (".", None),
        (":8000", None),
        ("[::1", None),
        ("::1", None),
        ("localhost:80a", None),
        ("localhost:800000", None),
        ("localhost, evil.example", None),
        ("localhost@evil.example", None),
        ("evil.example/localhost", None),
        ("localhost\x00.evil.example", None),
        ("lоcalhost", None),  # noqa: RUF001 - the second letter is Cyrillic
    ],
)
def test_host_in_a_header(header: str, host: str | None) -> None:
    assert host_in(header) == host


@pytest.mark.parametrize("host", ["localhost", "shop.localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_names_of_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "xlocalhost",
        "0.0.0.0",
        "0",
        "2130706433",
        "127.1",
        "192.168.1.5",
        "::",
        "localhost.localdomain",
    ],
)
def test_names_that_a_name_server_has_a_say_in(host: str) -> None:
    assert not is_this_machine(host)


def test_a_page_that_had_its_name_point_to_us_reads_nothing(on_loopback: Any) -> None:
    async def story(address: str) -> None:
        for target in ROUTES:
            answer = await ask(address, target, "Host: evil.example:8000")

            assert answer.status == 421, target
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "IMGPROC_PUBLIC_URL" in str(answer.told)

        (error,) = (await ask(address, "/graphql?query={__typename}", "Host: evil.example")).told["errors"]
        assert error["extensions"] == {"code": "BAD_REQUEST"}
        assert "IMGPROC_PUBLIC_URL" in error["message"]

    on_loopback(story)


def test_nor_does_it_open_a_socket(on_loopback: Any) -> None:
    async def story(address: str) -> None:
        rebound = await ask(address, "/graphql", "Host: evil.example", "Origin: http://evil.example", *UPGRADE)
        assert (rebound.status, rebound.headers["x-content-type-options"]) == (421, "nosniff")
        assert rebound.told["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}

        foreign = await ask(address, "/graphql", f"Host: {address}", "Origin: http://evil.example", *UPGRADE)
        assert (foreign.status, foreign.headers["x-content-type-options"]) == (403, "nosniff")

        port = address.partition(":")[2]
        for host in (f"localhost:{port}", address):
            neighbour = await ask(address, "/graphql", f"Host: {host}", "Origin: http://localhost:1", *UPGRADE)
            assert neighbour.status == 403
            own = await ask(address, "/graphql", f"Host: {host}", f"Origin: http://{host}", *UPGRADE)
            assert (own.status, own.headers["sec-websocket-protocol"]) == (101, "graphql-transport-ws")

        nowhere = await ask(address, "/nothing", f"Host: {address}", *UPGRADE)
        assert (nowhere.status, nowhere.headers["referrer-policy"]) == (403, "no-referrer")
        malformed = await ask(address, "/graphql", f"Host: {address}", *UPGRADE[:2])
        assert malformed.status in (400, 426)
        assert malformed.headers["x-frame-options"] == "deny"
        assert "server" not in malformed.headers

    on_loopback(story)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "127.3.2.1", "[::1]:8000", "shop.localhost", "Pictures.Example"],
)
def test_own_names_are_answered(on_loopback: Any, host: str) -> None:
    async def story(address: str) -> None:
        assert (await ask(address, "/healthz", f"Host: {host}")).body == b"ok\n"

    on_loopback(story)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Host:",),
        ("Host: localhost", "Host: localhost"),
        ("Host: localhost", "Host: evil.example"),
        ("Host: localhost, evil.example",),
        ("Host: http://localhost",),
        ("Host: ::1",),
    ],
)
def test_a_request_without_one_host_is_refused(on_loopback: Any, headers: tuple[str, ...]) -> None:
    async def story(address: str) -> None:
        for version in ("1.0", "1.1"):
            answer = await ask(address, "/healthz", *headers, version=version)
            assert (answer.status, answer.told) == (400, {"error": "A request needs one `Host` header with a name."})

    on_loopback(story)


def test_headers_of_proxies_change_nothing(on_loopback: Any) -> None:
    async def story(address: str) -> None:
        forwarded = ("X-Forwarded-Host: localhost", "Forwarded: host=localhost", "X-Host: localhost")

        assert (await ask(address, "/healthz", "Host: evil.example", *forwarded)).status == 421

    on_loopback(story)


async def test_elsewhere_every_name_is_answered(settings: Settings) -> None:
    async with served(settings) as (address, _):
        assert (await ask(address, "/healthz", "Host: shop.example")).status == 200
