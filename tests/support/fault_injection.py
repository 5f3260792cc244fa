"""A proxy in front of a server that injects faults: lost, late or wrong responses."""

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

#: Response body of S3, with status 403, for credentials without permission.
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
#: Hop-by-hop headers, and headers that the proxy sets itself.
_HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "date", "server", "content-length")


class Fault(Enum):
    """What happens to a request."""

    BUSY = "the proxy responds with status 503"
    DENIED = "the proxy responds with status 403"
    DISCONNECT = "the connection is closed before the request reaches the server"
    LOST_RESPONSE = "the server handles the request, but the connection is closed before the response"
    HANG = "there is no response"


class FaultyProxy:
    """Forwards requests to `server`, except those for which `fault` returns a fault."""

    def __init__(self, server: str) -> None:
        self.url = ""
        #: Chooses the fault for a request by its method and target.
        self.fault: Callable[[str, str], Fault | None] = lambda method, target: None
        #: Every request as `METHOD TARGET`, and those that failed.
        self.requests: list[str] = []
        self.failed_requests: list[str] = []
        self.closed = Event()
        self.server = urlsplit(server).netloc

    def fail(self, fault: Fault, *methods: str, times: int | None = None) -> None:
        """Let requests with one of these methods fail (default: all), at most `times` times if set."""
        left = [times]

        def fails(method: str, target: str) -> Fault | None:
            if (methods and method not in methods) or left[0] == 0:
                return None
            if left[0] is not None:
                left[0] -= 1
            return fault

        self.fault = fails

    def recover(self) -> None:
        self.fault = lambda method, target: None


class ProxyHandler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    # Head and body are two packets: with Nagle's algorithm the second one waits 40 ms for the other's receipt.
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.proxy.requests.append(f"{self.command} {self.path}")
        fault = self.proxy.fault(self.command, self.path)
        if fault is not None:
            self.proxy.failed_requests.append(f"{self.command} {self.path}")
        match fault:
            case None:
                self.forward(body)
            case Fault.BUSY:
                self.respond(503, {}, BUSY)
            case Fault.DENIED:
                self.respond(403, {}, DENIED)
            case Fault.HANG:
                self.proxy.closed.wait()
                self.close_connection = True
            case Fault.LOST_RESPONSE:
                self.send_to_server(body)
                self.disconnect()
            case Fault.DISCONNECT:
                self.disconnect()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def send_to_server(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Forward with the original `Host` header, because it is signed."""
        connection = HTTPConnection(self.proxy.server)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def forward(self, body: bytes) -> None:
        self.respond(*self.send_to_server(body))

    def respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
        # The response to HEAD has the length of the object, but no body.
        length = {name.lower(): value for name, value in headers.items()}.get("content-length")
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def disconnect(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignored: clients disconnect in these tests."""


@contextmanager
def proxy_to(server: str, handler: type[ProxyHandler] = ProxyHandler) -> Iterator[FaultyProxy]:
    """A proxy that works until a test lets it fail."""
    proxy = FaultyProxy(server)
    http_server = _Server(("127.0.0.1", 0), type("Handler", (handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{http_server.server_port}"
    Thread(target=http_server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.closed.set()
        http_server.shutdown()
        http_server.server_close()
