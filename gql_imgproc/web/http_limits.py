"""uvicorn's HTTP protocol with a timeout for every wait and a limit for every request head."""

from __future__ import annotations

import asyncio
import json
from asyncio import Transport
from asyncio.transports import BaseTransport
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from gql_imgproc.metrics import CONNECTIONS_CLOSED
from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS

#: Minimum throughput of a client, in bytes a second: an eighth of a mobile connection of 256 kbit/s, over which 20 MiB
#: take eleven minutes.
LEAST_BYTES_PER_SECOND = 4 * 1024


@dataclass(frozen=True, slots=True)
class MinThroughput:
    """A minimum number of bytes in each time window of `seconds`."""

    seconds: float
    least_bytes: float

    @classmethod
    def of_slowest(cls, seconds: float) -> MinThroughput:
        return cls(seconds, seconds * LEAST_BYTES_PER_SECOND)

    @classmethod
    def deadline(cls, seconds: float) -> MinThroughput:
        """A plain deadline: no number of bytes extends it."""
        return cls(seconds, inf)


#: From the connection, or from the first byte of a later request, to the end of the request's head.
HEAD = MinThroughput.deadline(10)
#: Request body. The window allows an interruption, for example in a tunnel.
BODY = MinThroughput.of_slowest(30)
#: Rest of a body after an early response. Clients that send everything before they read must still get the response,
#: but not without a time limit.
REST = MinThroughput.deadline(30)
#: Response. A kernel that buffers 4 MiB reports progress only after a third of them, which takes 42 s at 256 kbit/s.
ANSWER = MinThroughput.of_slowest(60)
#: Lingering close after an error response. An immediate close with unread bytes would make TCP discard the response.
LINGER_SECONDS = MinThroughput.deadline(2)
#: Interval between two checks, in seconds. A timeout can take effect this much later. Each check is cheap, because
#: there may be thousands of connections.
LOOK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class HttpTimeouts:
    """Timeouts for a client."""

    head: MinThroughput = HEAD
    body: MinThroughput = BODY
    rest: MinThroughput = REST
    answer: MinThroughput = ANSWER
    farewell: MinThroughput = LINGER_SECONDS
    look_seconds: float = LOOK_SECONDS


