"""A folder of pictures behind an address, for runs without the internet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class _SilentHandler(SimpleHTTPRequestHandler):
    """Keeps connections, as a real host does, and keeps silent."""

    protocol_version = "HTTP/1.1"
    #: Seconds after which a silent connection is closed.
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    #: Connections that may wait to be taken up; the default of 5 makes bursts stumble.
    request_queue_size = 128
    #: Threads of connections that are still open do not hold up the end.
    daemon_threads = True


@contextmanager
def image_host(folder: Path) -> Iterator[int]:
    """Serves a folder on a free port of 127.0.0.1, which it hands out."""
    server = _Server(("127.0.0.1", 0), partial(_SilentHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
