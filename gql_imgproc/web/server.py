"""The uvicorn server of the application."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from gql_imgproc.system.process import raise_descriptor_limit
from gql_imgproc.web.http_limits import MAX_CONNECTIONS, Http
from gql_imgproc.web.websocket_limits import WebSocket

#: Time for open requests to finish after a stop signal, in seconds; less than the time that `up` allows.
STOP_S = 5
#: Longest time that a thread keeps the interpreter's lock while the event loop waits for it, in seconds. A query
#: takes the lock about twenty times; at the default of 5 ms that would add 0.1 s.
SWITCH_S = 0.0005
#: Maximum size of a WebSocket message from a client, in bytes: a GraphQL document and its variables.
WEBSOCKET_MESSAGE_BYTES = 256 * 1024
#: Thresholds of the garbage collector: allocated objects, then collections of the first and second generation.
#: Reference counts free what a response leaves behind, so this only bounds the memory of rare cycles, to some MiB.
GC_THRESHOLDS = (10_000, 20, 50)
#: File descriptors to request from the system: three quarters are for clients, the rest for the database, Redis, the
#: object store and temporary files.
DESCRIPTORS = MAX_CONNECTIONS * 4 // 3 + 1


def uvicorn_config(
    app: ASGIApp, host: str = "127.0.0.1", port: int = 0, *, http: type[Http] = Http, stop_seconds: int = STOP_S
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=http,
        ws=WebSocket,
        ws_max_size=WEBSOCKET_MESSAGE_BYTES,
        # Compression would take ten times the memory per subscriber, and save only some hundred bytes a second.
        ws_per_message_deflate=False,
        server_header=False,
        # uvicorn would trust proxy headers from every local process; `graphql.auth` decides which proxies to trust.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=stop_seconds,
    )


def run(app: ASGIApp, host: str, port: int) -> None:
    """Serves until a stop signal."""
    sys.setswitchinterval(SWITCH_S)
    Http.max_connections = min(MAX_CONNECTIONS, raise_descriptor_limit(DESCRIPTORS) * 3 // 4)
    # Loaded modules stay in memory. Without the freeze the collector scans them with each large response, which took a
    # third of its CPU time.
    gc.freeze()
    # After the freeze, the default thresholds would scan the open sockets all the time, and block the loop for 50 ms.
    gc.set_threshold(*GC_THRESHOLDS)
    server = uvicorn.Server(uvicorn_config(app, host, port))
    # On Ctrl-C the server stops in order, then raises the exception again.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
