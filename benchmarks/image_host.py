"""An image host that needs little CPU, since it shares the cores with the measured service.

`python -m benchmarks.image_host FOLDER` prints its ports and serves `/N.jpg` (with any query string) over keep-alive
connections. To the service, each port is a host of its own. `GET /latency/SECONDS` sets the latency of all, and
`GET /validators/1` lets all responses have an ETag, with which a request is answered without a body.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from pathlib import Path
from typing import ClassVar


class Host(asyncio.Protocol):
    responses: ClassVar[dict[bytes, tuple[bytes, bytes, bytes]]] = {}
    latency_s = 0.0
    has_validators = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a TCP server
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].split(b"?")[0]
            if path.startswith(b"/latency/"):
                Host.latency_s = float(path.rsplit(b"/", 1)[1])
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif path.startswith(b"/validators/"):
                Host.has_validators = path.endswith(b"1")
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif Host.latency_s:
                asyncio.get_running_loop().call_later(Host.latency_s, self.respond, path, head)
            else:
                self.respond(path, head)

    def respond(self, path: bytes, head: bytes) -> None:
        if self.transport.is_closing():
            return
        etag, start, body = Host.responses[path]
        if not Host.has_validators:
            self.transport.writelines((start, b"\r\n", body))
        elif b"If-None-Match: " + etag in head:
            self.transport.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        else:
            self.transport.writelines((start, b"ETag: ", etag, b"\r\n\r\n", body))


def load(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n".encode()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'.encode()
        Host.responses[f"/{path.name}".encode()] = etag, head, body


async def serve(ports: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Host, "127.0.0.1", 0) for _ in range(ports)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ports", type=int, default=1)
    arguments = parser.parse_args()
    load(arguments.folder)
    asyncio.run(serve(arguments.ports))
