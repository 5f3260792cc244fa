"""An image host that needs little CPU, since it shares the cores with the measured service.

`python -m benchmarks.image_host FOLDER` prints its ports and serves `/N.jpg` (with any query string) over keep-alive
connections. To the service, each port is a host of its own. `GET /latency/SECONDS` sets the latency of all.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import ClassVar


class Host(asyncio.Protocol):
    responses: ClassVar[dict[bytes, tuple[bytes, bytes]]] = {}
    latency_s = 0.0

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
            elif Host.latency_s:
                asyncio.get_running_loop().call_later(Host.latency_s, self.respond, path)
            else:
                self.respond(path)

    def respond(self, path: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.writelines(Host.responses[path])


def load(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        Host.responses[f"/{path.name}".encode()] = head, body


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
