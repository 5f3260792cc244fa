"""An HTTP server of sample images, for runs without internet access."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class _SilentHandler(SimpleHTTPRequestHandler):
    """Keeps connections alive, as real image hosts do, and logs nothing."""

    protocol_version = "HTTP/1.1"
    #: Seconds after which an idle connection is closed.
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    #: Backlog of connections; the default of 5 refuses some of a burst.
    request_queue_size = 128
    #: Threads of open connections do not delay the shutdown.
    daemon_threads = True


@contextmanager
def serve_images(folder: Path) -> Iterator[int]:
    """Serves a folder on a free port of 127.0.0.1; yields the port."""
    server = _Server(("127.0.0.1", 0), partial(_SilentHandler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
