"""One run of the real service, as seen in a real Prometheus, in its log, and in a trace collector."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.client.documents import UPLOAD
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.test_webhook import receiver
from tests.support.free_port import free_port
from tests.support.otlp_collector import Collector, Span, run_collector
from tests.support.services import ImageHost, jpeg

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
#: Packages whose log lines report outcomes.
_SERVICES = tuple(f"gql_imgproc.{package}." for package in ("requests", "processing", "webhooks", "maintenance"))
#: Where the signature of an untrusted URL is.
SECRET = "kQ7signature9Zx"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=10)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str) -> Any:
        response = self._http.get(f"/api/v1/{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def query_by(self, label: str, expression: str) -> dict[str, float]:
        return {labels[label]: value for labels, value in self.query(expression) if value}

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Waits until an expression has a result."""
        deadline = time.monotonic() + seconds
        while not self.query(expression):
            assert time.monotonic() < deadline, f"{expression} has no result"
            time.sleep(0.1)


@contextmanager
def run_prometheus(folder: Path, targets: dict[str, list[str]]) -> Iterator[Prometheus]:
    """A Prometheus with the shipped configuration, except for targets and intervals."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs the command prometheus, for instance of Debian's package")
    configuration = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    assert [job["job_name"] for job in configuration["scrape_configs"]] == list(targets)
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs")
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(ROOT / "deploy/prometheus/alerts.yml", folder)
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address=127.0.0.1:{port}"),
                *(f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"),
            ],
            stdout=log,
            stderr=log,
        )
    started = Prometheus(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                started.get("status/buildinfo")
                break
            except (httpx.TransportError, AssertionError):
                assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
                time.sleep(0.05)
        yield started
    finally:
        started.close()
        process.terminate()
        process.wait(20)


def given_csv(host: ImageHost) -> bytes:
    """Three products: two images that compress, one of them after a retry; one image that is kept; one missing."""
    signed = f"?X-Amz-Signature={SECRET}"
    first = host.add(f"/first.jpg{signed}", jpeg(1, (640, 480)))
    second = host.add(f"/second.jpg{signed}", jpeg(2, (640, 480)))
    host.statuses[f"/second.jpg{signed}"] = [500]
    tiny = host.add(f"/tiny.jpg{signed}", incompressible_jpeg())
    rows = [f'1,Lamp,"{first},{second}"', f"2,Chair,{tiny}", f"3,Table,{host.url}/gone.jpg{signed}"]
    return "\n".join(["S. No.,Product Name,Input Image Urls", *rows]).encode()


def incompressible_jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, "JPEG", quality=10, optimize=True)
    return out.getvalue()


def upload(service: Service, csv: bytes, **options: Any) -> dict[str, Any]:
    variables = {"input": {"file": None, **options}}
    response = httpx.post(
        f"{service.url}/graphql",
        headers={"GraphQL-Preflight": "1", "traceparent": f"00-{TRACE}-{CALLER}-01"},
        data={
            "operations": json.dumps({"query": UPLOAD, "variables": variables}),
            "map": json.dumps({"0": ["variables.input.file"]}),
        },
        files={"0": ("shop.csv", csv, "text/csv")},
        trust_env=False,
    )
    result: dict[str, Any] = response.json()["data"]["uploadCsv"]
    return result


def send_malformed_request(service: Service) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        assert b"400" in connection.recv(1000)


async def watch(service: Service, request_id: str) -> Request:
    async with AsyncClient(service.url) as client:
        return [state async for state in client.watch(request_id)][-1]


def test_run_is_visible_in_metrics_logs_and_traces(
    start: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = ImageHost(), free_port(together=2)
    with run_collector() as collector, receiver([200]) as (webhook_url, received):
        # Given a service whose workers serve metrics, a trace collector, and a Prometheus,
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        service = start(
            *("--workers", "2"),
            FETCH_ALLOW_PORTS="*",
            LOG_FORMAT="json",
            LOG_LEVEL="debug",
            METRICS_PORT=str(port),
            RETRY_DELAYS="0.1",
            SWEEP_SECONDS="1",
        )
        workers = [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]
        api = service.url.removeprefix("http://")
        targets = {"gql-imgproc-api": [api], "gql-imgproc-worker": workers}
        with run_prometheus(tmp_path, targets) as prometheus:
            prometheus.wait("sum(up) == 3")

            # when one refused file and one accepted file with a webhook are uploaded,
            refused = upload(service, b"Name\nLamp\n")
            accepted = upload(service, given_csv(host), webhookUrl=f"{webhook_url}{SECRET}")
            request_id = accepted["request"]["id"]
            end = asyncio.run(watch(service, request_id))
            send_malformed_request(service)
            httpx.post(f"{service.url}/graphql", json={"query": "{ limits { maxProducts } }"}, trust_env=False)
            collector.wait(lambda: bool(collector.spans_named("webhook")))

            # then the request finishes as expected,
            assert refused["__typename"] == "CsvInvalid"
            assert (end.processed_images, end.failed_images, end.kept_images) == (3, 1, 1)
            # and everything is visible.
            assert_metrics(prometheus)
            assert_dashboards_have_data(prometheus)
            assert_no_alerts(prometheus)
        service.stop()
    host.close()
    log = service.log.read_text()
    assert_log_lines(log, request_id)
    assert_one_trace(collector, request_id, received[0][0]["traceparent"])
    assert SECRET not in log
    assert SECRET.encode() not in collector.bodies


def assert_metrics(prometheus: Prometheus) -> None:
    """Exact sums over all processes."""
    prometheus.wait('sum(imgproc_webhook_attempts_total{result="delivered"}) == 1')
    # The work is done: the next scrape of each process has its final counts.
    prometheus.wait(f"min(timestamp(up)) > {time.time()}")
    assert prometheus.query_by("outcome", "sum by (outcome) (imgproc_images_total)") == {
        "COMPRESSED": 2,
        "KEPT": 1,
        "FAILED": 1,
    }
    assert prometheus.query_by("format", "sum by (format) (imgproc_images_total)") == {"jpeg": 3, "unknown": 1}
    assert prometheus.query_by("code", "sum by (code) (imgproc_image_failures_total)") == {"HTTP_STATUS": 1}
    assert prometheus.query_by("code", "sum by (code) (imgproc_image_retries_total)") == {"HTTP_STATUS": 1}
    downloads = 'sum by (result) (imgproc_downloads_total{host_category="allowed_private"})'
    assert prometheus.query_by("result", downloads) == {"OK": 3, "STATUS_RETRYABLE": 1, "STATUS_PERMANENT": 1}
    assert prometheus.query_by("host_category", "sum by (host_category) (imgproc_downloads_total)") == {
        "allowed_private": 5
    }
    stages = prometheus.query_by("stage", "sum by (stage) (imgproc_image_stage_seconds_count)")
    # Results are recorded in groups.
    assert 1 <= stages.pop("record") <= 5
    assert stages == {"fetch": 5, "wait": 3, "compress": 3, "store": 3}
    assert prometheus.query("sum(imgproc_image_input_bytes_total) > sum(imgproc_image_output_bytes_total)")
    assert prometheus.query_by("status", "sum by (status) (imgproc_requests_finished_total)") == {
        "COMPLETED_WITH_ERRORS": 1
    }
    assert prometheus.query_by("result", "sum by (result) (imgproc_uploads_total)") == {"accepted": 1, "csv_invalid": 1}
    operations = prometheus.query_by("field", "sum by (field) (imgproc_graphql_operations_total)")
    assert operations == {"uploadCsv": 2, "limits": 1}
    assert prometheus.query("sum(imgproc_graphql_subscriptions_total) == 1")
    assert prometheus.query("max(imgproc_workers) == 2")
    assert prometheus.query("max(imgproc_images_pending) == 0")
    assert prometheus.query('max(imgproc_task_runs_total{task="reconcile"}) > 0')
    # No process counts what another one did.
    assert prometheus.query("sum(imgproc_images_claimed_total) == 5")


def assert_dashboards_have_data(prometheus: Prometheus) -> None:
    """Runs every query of every dashboard, as Grafana does."""
    queries = 0
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m")
                assert "$" not in expression
                # rate() needs two values; a new metric has them after the next scrape.
                prometheus.wait(expression, seconds=5)
                queries += 1
    assert queries > 40


def assert_no_alerts(prometheus: Prometheus) -> None:
    """The rules are loaded, have no errors, and fire no alert in a successful run."""
    (group,) = prometheus.get("rules")["groups"]
    assert len(group["rules"]) > 10
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert prometheus.query('ALERTS{alertstate="firing"}') == []


def assert_log_lines(log: str, request_id: str) -> None:
    """One line per outcome, with the IDs that callers know."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    service_lines = [line for line in lines if line["logger"].startswith(_SERVICES)]
    counts = Counter(line["event"] for line in service_lines)
    assert counts["upload accepted"] == counts["upload refused"] == 1
    assert (counts["image completed"], counts["image failed"], counts["image retry scheduled"]) == (3, 1, 1)
    assert counts["request finished"] == counts["webhook delivered"] == 1
    for line in service_lines:
        if line["event"].startswith("image"):
            assert line["image"].startswith("img_")
        if line["event"].startswith(("image", "product")):
            assert line["product"].startswith("prd_")
        if line["event"] not in ("periodic task completed", "upload refused"):
            assert line["request"] == request_id
    (failed,) = (line for line in service_lines if line["event"] == "image failed")
    assert (failed["code"], failed["http_status"]) == ("HTTP_STATUS", 404)


