"""The server that the application runs on."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from gql_imgproc.system.process import raise_descriptor_limit
from gql_imgproc.web.http_limits import MAX_CONNECTIONS, Http, WebSocket

#: How long answers under way may take to end when the server is told to stop, in seconds; below what `up` gives it.
STOP_S = 5
#: How long a thread that reads or inserts rows may keep the interpreter's lock while the event loop waits for it,
#: in seconds. A query needs the lock some twenty times: at the default of 5 ms it would take 0.1 s meanwhile.
SWITCH_S = 0.0005
#: Largest message a client may send over a WebSocket, in bytes: a GraphQL document and its variables.
WEBSOCKET_MESSAGE_BYTES = 256 * 1024
#: Objects made, and collections of the young and the middle-aged, until the collector looks again. What an answer
#: leaves behind is freed without it, so all this bounds is the memory of rare cycles, to some MiB.
COLLECTOR = (10_000, 20, 50)
#: Files and connections that are asked of the system: three quarters of what it gives are for clients, the rest for
#: the database, Redis, the store and temporary files.
DESCRIPTORS = MAX_CONNECTIONS * 4 // 3 + 1


def uvicorn_config(
    app: ASGIApp, host: str = "127.0.0.1", port: int = 0, *, http: type[Http] = Http, stop_seconds: int = STOP_S
) -> uvicorn.Config:
    """How uvicorn is to run."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=http,
        ws=WebSocket,
        ws_max_size=WEBSOCKET_MESSAGE_BYTES,
        # Browsers ask for it; a watcher's memory would be ten times as large, to save some hundred bytes a second.
        ws_per_message_deflate=False,
        server_header=False,
        # It would believe every process of this machine; `graphql.admission.peer` knows whom to believe.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=stop_seconds,
    )


def run(app: ASGIApp, host: str, port: int) -> None:
    """Serves until told to stop."""
    sys.setswitchinterval(SWITCH_S)
    Http.max_connections = min(MAX_CONNECTIONS, raise_descriptor_limit(DESCRIPTORS) * 3 // 4)
    # What is loaded now stays for good. The collector would look through all of it with each large answer, which took a
    # third of that answer's CPU.
    gc.freeze()
    # With that out of its sight, it would look through the open sockets all the time: 50 ms in which nobody is heard.
    gc.set_threshold(*COLLECTOR)
    server = uvicorn.Server(uvicorn_config(app, host, port))
    # Told by Ctrl-C, the server stops in order, then raises it again.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
