"""An HTTP proxy on loopback that connects to this machine, whatever the host. It records the heads of its requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class HttpProxy:
    def __init__(self, status: str) -> None:
        self.status = status
        self.heads: list[str] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def lines(self) -> list[str]:
        return [head.split("\r\n")[0] for head in self.heads]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            method, url, _ = head.split(" ", 2)
            if self.status != "200 OK":
                writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            port = urlsplit(url if method == "GET" else f"//{url}").port
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.append(to_writer)
            if method == "GET":
                to_writer.write(head.replace(url, urlsplit(url).path, 1).encode())
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def serve_proxy(status: str = "200 OK") -> AsyncIterator[HttpProxy]:
    proxy = HttpProxy(status)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        for _ in range(5):
            await asyncio.sleep(0)