def assert_one_trace(collector: Collector, request_id: str, webhook_traceparent: str) -> None:
    """The trace leads from the caller through upload, messages and images to the webhook."""
    by_id = {span.id: span for span in collector.spans}

    def span_path(span: Span) -> list[str]:
        """Names from the outermost span to this one."""
        return [*(span_path(by_id[span.parent]) if span.parent in by_id else [span.parent]), span.name]

    paths = Counter(" ".join(span_path(span)) for span in collector.spans if span.trace == TRACE)
    upload = f"{CALLER} POST /graphql upload"
    assert paths[upload] == paths[f"{CALLER} POST /graphql"] == 2
    image = f"{upload} image"
    assert {name: paths[f"{image} {name}"] for name in ("fetch", "wait", "compress", "store")} == {
        "fetch": 5,
        "wait": 3,
        "compress": 3,
        "store": 3,
    }
    # Four images, one of them in two attempts.
    assert paths[image] == 5
    assert paths[f"{upload} advance"] >= 1
    assert paths[f"{upload} webhook"] == 1
    (webhook,) = collector.spans_named("webhook")
    assert webhook_traceparent == f"00-{TRACE}-{webhook.id}-01"
    assert webhook.attributes["imgproc.request"] == request_id
    assert {span.service for span in collector.spans} == {"gql-imgproc-api", "gql-imgproc-worker"}
