"""A host on loopback that does as told, to the byte, and what it takes to fetch from it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import pytest

from gql_imgproc.errors import ImageError
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.image_fetcher import Fetcher, FetchLimits

LOOPBACK = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_ports="*")
CLOSED = NetworkPolicy(allow_ports="*")
LIMITS = FetchLimits(
    max_bytes=100_000, connect_s=2.0, first_byte_s=2.0, total_s=5.0, concurrency=8, per_host=8, slot_wait_s=5.0
)
PICTURE = bytes(range(256)) * 300

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request, and the raw bytes of its answer."""

    def __init__(self, host: Host, head: str, writer: asyncio.StreamWriter) -> None:
        self.host = host
        self.head = head
        self.writer = writer
        self.path = head.split(" ")[1]

    async def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def answer(self, body: bytes = PICTURE, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n", body)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


class Host:
    """A server that does as the script says, to the byte, and counts."""

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

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(
    script: Script, host: str | Sequence[str] = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    server_side = Host(script)
    server = await asyncio.start_server(server_side.accept, host, 0, ssl=tls)
    server_side.port = server.sockets[0].getsockname()[1]
    try:
        yield server_side
    finally:
        server.close()
        server_side.hang_up()
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def fetching(
    policy: NetworkPolicy = LOOPBACK, limits: FetchLimits = LIMITS, **options: object
) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(policy, limits, **options)  # type: ignore[arg-type]
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def failure_of(fetcher: Fetcher, url: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await fetcher.fetch(url)
    assert caught.value.message.endswith(".")
    return caught.value


def outcome(script: Script, limits: FetchLimits = LIMITS, path: str = "/a.jpg") -> tuple[ImageError, Host]:
    async def story() -> tuple[ImageError, Host]:
        async with serving(script) as host, fetching(limits=limits) as fetcher:
            return await failure_of(fetcher, host.url(path)), host

    return asyncio.run(story())


async def picture(exchange: Exchange) -> None:
    await exchange.answer()


def resolving(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@asynccontextmanager
async def canary() -> AsyncIterator[Host]:
    """Listens wherever this machine can be reached, and must not be."""
    host = Host(picture)
    servers = [await asyncio.start_server(host.accept, "0.0.0.0", 0)]
    host.port = servers[0].sockets[0].getsockname()[1]
    with suppress(OSError):  # Some machines have no IPv6.
        servers.append(await asyncio.start_server(host.accept, "::", host.port))
    try:
        yield host
    finally:
        for server in servers:
            server.close()
        host.hang_up()
        for _ in range(5):
            await asyncio.sleep(0)
