"""Where Prometheus asks a worker process for its figures: one small page, on the loop that does the work."""

from __future__ import annotations

import asyncio
import errno
import logging

from prometheus_client import CONTENT_TYPE_LATEST

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.metrics import render_process_metrics

log = logging.getLogger(__name__)

#: Worker processes of one machine: as many ports, from the first one on, are tried.
PORTS = 256
#: Deadline for a whole exchange, in seconds; the largest head of a request, in bytes; exchanges at once.
EXCHANGE_SECONDS, HEAD_BYTES, AT_ONCE = 5.0, 8 * 1024, 8


async def listen(host: str, first_port: int) -> asyncio.Server:
    """Serves `/metrics` on the first free port from `first_port` on: each process of a machine takes one.

    Raises ConfigurationError when there is none.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS), places:
                writer.write(_answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            # Whoever is slow, or speaks something else, hears nothing.
            writer.transport.abort()
        finally:
            writer.close()

    for port in range(first_port, min(first_port + PORTS, 65_536)):
        try:
            server = await asyncio.start_server(answer, host, port, limit=HEAD_BYTES)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(
                    f"Metrics cannot be shown on {host} port {port}: {error.strerror or error}. "
                    "Check IMGPROC_METRICS_HOST and IMGPROC_METRICS_PORT"
                ) from None
            continue
        log.info("metrics are shown", extra={"host": host, "port": port})
        return server
    raise ConfigurationError(
        f"Metrics cannot be shown: no port from {first_port} on is free on {host}. Choose another IMGPROC_METRICS_PORT"
    )


def _answer(head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != b"/metrics":
        status, kind, body = "404 Not Found", "text/plain", b"There is nothing but /metrics.\n"
    elif method != b"GET":
        status, kind, body = "405 Method Not Allowed", "text/plain", b"Ask with GET.\n"
    else:
        status, kind, body = "200 OK", CONTENT_TYPE_LATEST, render_process_metrics()
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Allow: GET",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
