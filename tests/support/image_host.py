"""An image host on loopback whose responses a test scripts byte by byte, and helpers to download from it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.fetch_errors import FetchError
from gql_imgproc.net.fetch_limits import FetchLimits
from gql_imgproc.net.image_fetcher import ImageFetcher

LOOPBACK = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_ports="*")
CLOSED = NetworkPolicy(allow_ports="*")
LIMITS = FetchLimits(
    max_bytes=100_000, connect_s=2.0, first_byte_s=2.0, total_s=5.0, max_idle=8, per_host=8, limiter_wait_s=5.0
)
IMAGE = bytes(range(256)) * 300

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request, and the connection on which a script responds."""

    def __init__(self, host: ImageHost, head: str, writer: asyncio.StreamWriter) -> None:
        self.host = host
        self.head = head
        self.writer = writer
        self.path = head.split(" ")[1]

    async def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def respond(self, body: bytes = IMAGE, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n", body)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


class ImageHost:
    """Runs a script for each request, and counts connections and requests."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.open = 0
        self.requests: list[Exchange] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, path: str = "/a.jpg", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                exchange = Exchange(self, head, writer)
                self.requests.append(exchange)
                await self.script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    def close_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serve(
    script: Script, ip: str | Sequence[str] = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[ImageHost]:
    host = ImageHost(script)
    server = await asyncio.start_server(host.accept, ip, 0, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        host.close_connections()
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def open_fetcher(
    policy: NetworkPolicy = LOOPBACK, limits: FetchLimits = LIMITS, **options: object
) -> AsyncIterator[ImageFetcher]:
    fetcher = ImageFetcher(policy, limits, **options)  # type: ignore[arg-type]
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def fetch_error(fetcher: ImageFetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.fetch(url)
    assert caught.value.message.endswith(".")
    return caught.value


async def fetch(script: Script, path: str = "/a.jpg") -> bytes:
    async with serve(script) as host, open_fetcher() as fetcher:
        return await fetcher.fetch(host.url(path))


async def fail_to_fetch(
    script: Script, limits: FetchLimits = LIMITS, path: str = "/a.jpg"
) -> tuple[FetchError, ImageHost]:
    async with serve(script) as host, open_fetcher(limits=limits) as fetcher:
        return await fetch_error(fetcher, host.url(path)), host


async def send_image(exchange: Exchange) -> None:
    await exchange.respond()


async def send_nothing(exchange: Exchange) -> None:
    await asyncio.sleep(30)


def resolve_to(*ips: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ips

    return resolve


@asynccontextmanager
async def canary() -> AsyncIterator[ImageHost]:
    """Listens on every IP address of this machine. A test asserts that nothing connects."""
    host = ImageHost(send_image)
    servers = [await asyncio.start_server(host.accept, "0.0.0.0", 0)]
    host.port = servers[0].sockets[0].getsockname()[1]
    with suppress(OSError):  # Some machines have no IPv6.
        servers.append(await asyncio.start_server(host.accept, "::", host.port))
    try:
        yield host
    finally:
        for server in servers:
            server.close()
        host.close_connections()
        for _ in range(5):
            await asyncio.sleep(0)
