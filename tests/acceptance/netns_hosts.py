"""An image host with a delay, whose responses a test computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.support.unique_images import unique_jpeg

#: Returns the body for a path.
Respond = Callable[[str], bytes]


@contextmanager
def host(respond: Respond, delay_s: float = 0, ip: str = "127.0.0.1") -> Iterator[int]:
    """Responds to every path after a delay. Yields the port. A JPEG has other bytes at each path, and equal pixels."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(delay_s)
            body = unique_jpeg(respond(self.path), self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Tests kill clients; broken connections are expected."""

    server = Server((ip, 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
