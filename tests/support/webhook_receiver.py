"""A real receiver of webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest


@dataclass
class Receiver:
    """Responds with `statuses` in order, then with 204, and stores the requests; status 0 is no response."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    response_headers: dict[str, str] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    is_silent: Event = field(default_factory=Event)
    is_released: Event = field(default_factory=Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            if status == 0:
                receiver.is_silent.set()
                receiver.is_released.wait(20)
                return
            self.send_response(status)
            for name, value in receiver.response_headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield receiver
        receiver.is_released.set()
        server.shutdown()
        thread.join()
