"""A collector of traces: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """What was exported of a span."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]
    seconds: float
    failed: bool


class Collector:
    """What arrived, decoded and as it came."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.bodies = b""

    def take(self, body: bytes) -> None:
        self.bodies += body
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {entry.key: entry.value.string_value for entry in resource_spans.resource.attributes}
            self.spans += [
                Span(
                    service=names["service.name"],
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes={entry.key: entry.value.string_value for entry in span.attributes},
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )
                for scope_spans in resource_spans.scope_spans
                for span in scope_spans.spans
            ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def wait(self, there: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < deadline, sorted(span.name for span in self.spans)
            time.sleep(0.05)


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(server.server_port)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
