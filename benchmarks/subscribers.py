"""Many minimal clients of `graphql-transport-ws` in one process, each with its own WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from dataclasses import dataclass, field

QUERY = """subscription ($id: ID!) { requestProgress(id: $id) {
  id status sequence totalImages processedImages failedImages progressPercent inputBytes outputBytes } }"""
#: Sockets opened at once; a listener's backlog is 2,048.
CONNECTS_AT_ONCE = 100


@dataclass
class ReceivedEvents:
    """The events that all subscribers of one run received."""

    #: When each sequence number was published.
    published: dict[int, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    latest: list[int] = field(default_factory=list)


class Subscriber(asyncio.Protocol):
    """One client: opens the WebSocket, subscribes, and records the delay of each event."""

    def __init__(self, number: int, host: str, request: str, received: ReceivedEvents) -> None:
        self._number, self._host, self._request, self._received = number, host, request, received
        self._buffer = b""
        self._open = False
        self.transport: asyncio.Transport | None = None
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        key = base64.b64encode(os.urandom(16)).decode()
        self._write(
            f"GET /graphql HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._open, self._buffer = True, rest
            self._send({"type": "connection_init"})
        while (frame := self._frame()) is not None:
            self._receive(*frame, now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.subscribed.done():
            self.subscribed.set_exception(ConnectionError(f"subscriber {self._number} was disconnected"))

    def _frame(self) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""
        if len(self._buffer) < 2:
            return None
        length, begin = self._buffer[1] & 0x7F, 2
        assert length != 127, "message longer than expected"
        if length == 126:
            if len(self._buffer) < 4:
                return None
            length, begin = struct.unpack_from("!H", self._buffer, 2)[0], 4
        if len(self._buffer) < begin + length:
            return None
        opcode, payload = self._buffer[0] & 0x0F, self._buffer[begin : begin + length]
        self._buffer = self._buffer[begin + length :]
        return opcode, payload

    def _receive(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == 9:
            self._write_frame(10, payload)
            return
        assert opcode == 1, (opcode, payload)
        message = json.loads(payload)
        if message["type"] == "connection_ack":
            self._send(
                {"id": "1", "type": "subscribe", "payload": {"query": QUERY, "variables": {"id": self._request}}}
            )
            return
        assert message["type"] == "next", message
        sequence = message["payload"]["data"]["requestProgress"]["sequence"]
        self._received.latest[self._number] = sequence
        if (at := self._received.published.get(sequence)) is not None:
            self._received.latencies.append(now - at)
        if not self.subscribed.done():
            self.subscribed.set_result(None)

    def _send(self, message: dict[str, object]) -> None:
        self._write_frame(1, json.dumps(message).encode())

    def _write_frame(self, opcode: int, payload: bytes) -> None:
        # A mask of zeros is valid and costs nothing.
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        self._write(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


async def connect(host: str, request: str, number: int, received: ReceivedEvents) -> list[Subscriber]:
    """Opens WebSockets, and waits until each has received the current state."""
    ip, port = host.split(":")
    received.latest = [0] * number
    connecting = asyncio.Semaphore(CONNECTS_AT_ONCE)

    async def connect_one(index: int) -> Subscriber:
        async with connecting:
            subscriber = Subscriber(index, host, request, received)
            await asyncio.get_running_loop().create_connection(lambda: subscriber, ip, int(port))
            await subscriber.subscribed
            return subscriber

    return list(await asyncio.gather(*map(connect_one, range(number))))


def abort(subscribers: list[Subscriber]) -> None:
    """Drops the connections without a close frame, as when a laptop is closed."""
    for subscriber in subscribers:
        assert subscriber.transport is not None
        subscriber.transport.abort()
