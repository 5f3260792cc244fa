"""A host of pictures that costs little CPU, since it shares the cores with what is measured.

`python -m benchmarks.image_host FOLDER` prints its port, serves `/N.jpg` (any query string) over kept-alive
connections, and sets its latency, in seconds, from `GET /latency/SECONDS`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import ClassVar


class Host(asyncio.Protocol):
    answers: ClassVar[dict[bytes, tuple[bytes, bytes]]] = {}
    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # of a TCP server
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while b"\r\n\r\n" in self.rest:
            head, self.rest = self.rest.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].split(b"?")[0]
            if path.startswith(b"/latency/"):
                Host.latency = float(path.rsplit(b"/", 1)[1])
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif Host.latency:
                asyncio.get_running_loop().call_later(Host.latency, self.answer, path)
            else:
                self.answer(path)

    def answer(self, path: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.writelines(Host.answers[path])


def load(folder: Path) -> None:
    for path in folder.glob("*.jpg"):
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        Host.answers[f"/{path.name}".encode()] = head, body


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Host, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    load(Path(sys.argv[1]))
    asyncio.run(serve())
