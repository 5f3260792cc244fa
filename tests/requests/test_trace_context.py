"""The trace of an upload continues in every process that works on it; disabled tracing costs nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gql_imgproc import tracing
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Runtime
from tests.support.otlp_collector import Collector, run_collector
from tests.support.services import ImageHost, upload, work_all

CALLER = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Receives the traces of this process, which are sent when tracing is shut down."""
    with run_collector() as opened:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{opened.url}/v1/traces")
        tracing.set_up("worker")
        yield opened
        tracing.shut_down()


def csv_with_missing_image(host: ImageHost) -> str:
    return f"S. No.,Product Name,Input Image Urls\n1,Lamp,{host.url}/gone.jpg"


async def test_trace_continues_from_the_row_without_a_message(
    runtime: Runtime, image_host: ImageHost, collector: Collector
) -> None:
    with tracing.start_span("caller", CALLER):
        request = (await upload(runtime, csv_with_missing_image(image_host))).snapshot

    # Every message is lost; the reconciler would wake the worker.
    await work_all(runtime)

    stored = await runtime.db.read(queries.get_traceparent, request.id)
    tracing.shut_down()
    (uploaded,) = collector.spans_named("upload")
    assert stored == f"00-{'a' * 32}-{uploaded.id}-01"
    processed = collector.spans_named("image")
    assert {(span.trace, span.parent) for span in processed} == {("a" * 32, uploaded.id)}
    assert {span.trace for span in collector.spans} == {"a" * 32}


def test_invalid_traceparent_is_ignored(collector: Collector) -> None:
    for text in ("", "00-0-0-00", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'A' * 32}-{'b' * 16}-01", None):
        with tracing.start_span("step", text):
            pass

    tracing.shut_down()
    steps = collector.spans_named("step")
    assert [span.parent for span in steps] == [""] * 5
    assert len({span.trace for span in steps}) == 5


def test_span_records_only_the_type_of_an_error(collector: Collector) -> None:
    def fail() -> None:
        with tracing.start_span("step", CALLER):
            raise ValueError("https://example.com/?signature=hidden")

    with pytest.raises(ValueError, match="hidden"):
        fail()

    tracing.shut_down()
    (span,) = collector.spans_named("step")
    assert span.failed
    assert b"ValueError" in collector.bodies
    assert b"hidden" not in collector.bodies


def test_unresponsive_collector_does_not_block_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "SHUTDOWN_FLUSH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracing.set_up("api")
        with tracing.start_span("step"):
            pass
        started_at = time.monotonic()

        tracing.shut_down()

        # The exporter itself would wait for 10 s.
        assert time.monotonic() - started_at < 8
        assert not tracing.is_enabled()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, timeout=60, check=True
    )


def test_disabled_tracing_loads_no_exporter() -> None:
    # The Redis client imports OpenTelemetry's metrics API; no exporter is loaded.
    code = """
import sys, threading, redis
from gql_imgproc import tracing
tracing.set_up("api")
with tracing.start_span("step"):
    assert tracing.current_traceparent() is None
tracing.shut_down()
print(tracing.is_enabled(), "opentelemetry.exporter" in sys.modules, threading.active_count())
"""
    assert run_python(code).stdout == "False False 1\n"
    asked = "http://127.0.0.1:9"
    assert run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT=asked, OTEL_SDK_DISABLED="true").stdout == "False False 1\n"
    assert run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT=asked, OTEL_TRACES_EXPORTER="none").stdout == "False False 1\n"


def test_missing_tracing_extra_is_logged() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None
from gql_imgproc import log, tracing
log.set_up("info", "console")
tracing.set_up("worker")
with tracing.start_span("step"):
    print(tracing.is_enabled())
"""
    done = run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    assert done.stdout == "False\n"
    assert "install gql_imgproc[tracing]" in done.stderr
    assert done.stderr.count("\n") == 1
