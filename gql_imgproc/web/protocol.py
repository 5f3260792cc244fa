"""HTTP as uvicorn speaks it, with what it lacks: an end to every wait and a limit to every head."""

from __future__ import annotations

import asyncio
import json
from asyncio.transports import BaseTransport
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gql_imgproc.metrics import CONNECTIONS_CUT
from gql_imgproc.web.headers import BARE
from gql_imgproc.web.line import Line, Patience

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

    patience: ClassVar[Patience] = Patience()
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    def connection_made(self, transport: BaseTransport) -> None:
        self._line = Line(cast(asyncio.Transport, transport), self.patience, self.loop)
        super().connection_made(cast(asyncio.Transport, self._line))
        self._refused = False
        #: What the parser's next error is answered with, when we made it.
        self._refusal: tuple[int, str, str] | None = None
        self._head_bytes = self._unparsed_bytes = 0
        #: Whether a head or a body is under way; else the client may be silent, as long as uvicorn keeps it.
        self._in_head = self._in_body = False
        self._expect_head()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "There are too many connections. Try again later.", "too_many")

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
        CONNECTIONS_CUT.labels("slow_head").inc()
        if self._unparsed_bytes or self._head_bytes:
            self._refuse(408, "The head of the request took too long.")
        else:
            # A browser that connected in advance would take an answer for that to its next request.
            self.transport.close()

    def _body_is_late(self) -> None:
        CONNECTIONS_CUT.labels("slow_body").inc()
        self._refuse(408, "The body of the request came too slowly. Send it again.")

    def _rest_is_late(self) -> None:
        CONNECTIONS_CUT.labels("slow_body").inc()
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _fail(self, status: int, sentence: str, reason: str = "large_head") -> None:
        """Has the parser stop; uvicorn then asks for the answer."""
        self._refusal = status, sentence, reason
        raise ValueError(sentence)

    def _refuse(self, status: int, sentence: str, reason: str = "") -> None:
        """Answers, if no answer is under way, and ends the connection."""
        if reason:
            CONNECTIONS_CUT.labels(reason).inc()
        self._refused = True
        if self._is_answering():
            if self._in_head or self.cycle.response_started:
                # The client would take what we say for the answer to an earlier request, or for its middle.
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": sentence}).encode()
        headers = BARE | {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._line.expect(self.patience.farewell, self.transport.abort)


_HEAD_TOO_LARGE = (431, f"The head of the request is larger than {MAX_HEAD_BYTES:,} bytes.", "large_head")
