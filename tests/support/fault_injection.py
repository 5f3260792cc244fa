"""A way to a server that fails when it is told to: its answers go missing, come late, or are not its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

#: What an S3 server says, with status 403, to a key that may not do this.
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
#: Headers that are for one connection, not for what is said over it.
_HOP = ("connection", "keep-alive", "transfer-encoding", "date", "server", "content-length")


class Fault(Enum):
    """What becomes of a request."""

    BUSY = "answered with 503 by somebody in between"
    DENIED = "answered with 403"
    CUT = "the connection ends before the request is passed on"
    MUTE = "it is passed on and done, but the connection ends before the answer"
    HANG = "nothing is ever answered"


class Way:
    """Passes requests on to `server`, but for those that meet `fault`."""

    def __init__(self, server: str) -> None:
        self.url = ""
        #: What a request, by its method and target, is to suffer.
        self.fault: Callable[[str, str], Fault | None] = lambda method, target: None
        #: Every request that came, as `METHOD TARGET`, and those that suffered.
        self.seen: list[str] = []
        self.suffered: list[str] = []
        self.over = Event()
        self.server = urlsplit(server).netloc

    def fail(self, fault: Fault, *methods: str, times: int | None = None) -> None:
        """From now on requests with one of these methods (all without any) fail; only so many times, when given."""
        left = [times]

        def fails(method: str, target: str) -> Fault | None:
            if (methods and method not in methods) or left[0] == 0:
                return None
            if left[0] is not None:
                left[0] -= 1
            return fault

        self.fault = fails

    def heal(self) -> None:
        self.fault = lambda method, target: None


@contextmanager
def way_to(server: str) -> Iterator[Way]:
    """A way to `server` that works until it is told to fail."""
    way = Way(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            way.seen.append(f"{self.command} {self.path}")
            fault = way.fault(self.command, self.path)
            if fault is not None:
                way.suffered.append(f"{self.command} {self.path}")
            match fault:
                case None:
                    self.pass_on(body)
                case Fault.BUSY:
                    self.answer(503, {}, BUSY)
                case Fault.DENIED:
                    self.answer(403, {}, DENIED)
                case Fault.HANG:
                    way.over.wait()
                    self.close_connection = True
                case Fault.MUTE:
                    self.ask(body)
                    self.cut()
                case Fault.CUT:
                    self.cut()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            """What the server says; it sees the same host, which is signed."""
            connection = HTTPConnection(way.server)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                connection.close()

        def pass_on(self, body: bytes) -> None:
            self.answer(*self.ask(body))

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            # The length that is told of an object when only its headers were asked for.
            told = {name.lower(): value for name, value in headers.items()}.get("content-length")
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", told if self.command == "HEAD" and told else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients give up here; that they are gone is no news."""

    listening = Server(("127.0.0.1", 0), Handler)
    way.url = f"http://127.0.0.1:{listening.server_port}"
    Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield way
    finally:
        way.over.set()
        listening.shutdown()
        listening.server_close()
