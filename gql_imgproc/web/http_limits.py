"""HTTP as uvicorn speaks it, with what it lacks: an end to every wait and a limit to every head."""

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

#: Slowest client that is served, in bytes a second: an eighth of a mobile line of 256 kbit/s, over which 20 MiB take
#: eleven minutes.
LEAST_BYTES_PER_SECOND = 4 * 1024


@dataclass(frozen=True, slots=True)
class MinThroughput:
    """So many bytes at least in each span of so many seconds."""

    seconds: float
    least_bytes: float

    @classmethod
    def of_slowest(cls, seconds: float) -> MinThroughput:
        return cls(seconds, seconds * LEAST_BYTES_PER_SECOND)

    @classmethod
    def deadline(cls, seconds: float) -> MinThroughput:
        """No bytes are enough: it must have ended by then."""
        return cls(seconds, inf)


#: From the connection, or the first byte of a later request, to the end of a request's head.
HEAD = MinThroughput.deadline(10)
#: A body; the span is what a line may be gone for, in a tunnel say.
BODY = MinThroughput.of_slowest(30)
#: What is left of a body whose request was answered before its end: clients that send first and read then must find
#: the answer, yet are not listened to for ever.
REST = MinThroughput.deadline(30)
#: An answer. A kernel that holds 4 MiB of it says only after a third of them that some were read, which takes 42 s
#: over a line of 256 kbit/s.
ANSWER = MinThroughput.of_slowest(60)
#: Until a client whose request cannot be understood has read why and leaves: closed at once, with bytes of it unread,
#: TCP would take that answer back.
LINGER_SECONDS = MinThroughput.deadline(2)
#: Between two looks, in seconds: so much later than said may a client be let go. Thousands are looked at.
LOOK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class HttpTimeouts:
    """How long a client is waited for."""

    head: MinThroughput = HEAD
    body: MinThroughput = BODY
    rest: MinThroughput = REST
    answer: MinThroughput = ANSWER
    farewell: MinThroughput = LINGER_SECONDS
    look_seconds: float = LOOK_SECONDS


class ThroughputWindow:
    """The current span of a pace."""

    __slots__ = ("_began", "_moved", "_pace")

    def __init__(self, pace: MinThroughput, now: float, moved: int) -> None:
        self._pace = pace
        self.restart(now, moved)

    def restart(self, now: float, moved: int) -> None:
        self._began, self._moved = now, moved

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Whether a span has ended in which too little moved; `moved` is counted from the connection's beginning."""
        if now - self._began < self._pace.seconds:
            return False
        too_slow = moved - self._moved < self._pace.least_bytes
        self.restart(now, moved)
        return too_slow


class DeadlineTransport:
    """The transport of one connection, which outlives the HTTP on it when a WebSocket follows."""

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
        #: Bytes that came of what is awaited; whoever awaits it counts them.
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
        """From now on bytes must come at this pace, else `late` is called, again and again."""
        self._awaited, self._late = ThroughputWindow(pace, self._loop.time(), self.received), late

    def expect_nothing(self) -> None:
        self._awaited = self._late = None

    def stop(self) -> None:
        """For when the connection is gone."""
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
            # It is us who do not keep pace.
            self._awaited.restart(now, self.received)
        elif self._awaited.is_too_slow(now, self.received):
            self._late()


_BAD_HANDSHAKE = (
    "This is no WebSocket handshake as RFC 6455 has it: a GET without a body, of at most 128 headers and 8,192 bytes"
    " a line."
)
_FAULT = "Something went wrong on our side. Try again; if it stays, tell whoever runs the service."


#: Largest request head, in bytes, its target included: browsers send 1 KiB, a GraphQL document in an address some
#: more. Each field counts so many bytes more than it has, as in HTTP/2 (RFC 9113, 6.5.2): small ones cost as well.
MAX_HEAD_BYTES, FIELD_BYTES = 64 * 1024, 32
#: Requests that wait for the answers to earlier ones of their connection. Of such without a body some ten thousand come
#: with one read, and take 3 KiB each; no browser sends a second one.
MAX_PIPELINED = 100
#: Connections at once unless the door has another number.
MAX_CONNECTIONS = 10_000


