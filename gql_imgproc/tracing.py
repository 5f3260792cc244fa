"""Traces over OTLP: off unless the standard variables of OpenTelemetry name a collector.

Without the extra `tracing`, or without a collector, every function here does nothing, at the price of one look at a
name. What is asked of OpenTelemetry is asked here and nowhere else.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

#: Any of these says where traces go.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: How long the last spans of a process may take to be sent, in seconds: below what `up` gives its children.
SHUTDOWN_FLUSH_SECONDS = 2.0
#: The header of W3C Trace Context, and the name of what carries it between processes of ours.
TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def set_up(part: Literal["api", "worker"]) -> None:
    """Sends spans to the collector that the environment names; call it in the process that makes them, after a fork."""
    global _provider, _tracer
    if _provider is not None or not _wanted(os.environ):
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
    """Sends what was not sent yet, for as long as a process that is to end has time for it."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        # It would go on for ten seconds where no collector answers; its own deadline is not heeded by what it calls.
        last = Thread(target=provider.shutdown, daemon=True, name="last-spans")
        last.start()
        last.join(SHUTDOWN_FLUSH_SECONDS)


def _wanted(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    elsewhere = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp")
    return not disabled and not elsewhere and any(environment.get(name) for name in ENDPOINTS)


def is_enabled() -> bool:
    return _tracer is not None


@contextmanager
def start_span(
    name: str, parent: str | None = None, kind: Kind = "INTERNAL", **attributes: str | int
) -> Iterator[None]:
    """The block is a span: of the one that is open here, else of the `traceparent` given, else the first of a trace."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name,
        context=None if current_traceparent() else _context(parent),
        kind=SpanKind[kind],
        attributes={f"imgproc.{key}": value for key, value in attributes.items()},
        # An exception may repeat an address with its secrets.
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield
        except Exception as error:
            from opentelemetry.trace import StatusCode

            opened.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def record_finished_span(name: str, began: float, ended: float) -> None:
    """A span that has passed, between two readings of `time.perf_counter`."""
    if _tracer is None:
        return
    since_epoch_ns = time.time_ns() - time.perf_counter_ns()
    passed = _tracer.start_span(name, start_time=since_epoch_ns + int(began * 1e9))
    passed.end(since_epoch_ns + int(ended * 1e9))


def current_traceparent() -> str | None:
    """The `traceparent` of the span that is open here."""
    if _tracer is None:
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def parse_traceparent(traceparent: object) -> str | None:
    """What is in the form of a `traceparent`, whoever sent it."""
    return traceparent if isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent) else None


def _context(traceparent: str | None) -> Context | None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}) if traceparent else None


_TRAVELLING: ContextVar[str | None] = ContextVar("travelling", default=None)


def propagation_headers() -> str | None:
    """The `traceparent` that messages sent from here carry: that of the request they are about.

    Not that of the span which sends them, or each turn of a long request would hang below the one before.
    """
    return _TRAVELLING.get() or current_traceparent()


def attach_context(traceparent: object) -> None:
    """From now on what is sent carries the `traceparent` that a message had, if it had one."""
    if _tracer is not None:
        _TRAVELLING.set(parse_traceparent(traceparent))


@contextmanager
def use_context(traceparent: str | None) -> Iterator[None]:
    """What is sent within the block carries this `traceparent`."""
    token = _TRAVELLING.set(traceparent)
    try:
        yield
    finally:
        _TRAVELLING.reset(token)
