"""One run of the real service, seen by a real Prometheus, in its log, and by a collector of traces."""

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

from gql_imgproc.standalone.client import UPLOAD, Client, Progress
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.test_webhook import receiver
from tests.support.otlp_collector import Collector, Span, collecting
from tests.support.services import ImageHost, jpeg

pytestmark = pytest.mark.acceptance

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

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        found = self.ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def by(self, label: str, expression: str) -> dict[str, float]:
        return {labels[label]: value for labels, value in self.query(expression) if value}

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Until an expression has a result."""
        deadline = time.monotonic() + seconds
        while not self.query(expression):
            assert time.monotonic() < deadline, f"{expression} has no result"
            time.sleep(0.1)


@contextmanager
def prometheus(folder: Path, targets: dict[str, list[str]]) -> Iterator[Prometheus]:
    """A Prometheus with the configuration that is shipped, but for where it looks, and how often."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus, which Debian packages")
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
                started.ask("status/buildinfo")
                break
            except (httpx.TransportError, AssertionError):
                assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
                time.sleep(0.05)
        yield started
    finally:
        started.close()
        process.terminate()
        process.wait(20)


def free_port(together: int = 1) -> int:
    """A port that is free, and so are those after it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        try:
            for other in range(port, port + together):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", other))
        except (OSError, OverflowError):
            continue
        return port


def manifest(host: ImageHost) -> bytes:
    """Three products: two pictures done, the second at its second try; one kept; one missing."""
    signed = f"?X-Amz-Signature={SECRET}"
    first = host.add(f"/first.jpg{signed}", jpeg(1, (640, 480)))
    second = host.add(f"/second.jpg{signed}", jpeg(2, (640, 480)))
    host.answers[f"/second.jpg{signed}"] = [503]
    tiny = host.add(f"/tiny.jpg{signed}", poor())
    rows = [f'1,Lamp,"{first},{second}"', f"2,Chair,{tiny}", f"3,Table,{host.url}/gone.jpg{signed}"]
    return "\n".join(["S. No.,Product Name,Input Image Urls", *rows]).encode()


def poor() -> bytes:
    """A picture that cannot be made smaller."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, "JPEG", quality=10, optimize=True)
    return out.getvalue()


def send(service: Service, csv: bytes, **given: Any) -> dict[str, Any]:
    variables = {"input": {"file": None, **given}}
    answer = httpx.post(
        f"{service.url}/graphql",
        headers={"GraphQL-Preflight": "1", "traceparent": f"00-{TRACE}-{CALLER}-01"},
        data={
            "operations": json.dumps({"query": UPLOAD, "variables": variables}),
            "map": json.dumps({"0": ["variables.input.file"]}),
        },
        files={"0": ("shop.csv", csv, "text/csv")},
        trust_env=False,
    )
    outcome: dict[str, Any] = answer.json()["data"]["uploadCsv"]
    return outcome


def speak_nonsense(service: Service) -> None:
    address = httpx.URL(service.url)
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        assert b"400" in connection.recv(1000)


async def follow(service: Service, request_id: str) -> Progress:
    async with Client(service.url) as client:
        return [state async for state in client.progress(request_id)][-1]


