"""Host names that a service on loopback accepts, and origins that may open a WebSocket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gql_imgproc.settings import Settings
from gql_imgproc.web.host_check import is_local_host, parse_host
from tests.graphql.client import serve_api

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


class RawResponse:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def send_raw(host_port: str, target: str, *headers: str, version: str = "1.1") -> RawResponse:
    """Sends exactly this request, which no HTTP client would send."""
    host, _, port = host_port.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    closing = () if UPGRADE[0] in headers else ("Connection: close",)
    writer.write("\r\n".join((f"GET {target} HTTP/{version}", *headers, *closing, "", "")).encode("latin-1"))
    try:
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            return RawResponse(head if b" 101 " in head else head + await reader.read())
    finally:
        writer.close()


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
def test_host_header_is_parsed(header: str, host: str | None) -> None:
    assert parse_host(header) == host


@pytest.mark.parametrize("host", ["localhost", "shop.localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_local_host_names(host: str) -> None:
    assert is_local_host(host)


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
def test_host_names_that_need_a_name_server_are_not_local(host: str) -> None:
    assert not is_local_host(host)


async def test_dns_rebinding_gets_no_response(settings: Settings) -> None:
    async with serve_api(settings, loopback_only=True) as (host_port, _):
        for target in ROUTES:
            response = await send_raw(host_port, target, "Host: evil.example:8000")

            assert response.status == 421, target
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["content-security-policy"].startswith("default-src 'none'")
            assert "IMGPROC_PUBLIC_URL" in str(response.json)

        (error,) = (await send_raw(host_port, "/graphql?query={__typename}", "Host: evil.example")).json["errors"]
        assert error["extensions"] == {"code": "BAD_REQUEST"}
        assert "IMGPROC_PUBLIC_URL" in error["message"]


async def test_foreign_origin_cannot_open_a_websocket(settings: Settings) -> None:
    async with serve_api(settings, loopback_only=True) as (host_port, _):
        rebound = await send_raw(host_port, "/graphql", "Host: evil.example", "Origin: http://evil.example", *UPGRADE)
        assert (rebound.status, rebound.headers["x-content-type-options"]) == (421, "nosniff")
        assert rebound.json["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}

        foreign = await send_raw(host_port, "/graphql", f"Host: {host_port}", "Origin: http://evil.example", *UPGRADE)
        assert (foreign.status, foreign.headers["x-content-type-options"]) == (403, "nosniff")

        port = host_port.partition(":")[2]
        for host in (f"localhost:{port}", host_port):
            other_port = await send_raw(host_port, "/graphql", f"Host: {host}", "Origin: http://localhost:1", *UPGRADE)
            assert other_port.status == 403
            own = await send_raw(host_port, "/graphql", f"Host: {host}", f"Origin: http://{host}", *UPGRADE)
            assert (own.status, own.headers["sec-websocket-protocol"]) == (101, "graphql-transport-ws")

        unknown_path = await send_raw(host_port, "/nothing", f"Host: {host_port}", *UPGRADE)
        assert (unknown_path.status, unknown_path.headers["referrer-policy"]) == (403, "no-referrer")
        malformed = await send_raw(host_port, "/graphql", f"Host: {host_port}", *UPGRADE[:2])
        assert malformed.status in (400, 426)
        assert malformed.headers["x-frame-options"] == "deny"
        assert "server" not in malformed.headers


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "127.3.2.1", "[::1]:8000", "shop.localhost", "Images.Example"],
)
async def test_own_host_names_are_accepted(settings: Settings, host: str) -> None:
    async with serve_api(settings, loopback_only=True) as (host_port, _):
        assert (await send_raw(host_port, "/healthz", f"Host: {host}")).body == b"ok\n"


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
async def test_request_without_exactly_one_host_is_rejected(settings: Settings, headers: tuple[str, ...]) -> None:
    async with serve_api(settings, loopback_only=True) as (host_port, _):
        for version in ("1.0", "1.1"):
            response = await send_raw(host_port, "/healthz", *headers, version=version)
            assert (response.status, response.json) == (
                400,
                {"error": "The request needs exactly one `Host` header with a host name."},
            )


async def test_forwarded_host_headers_are_ignored(settings: Settings) -> None:
    async with serve_api(settings, loopback_only=True) as (host_port, _):
        forwarded = ("X-Forwarded-Host: localhost", "Forwarded: host=localhost", "X-Host: localhost")

        assert (await send_raw(host_port, "/healthz", "Host: evil.example", *forwarded)).status == 421


async def test_every_host_name_is_accepted_on_other_interfaces(settings: Settings) -> None:
    async with serve_api(settings) as (host_port, _):
        assert (await send_raw(host_port, "/healthz", "Host: shop.example")).status == 200
