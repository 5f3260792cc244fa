"""uvicorn's HTTP protocol with a deadline for every wait and a limit for every request head."""

from __future__ import annotations

import asyncio
import json
from asyncio.transports import BaseTransport
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gql_imgproc.metrics import CONNECTIONS_CLOSED
from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS

#: Minimum throughput of a client, in bytes a second: an eighth of a mobile connection of 256 kbit/s, over which 20 MiB
#: take eleven minutes.
LEAST_BYTES_PER_SECOND = 4 * 1024
#: Maximum size of a request head with its target, in bytes: browsers send 1 KiB, more with a GraphQL document in the
#: URL. Each field counts FIELD_BYTES in addition, as in HTTP/2 (RFC 9113, 6.5.2): small fields need memory, too.
MAX_HEAD_BYTES, FIELD_BYTES = 64 * 1024, 32
#: Maximum number of waiting requests of a connection. Each can hold a read of 256 KiB, and no browser sends any.
MAX_PIPELINED = 10
#: Default of the maximum number of connections.
MAX_CONNECTIONS = 10_000

_HEAD_TOO_LARGE = 431, f"The request head exceeds the limit of {MAX_HEAD_BYTES:,} bytes.", "header_too_large"
_URL_TOO_LONG = (
    414,
    f"The URL exceeds the limit of {MAX_HEAD_BYTES:,} bytes. Send the operation with POST.",
    "header_too_large",
)


@dataclass(slots=True)
class Deadline:
    """Is over after `seconds`; `least_bytes` more bytes extend it by as much."""

    seconds: float
    least_bytes: float
    start: float
    #: Transferred bytes at the start.
    transferred: int = 0

    def is_over(self, now: float, transferred: int, *, is_idle: bool = False) -> bool:
        """`is_idle`: nothing is expected of the client at the moment."""
        if is_idle or transferred - self.transferred >= self.least_bytes:
            self.start, self.transferred = now, transferred
        return now - self.start >= self.seconds


class CountingTransport:
    """Counts the written bytes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written_bytes += len(data)
        self._transport.write(data)


class Http(HttpToolsProtocol):
    """One HTTP connection. The deadline of its responses stays when it becomes a WebSocket. Times are in seconds."""

    #: From the connection, or from the first byte of a later request, to the end of the request's head.
    head_seconds: ClassVar[float] = 10
    #: For each `body_seconds * least_bytes_per_second` of a body: allows an interruption, for example in a tunnel. Also
    #: for the rest of a body after an early response, because some clients send everything before they read.
    body_seconds: ClassVar[float] = 30
    #: For each `answer_seconds * least_bytes_per_second` of a response. A kernel that buffers 4 MiB reports progress
    #: only after a third of them, which takes 42 s at 256 kbit/s.
    answer_seconds: ClassVar[float] = 60
    #: To read an error response: an immediate close with unread bytes would make TCP discard it.
    error_seconds: ClassVar[float] = 2
    #: Interval of the checks. A deadline can take effect this much later.
    check_seconds: ClassVar[float] = 5
    least_bytes_per_second: ClassVar[float] = LEAST_BYTES_PER_SECOND
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    def connection_made(self, transport: BaseTransport) -> None:
        self._counting = CountingTransport(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, self._counting))
        self._is_refused = False
        self._head_bytes = self._unparsed_bytes = self._body_bytes = 0
        self._expect("head", self.head_seconds)
        self._sending = self._deadline(self.answer_seconds, self.answer_seconds * self.least_bytes_per_second)
        self._check()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "Too many connections. Try again later.", "limit")

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._expected == "nothing":
            self._expect("head", self.head_seconds)
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._is_refused:
            # A line without an end, in a head, between chunks or after them.
            self._refuse(*_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            raise self._refuse(429, "Too many pipelined requests. Read the responses first.", "too_many_pipelined")

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_HEAD_BYTES:
            raise self._refuse(*_URL_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += len(name) + len(value) + FIELD_BYTES
        if self._head_bytes + len(self.url) > MAX_HEAD_BYTES:
            raise self._refuse(*_HEAD_TOO_LARGE)
        if self._expected != "body":
            # Trailers after a body come too late for an application that has read the head.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._expect("body", self.body_seconds, self.body_seconds * self.least_bytes_per_second)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self._is_answering():
            # The rest of a body after an early response extends no deadline.
            self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._expected = "nothing"
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._is_refused:
            self._refuse(400, "Malformed HTTP/1.1 request.", "malformed")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, what: str, seconds: float, least_bytes: float = inf) -> None:
        """Expects a `head` or a `body` in this time, or `nothing`."""
        self._expected, self._receiving = what, self._deadline(seconds, least_bytes, self._body_bytes)

    def _deadline(self, seconds: float, least_bytes: float, transferred: int = 0) -> Deadline:
        return Deadline(seconds, least_bytes, self.loop.time(), transferred)

    def _check(self) -> None:
        now, unsent_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        if self._is_refused or (self.transport.is_closing() and not unsent_bytes):
            return
        self.loop.call_later(self.check_seconds, self._check)
        # The head of a pipelined request may take until the current response ends.
        is_idle = self._is_answering() if self._expected == "head" else not self.transport.is_reading()
        if self._sending.is_over(now, self._counting.written_bytes - unsent_bytes, is_idle=not unsent_bytes):
            CONNECTIONS_CLOSED.labels("slow_reader").inc()
            self.transport.abort()
        elif self._expected != "nothing" and self._receiving.is_over(now, self._body_bytes, is_idle=is_idle):
            self._close_slow_sender()

    def _close_slow_sender(self) -> None:
        if self._expected == "body" and self._is_answering():
            self._refuse(408, "The request body arrived too slowly. Send it again.", "slow_body")
        elif self._expected == "head" and self._unparsed_bytes + self._head_bytes:
            self._refuse(408, "The request head took too long.", "slow_header")
        else:
            # A browser that connected in advance would read an error as the response to its next request.
            CONNECTIONS_CLOSED.labels("slow_header" if self._expected == "head" else "slow_body").inc()
            self.transport.close()

    def _refuse(self, status: int, message: str, reason: str) -> ValueError:
        """Sends an error response, unless another one is being sent, and waits for the client to close the connection.

        Returns an error that stops the parser when a callback raises it.
        """
        CONNECTIONS_CLOSED.labels(reason).inc()
        self._is_refused, is_answering = True, self._is_answering()
        if is_answering and (self._expected != "body" or self.pipeline or self.cycle.response_started):
            # The client would read the error as the response to an earlier request, or as part of it.
            self.transport.abort()
            return ValueError(message)
        if is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": message}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (JSON_SECURITY_HEADERS | headers).items())
        self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(self.error_seconds, self.transport.abort)
        return ValueError(message)