class Http(HttpToolsProtocol):
    """One connection."""

    patience: ClassVar[HttpTimeouts] = HttpTimeouts()
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    def connection_made(self, transport: BaseTransport) -> None:
        self._line = DeadlineTransport(cast(asyncio.Transport, transport), self.patience, self.loop)
        super().connection_made(cast(asyncio.Transport, self._line))
        self._refused = False
        #: What the parser's next error is answered with, when we made it.
        self._refusal: tuple[int, str, str] | None = None
        self._head_bytes = self._unparsed_bytes = 0
        #: Whether a head or a body is under way; else the client may be silent, as long as uvicorn keeps it.
        self._in_head = self._in_body = False
        self._expect_head()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "There are too many connections. Try again later.", "limit")

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
            # One line without an end, in a head, between chunks or behind them.
            self._refuse(*_HEAD_TOO_LARGE)

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(429, "Too many requests were sent before their answers were read.", "too_many_pipelined")
        if not self._in_head:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_HEAD_BYTES:
            self._fail(414, f"The address is longer than {MAX_HEAD_BYTES:,} bytes. Send the operation with POST.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += len(name) + len(value) + FIELD_BYTES
        if self._head_bytes + len(self.url) > MAX_HEAD_BYTES:
            self._fail(*_HEAD_TOO_LARGE)
        if not self._in_body:
            # Those behind a body come too late for whoever has read its head.
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

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        # A body under way may also be that of the next request.
        if self._in_body and not self._is_answering():
            self._line.expect(self.patience.rest, self._rest_is_late)
        super().on_response_complete()
        if self.pipeline:
            # uvicorn would read on with each answer, and requests come in faster than they are answered.
            self.flow.pause_reading()

    def handle_websocket_upgrade(self) -> None:
        self._line.expect_nothing()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, "This is not HTTP/1.1, or not as it must be.", "malformed")))

    # What comes too late, or is too much.

    def _expect_head(self) -> None:
        self._in_head = True
        self._line.expect(self.patience.head, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_answering():
            # Whoever sends the beginning of another request meanwhile has time until the answer ends.
            return
        CONNECTIONS_CLOSED.labels("slow_header").inc()
        if self._unparsed_bytes or self._head_bytes:
            self._refuse(408, "The head of the request took too long.")
        else:
            # A browser that connected in advance would take an answer for that to its next request.
            self.transport.close()

    def _body_is_late(self) -> None:
        CONNECTIONS_CLOSED.labels("slow_body").inc()
        self._refuse(408, "The body of the request came too slowly. Send it again.")

    def _rest_is_late(self) -> None:
        CONNECTIONS_CLOSED.labels("slow_body").inc()
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _fail(self, status: int, sentence: str, reason: str = "header_too_large") -> None:
        """Has the parser stop; uvicorn then asks for the answer."""
        self._refusal = status, sentence, reason
        raise ValueError(sentence)

    def _refuse(self, status: int, sentence: str, reason: str = "") -> None:
        """Answers, if no answer is under way, and ends the connection."""
        if reason:
            CONNECTIONS_CLOSED.labels(reason).inc()
        self._refused = True
        if self._is_answering():
            if self._in_head or self.cycle.response_started:
                # The client would take what we say for the answer to an earlier request, or for its middle.
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": sentence}).encode()
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


_HEAD_TOO_LARGE = (431, f"The head of the request is larger than {MAX_HEAD_BYTES:,} bytes.", "header_too_large")


class WebSocket(WebSocketsSansIOProtocol):
    """One socket."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: The answer to the newest ping of a client that does not read at the moment.
        self._pong = b""
        self.conn = _Handshake(
            extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=self.conn.logger
        )

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn hears of it neither now nor later, and would hold the connection for ever.
            self.transport.write(self.conn.reject(HTTPStatus.BAD_REQUEST, _BAD_HANDSHAKE).serialize())
            self.transport.close()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            # Nobody reads them now, and all of them would fill the memory. The newest may stand for those before it
            # (RFC 6455, 5.5.3), yet a slow client must find that one, or it would take us for dead.
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        if self._pong:
            self.transport.write(self._pong)
            self._pong = b""
        super().resume_writing()

    def handle_cont(self, event: Frame) -> None:
        # Empty ones count for nothing in the size of a message, so there could be any number of them.
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_text(b"".join(self.frames)):
            # uvicorn takes it for a fault of its own, and logs a traceback.
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
    """Refuses with the headers that every answer carries, in a sentence of ours."""

    def reject(self, status: Any, text: str) -> Response:
        # The library's text is that of an exception, and repeats what was sent.
        sentence = _FAULT if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _BAD_HANDSHAKE
        response = super().reject(status, json.dumps({"error": sentence}) if text else "")
        del response.headers["Content-Type"]
        response.headers.update(JSON_SECURITY_HEADERS | {"Content-Type": "application/json"})
        return response
