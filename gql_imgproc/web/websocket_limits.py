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
