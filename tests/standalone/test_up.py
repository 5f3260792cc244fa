from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import up
from gql_imgproc.system.process import STARTED_BY_HEADER


@pytest.fixture
def ready_server() -> Iterator[str]:
    """A server that is ready and was started by `ours`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header(STARTED_BY_HEADER, "ours")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_another_service_on_the_port_is_not_taken_for_the_api(
    ready_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "READY_S", 0.5)

    await up._wait_until_ready(ready_server, "ours")
    with pytest.raises(ConfigurationError, match="did not become ready within 0 s: another service uses the port"):
        await up._wait_until_ready(ready_server, "another")
