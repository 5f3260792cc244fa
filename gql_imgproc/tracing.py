"""Traces, by the API of OpenTelemetry; every function does nothing without the extra `tracing` or without a collector.

The standard variables of OpenTelemetry name the collector. No other module imports OpenTelemetry.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Literal

from opentelemetry.trace import NoOpTracer, StatusCode, Tracer
from opentelemetry.trace import SpanKind as SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

#: Any of these names the collector.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Time limit for sending the last spans of a process, in seconds. Must be below the stop timeout that `up` gives its
#: children.
SHUTDOWN_FLUSH_SECONDS = 2.0
#: Header of W3C Trace Context.
TRACEPARENT = "traceparent"

_W3C = TraceContextTextMapPropagator()
_provider: TracerProvider | None = None
_tracer: Tracer = NoOpTracer()


def set_up(part: Literal["api", "worker"]) -> None:
    """Starts to send spans to the collector of the environment. Call this in each process, after a fork."""
    global _provider, _tracer
    if _provider is not None or not _is_configured(os.environ):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        log.warning("traces are configured but the extra is missing: install gql_imgproc[tracing]")
        return
    service = os.environ.get("OTEL_SERVICE_NAME") or f"gql-imgproc-{part}"
    _provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("gql_imgproc")


def shut_down() -> None:
    """Sends the remaining spans, for at most SHUTDOWN_FLUSH_SECONDS."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, NoOpTracer()
    if provider is not None:
        # Without a collector it would retry for ten seconds: the exporter ignores the timeout of the provider.
        flush = Thread(target=provider.shutdown, daemon=True, name="flush-spans")
        flush.start()
        flush.join(SHUTDOWN_FLUSH_SECONDS)


def _is_configured(environment: Mapping[str, str]) -> bool:
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    uses_other_exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp")
    return not is_disabled and not uses_other_exporter and any(environment.get(name) for name in ENDPOINTS)


def is_enabled() -> bool:
    return _provider is not None


@contextmanager
def start_span(
    name: str, parent: str | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int
) -> Iterator[None]:
    """Runs the block in a span: a child of the current span, else of `parent` (a `traceparent`), else a root.

    An invalid `parent` is ignored.
    """
    if not is_enabled():
        yield
        return
    with _tracer.start_as_current_span(
        name,
        context=None if current_traceparent() or not parent else _W3C.extract({TRACEPARENT: parent}),
        kind=kind,
        attributes={f"imgproc.{key}": value for key, value in attributes.items()},
        # The text of an exception may contain a URL with secrets.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def record_finished_span(name: str, started: float, ended: float) -> None:
    """Records a span that has ended. Both times are values of `time.perf_counter()`."""
    since_epoch_ns = time.time_ns() - time.perf_counter_ns()
    span = _tracer.start_span(name, start_time=since_epoch_ns + int(started * 1e9))
    span.end(since_epoch_ns + int(ended * 1e9))


def current_traceparent() -> str | None:
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return headers.get(TRACEPARENT)
