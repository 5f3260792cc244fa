"""Serves a worker process's metrics to Prometheus, on the event loop that does the work."""

from __future__ import annotations

import asyncio
import errno
import logging

from prometheus_client import CONTENT_TYPE_LATEST

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.metrics import render_process_metrics

log = logging.getLogger(__name__)

#: Ports that are tried, beginning with the first one: one per worker process of a machine.
PORTS = 256
#: Deadline of a whole exchange, in seconds.
EXCHANGE_SECONDS = 5.0
#: Maximum size of a request's header, in bytes.
MAX_HEADER_BYTES = 8 * 1024
#: Exchanges at once; more wait.
MAX_EXCHANGES = 8


async def listen(host: str, first_port: int) -> asyncio.Server:
    """Serves `/metrics` on the first free port, beginning with `first_port`: each process of a machine uses one.

    Raises ConfigurationError when no port is free.
    """
    limit = asyncio.Semaphore(MAX_EXCHANGES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS), limit:
                writer.write(_build_response(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            # A slow or malformed request gets no response.
            writer.transport.abort()
        finally:
            writer.close()

    for port in range(first_port, min(first_port + PORTS, 65_536)):
        try:
            server = await asyncio.start_server(serve, host, port, limit=MAX_HEADER_BYTES)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(
                    f"Cannot serve metrics on {host} port {port}: {error.strerror or error}. "
                    "Check IMGPROC_METRICS_HOST and IMGPROC_METRICS_PORT"
                ) from None
            continue
        log.info("metrics server listening", extra={"host": host, "port": port})
        return server
    raise ConfigurationError(
        f"Cannot serve metrics: no port from {first_port} on is free on {host}. Choose another IMGPROC_METRICS_PORT"
    )


def _build_response(header: bytes) -> bytes:
    method, _, rest = header.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != b"/metrics":
        status, content_type, body = "404 Not Found", "text/plain", b"Not found. Metrics are at /metrics.\n"
    elif method != b"GET":
        status, content_type, body = "405 Method Not Allowed", "text/plain", b"Method not allowed. Use GET.\n"
    else:
        status, content_type, body = "200 OK", CONTENT_TYPE_LATEST, render_process_metrics()
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Allow: GET",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