def test_a_run_is_seen(start: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = ImageHost(), free_port(together=2)
    with collecting() as collector, receiver([200]) as (webhook_url, received):
        # Given a service whose workers show their figures, a collector of traces, and a Prometheus,
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
        with prometheus(tmp_path, targets) as seen:
            seen.wait("sum(up) == 3")

            # when files are uploaded, one of which is refused, the other done and told of,
            refused = send(service, b"Name\nLamp\n")
            accepted = send(service, manifest(host), webhookUrl=f"{webhook_url}{SECRET}")
            request_id = accepted["request"]["id"]
            end = asyncio.run(follow(service, request_id))
            speak_nonsense(service)
            httpx.post(f"{service.url}/graphql", json={"query": "{ limits { maxProducts } }"}, trust_env=False)
            collector.wait(lambda: bool(collector.named("webhook")))

            # then that is what came of it,
            assert refused["__typename"] == "CsvInvalid"
            assert (end.processed, end.failed, end.kept) == (3, 1, 1)
            # and all of it is seen.
            assert_figures(seen)
            assert_dashboards_have_data(seen)
            assert_quiet(seen)
        service.stop()
    host.close()
    log = service.log.read_text()
    assert_lines(log, request_id)
    assert_one_trace(collector, request_id, received[0][0]["traceparent"])
    assert SECRET not in log
    assert SECRET.encode() not in collector.bodies


def assert_figures(seen: Prometheus) -> None:
    """Exact sums over all processes."""
    seen.wait('sum(imgproc_webhook_attempts_total{result="delivered"}) == 1')
    # All is done; what every process has counted of it is scraped from now on.
    seen.wait(f"min(timestamp(up)) > {time.time()}")
    assert seen.by("outcome", "sum by (outcome) (imgproc_images_total)") == {"COMPRESSED": 2, "KEPT": 1, "FAILED": 1}
    assert seen.by("format", "sum by (format) (imgproc_images_total)") == {"jpeg": 3, "unknown": 1}
    assert seen.by("code", "sum by (code) (imgproc_image_failures_total)") == {"HTTP_STATUS": 1}
    assert seen.by("code", "sum by (code) (imgproc_image_retries_total)") == {"HTTP_STATUS": 1}
    downloads = 'sum by (result) (imgproc_downloads_total{host_class="allowed_private"})'
    assert seen.by("result", downloads) == {"OK": 3, "STATUS_TEMPORARY": 1, "STATUS_PERMANENT": 1}
    assert seen.by("host_class", "sum by (host_class) (imgproc_downloads_total)") == {"allowed_private": 5}
    stages = seen.by("stage", "sum by (stage) (imgproc_image_stage_seconds_count)")
    assert stages == {"fetch": 5, "wait": 3, "compress": 3, "store": 3, "record": 4}
    assert seen.query("sum(imgproc_image_input_bytes_total) > sum(imgproc_image_output_bytes_total)")
    assert seen.by("status", "sum by (status) (imgproc_requests_finished_total)") == {"COMPLETED_WITH_ERRORS": 1}
    assert seen.by("result", "sum by (result) (imgproc_uploads_total)") == {"accepted": 1, "csv_invalid": 1}
    operations = seen.by("field", "sum by (field) (imgproc_graphql_operations_total)")
    assert operations == {"uploadCsv": 2, "limits": 1}
    assert seen.query("sum(imgproc_graphql_subscriptions_total) == 1")
    assert seen.query("max(imgproc_workers) == 2")
    assert seen.query("max(imgproc_images_pending) == 0")
    assert seen.query('max(imgproc_task_runs_total{task="reconcile"}) > 0')
    # Each process counts for itself, none for another.
    assert seen.query("sum(imgproc_products_claimed_total) == 4")


def assert_dashboards_have_data(seen: Prometheus) -> None:
    """Every query of every dashboard, as Grafana would ask it."""
    asked = 0
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m")
                assert "$" not in expression
                # A rate wants two values, which a figure that is new has after the next scrape.
                seen.wait(expression, seconds=5)
                asked += 1
    assert asked > 40


def assert_quiet(seen: Prometheus) -> None:
    """The rules are loaded, work, and say nothing of a run in which all is well."""
    (group,) = seen.ask("rules")["groups"]
    assert len(group["rules"]) > 10
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert seen.query('ALERTS{alertstate="firing"}') == []


def assert_lines(log: str, request_id: str) -> None:
    """One line an outcome, each with the identifiers that callers know."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line["logger"].startswith(_SERVICES)]
    times = Counter(line["event"] for line in ours)
    assert times["upload accepted"] == times["upload refused"] == 1
    assert (times["image completed"], times["image failed"], times["image retry scheduled"]) == (3, 1, 1)
    # The first product had its second picture put off.
    assert (times["product processed"], times["product retry scheduled"]) == (3, 1)
    assert times["request finished"] == times["webhook delivered"] == 1
    for line in ours:
        if line["event"].startswith("image"):
            assert line["image"].startswith("img_")
        if line["event"].startswith(("image", "product")):
            assert line["product"].startswith("prd_")
        if line["event"] not in ("periodic task completed", "upload refused"):
            assert line["request"] == request_id
    (failed,) = (line for line in ours if line["event"] == "image failed")
    assert (failed["code"], failed["http_status"]) == ("HTTP_STATUS", 404)


def assert_one_trace(collector: Collector, request_id: str, told_to_receiver: str) -> None:
    """From the caller through upload, messages and pictures to the webhook."""
    by_id = {span.id: span for span in collector.spans}

    def way(span: Span) -> list[str]:
        """Names from the outermost span to this one."""
        return [*(way(by_id[span.parent]) if span.parent in by_id else [span.parent]), span.name]

    ways = Counter(" ".join(way(span)) for span in collector.spans if span.trace == TRACE)
    upload = f"{CALLER} POST /graphql upload"
    assert ways[upload] == ways[f"{CALLER} POST /graphql"] == 2
    product = f"{upload} turn product"
    assert {name: ways[f"{product} {name}"] for name in ("fetch", "wait", "compress", "store", "record")} == {
        "fetch": 5,
        "wait": 3,
        "compress": 3,
        "store": 3,
        "record": 4,
    }
    assert ways[product] == 4
    assert ways[f"{upload} finish"] >= 1
    assert ways[f"{upload} webhook"] == 1
    (webhook,) = collector.named("webhook")
    assert told_to_receiver == f"00-{TRACE}-{webhook.id}-01"
    assert webhook.attributes["imgproc.request"] == request_id
    assert {span.service for span in collector.spans} == {"gql-imgproc-api", "gql-imgproc-worker"}
