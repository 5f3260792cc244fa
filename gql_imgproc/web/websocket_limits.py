"""uvicorn's WebSocket protocol with limits for handshakes, pongs and empty frames."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from gql_imgproc.web.security_headers import JSON_SECURITY_HEADERS

_BAD_HANDSHAKE = (
    "Invalid WebSocket handshake: expected a GET without a body, at most 128 headers, each at most 8,192 bytes."
)
_INTERNAL_ERROR = "Internal error. Try again; if the problem persists, contact the operator."


#: A client that was sent a close frame and sends nothing for this time, in seconds, has read it.
SILENCE_S = 0.5


class WebSocket(WebSocketsSansIOProtocol):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        #: Pong for the newest ping of a client that currently does not read.
        self._pong = b""
        #: When a frame was refused. The rest of what the client sends is discarded.
        self._refused_at: float | None = None
        self.conn = _Handshake(
            extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=self.conn.logger
        )

    def data_received(self, data: bytes) -> None:
        if self._refused_at is not None:
            self._close_when_silent(self._refused_at)
            return
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

    def handle_parser_exception(self) -> None:
        """Closes the WebSocket because of an invalid or too large frame."""
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.stop_keepalive()
        self.close_sent = self.disconnected = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # uvicorn would close the connection. With unread bytes, TCP would then discard the close frame with its reason.
        self._refused_at = self.loop.time()
        self._close_when_silent(self._refused_at)

    def _close_when_silent(self, refused_at: float) -> None:
        """Closes the connection when the client stops sending, at the latest after `close_timeout`."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_at(
            min(self.loop.time() + SILENCE_S, refused_at + self.close_timeout), self.transport.close
        )

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # uvicorn would log a traceback.
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


class _Handshake(ServerProtocol):
    """Rejects handshakes with the security headers and a fixed message."""

    def reject(self, status: Any, text: str) -> Response:
        # The library's message is an exception text that repeats the request.
        message = _INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _BAD_HANDSHAKE
        response = super().reject(status, json.dumps({"error": message}) if text else "")
        del response.headers["Content-Type"]
        response.headers.update(JSON_SECURITY_HEADERS | {"Content-Type": "application/json"})
        return response
