"""WebSockets as uvicorn speaks them, with what it lacks: an answer to every handshake and no piling up."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from gql_imgproc.web.headers import BARE

_NOT_A_HANDSHAKE = (
    "This is no WebSocket handshake as RFC 6455 has it: a GET without a body, of at most 128 headers and 8,192 bytes"
    " a line."
)
_FAULT = "Something went wrong on our side. Try again; if it stays, tell whoever runs the service."


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
            self.transport.write(self.conn.reject(HTTPStatus.BAD_REQUEST, _NOT_A_HANDSHAKE).serialize())
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
        sentence = _FAULT if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _NOT_A_HANDSHAKE
        response = super().reject(status, json.dumps({"error": sentence}) if text else "")
        del response.headers["Content-Type"]
        response.headers.update(BARE | {"Content-Type": "application/json"})
        return response