class ThroughputWindow:
    """The current time window of a minimum throughput."""

    __slots__ = ("_began", "_moved", "_pace")

    def __init__(self, pace: MinThroughput, now: float, moved: int) -> None:
        self._pace = pace
        self.restart(now, moved)

    def restart(self, now: float, moved: int) -> None:
        self._began, self._moved = now, moved

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Whether a window ended with too few bytes. `moved` counts bytes since the start of the connection."""
        if now - self._began < self._pace.seconds:
            return False
        too_slow = moved - self._moved < self._pace.least_bytes
        self.restart(now, moved)
        return too_slow


class DeadlineTransport:
    """The transport of a connection with timeouts. It stays when the connection becomes a WebSocket."""

    __slots__ = (
        "_awaited",
        "_late",
        "_looking",
        "_loop",
        "_patience",
        "_sending",
        "_transport",
        "_written",
        "received",
    )

    def __init__(self, transport: Transport, patience: HttpTimeouts, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._patience = patience
        self._loop = loop
        #: Received bytes of the expected head or body; the protocol counts them.
        self.received = 0
        self._written = 0
        self._awaited: ThroughputWindow | None = None
        self._late: Callable[[], None] | None = None
        self._sending = ThroughputWindow(patience.answer, loop.time(), 0)
        self._looking = loop.call_later(patience.look_seconds, self._look)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def expect(self, pace: MinThroughput, late: Callable[[], None]) -> None:
        """Expects bytes at this throughput from now on; calls `late` after every window that is too slow."""
        self._awaited, self._late = ThroughputWindow(pace, self._loop.time(), self.received), late

    def expect_nothing(self) -> None:
        self._awaited = self._late = None

    def stop(self) -> None:
        """Stops the checks after the connection is lost."""
        self._looking.cancel()
        self.expect_nothing()

    def _look(self) -> None:
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if self._transport.is_closing() and not unsent:
            self.expect_nothing()
            return
        self._looking = self._loop.call_later(self._patience.look_seconds, self._look)
        sent = self._written - unsent
        if not unsent:
            self._sending.restart(now, sent)
        elif self._sending.is_too_slow(now, sent):
            CONNECTIONS_CLOSED.labels("slow_reader").inc()
            self._transport.abort()
            return
        if self._awaited is None or self._late is None:
            return
        if not self._transport.is_reading():
            # This side paused reading, so the client is not slow.
            self._awaited.restart(now, self.received)
        elif self._awaited.is_too_slow(now, self.received):
            self._late()


_BAD_HANDSHAKE = (
    "Invalid WebSocket handshake: expected a GET without a body, at most 128 headers, each at most 8,192 bytes."
)
_INTERNAL_ERROR = "Internal error. Try again; if the problem persists, contact the operator."


#: Maximum size of a request head with its target, in bytes: browsers send 1 KiB, more with a GraphQL document in the
#: URL. Each field counts FIELD_BYTES in addition, as in HTTP/2 (RFC 9113, 6.5.2): small fields need memory, too.
MAX_HEAD_BYTES, FIELD_BYTES = 64 * 1024, 32
#: Maximum number of pipelined requests of a connection. One read can contain ten thousand without a body, at 3 KiB of
#: memory each; no browser sends a second one.
MAX_PIPELINED = 100
#: Deerror of the maximum number of connections.
MAX_CONNECTIONS = 10_000


class Http(HttpToolsProtocol):
    """One HTTP connection."""

    patience: ClassVar[HttpTimeouts] = HttpTimeouts()
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    def connection_made(self, transport: BaseTransport) -> None:
        self._line = DeadlineTransport(cast(asyncio.Transport, transport), self.patience, self.loop)
        super().connection_made(cast(asyncio.Transport, self._line))
        self._refused = False
        #: Response to the parser's next error, when `_fail` raised it.
        self._refusal: tuple[int, str, str] | None = None
        self._head_bytes = self._unparsed_bytes = 0
        #: Whether a head or a body is being received. Otherwise only uvicorn's keep-alive limits the silence.
        self._in_head = self._in_body = False
        self._expect_head()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "Too many connections. Try again later.", "limit")

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not (self._in_head or self._in_body):
            self._expect_head()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._refused:
            # A line without an end, in a head, between chunks or after them.
            self._refuse(*_HEAD_TOO_LARGE)

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(429, "Too many pipelined requests. Read the responses first.", "too_many_pipelined")
        if not self._in_head:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_HEAD_BYTES:
            self._fail(414, f"The URL exceeds the limit of {MAX_HEAD_BYTES:,} bytes. Send the operation with POST.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += len(name) + len(value) + FIELD_BYTES
        if self._head_bytes + len(self.url) > MAX_HEAD_BYTES:
            self._fail(*_HEAD_TOO_LARGE)
        if not self._in_body:
            # Trailers after a body come too late for an application that has read the head.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._line.expect(self.patience.body, self._body_is_late)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        self._line.received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._in_body = False
        self._line.expect_nothing()
        super().on_message_complete()

    # Callbacks of uvicorn.

    def on_response_complete(self) -> None:
        # The body being received may belong to the next request.
        if self._in_body and not self._is_answering():
            self._line.expect(self.patience.rest, self._rest_is_late)
        super().on_response_complete()
        if self.pipeline:
            # uvicorn would resume reading with each response, and requests would arrive faster than responses leave.
            self.flow.pause_reading()

    def handle_websocket_upgrade(self) -> None:
        self._line.expect_nothing()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, "Malformed HTTP/1.1 request.", "malformed")))

    # Timeouts and limits.

    def _expect_head(self) -> None:
        self._in_head = True
        self._line.expect(self.patience.head, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_answering():
            # The head of a pipelined request may take until the current response ends.
            return
        CONNECTIONS_CLOSED.labels("slow_header").inc()
        if self._unparsed_bytes or self._head_bytes:
            self._refuse(408, "The request head took too long.")
        else:
            # A browser that connected in advance would read an error as the response to its next request.
            self.transport.close()

    def _body_is_late(self) -> None:
        CONNECTIONS_CLOSED.labels("slow_body").inc()
        self._refuse(408, "The request body arrived too slowly. Send it again.")

    def _rest_is_late(self) -> None:
        CONNECTIONS_CLOSED.labels("slow_body").inc()
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _fail(self, status: int, message: str, reason: str = "header_too_large") -> None:
        """Stops the parser; uvicorn then calls `send_400_response`."""
        self._refusal = status, message, reason
        raise ValueError(message)

    def _refuse(self, status: int, message: str, reason: str = "") -> None:
        """Sends an error response, unless another response is being sent, and closes the connection."""
        if reason:
            CONNECTIONS_CLOSED.labels(reason).inc()
        self._refused = True
        if self._is_answering():
            if self._in_head or self.cycle.response_started:
                # The client would read the error as the response to an earlier request, or as part of it.
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": message}).encode()
        headers = JSON_SECURITY_HEADERS | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._line.expect(self.patience.farewell, self.transport.abort)


_HEAD_TOO_LARGE = (431, f"The request head exceeds the limit of {MAX_HEAD_BYTES:,} bytes.", "header_too_large")


class WebSocket(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: Pong for the newest ping of a client that currently does not read.
        self._pong = b""
        self.conn = _Handshake(
            extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=self.conn.logger
        )

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn does not notice the error, and would keep the connection open without end.
            self.transport.write(self.conn.reject(HTTPStatus.BAD_REQUEST, _BAD_HANDSHAKE).serialize())
            self.transport.close()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            # The client does not read, and all pongs would fill the memory. The newest may replace earlier ones
            # (RFC 6455, 5.5.3). A slow client must get that one, or it would treat this server as dead.
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        if self._pong:
            self.transport.write(self._pong)
            self._pong = b""
        super().resume_writing()

    def handle_cont(self, event: Frame) -> None:
        # Ignored: empty frames do not count towards the message size, so their number would be unlimited.
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_text(b"".join(self.frames)):
            # uvicorn would treat it as an internal error and log a traceback.
            self.conn.fail(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Handshake(ServerProtocol):
    """Rejects handshakes with the security headers and a fixed message."""

    def reject(self, status: Any, text: str) -> Response:
        # The library's message is an exception text that repeats the request.
        message = _INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _BAD_HANDSHAKE
        response = super().reject(status, json.dumps({"error": message}) if text else "")
        del response.headers["Content-Type"]
        response.headers.update(JSON_SECURITY_HEADERS | {"Content-Type": "application/json"})
        return response
