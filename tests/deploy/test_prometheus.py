"""Configuration of Prometheus and Grafana: it is valid, its metrics exist, and every alert fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, Metric

from gql_imgproc import metrics
from gql_imgproc.metrics import NO_LABEL, ServiceMetric, render_all_metrics

ROOT = Path(__file__).parents[2]
SERVICE_METRICS = [metric for metric in vars(metrics).values() if isinstance(metric, ServiceMetric)]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, which Debian packages with prometheus")
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, input=stdin, capture_output=True, timeout=60, check=False
    )
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output


def test_configuration_and_rules_are_valid() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "config", "prometheus.yml")


def test_every_alert_has_a_firing_test_case() -> None:
    promtool("test", "rules", "alerts_test.yml")

    cases = (PROMETHEUS / "alerts_test.yml").read_text()
    firing = set(re.findall(r'alertname="(\w+)", alertstate="firing"', cases))
    assert firing == {rule["alert"] for rule in alerts()}


def test_every_alert_has_a_description_and_a_runbook() -> None:
    for rule in alerts():
        name, annotations = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(annotations) == {"summary", "description", "runbook"}, name
        assert annotations["runbook"] == f"docs/OPERATIONS.md#{name.lower()}"
        assert annotations["description"].endswith("."), name


def test_every_alert_has_a_runbook_section() -> None:
    headings = re.findall(r"^#+ `?(\w+)`?$", (ROOT / "docs/OPERATIONS.md").read_text(), re.MULTILINE)

    assert {rule["alert"] for rule in alerts()} <= set(headings)


def expressions() -> list[str]:
    boards = [json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")]
    panel_expressions = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    return [*panel_expressions, *(rule["expr"] for rule in alerts())]


def own_metrics() -> list[Metric]:
    """The metrics of this process, without those of the client library."""
    return [family for family in REGISTRY.collect() if family.name.startswith("imgproc_")]


def test_alerts_and_dashboards_use_existing_metrics() -> None:
    used = {name for expression in expressions() for name in re.findall(r"\bimgproc_\w+", expression)}
    exported = {sample.name for family in own_metrics() for sample in family.samples} | {
        family.name + suffix
        for family in own_metrics()
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    }
    shared = {metric.name for metric in SERVICE_METRICS}

    assert used - exported - shared == set()
    # Every metric appears in an alert or a dashboard.
    families = {re.sub("_(total|bucket|sum|count|info)$", "", name) for name in used}
    assert {family.name for family in own_metrics()} - families == set()
    assert shared - used == set()


def test_service_metrics_are_not_summed() -> None:
    shared = "|".join(metric.name for metric in SERVICE_METRICS if metric.name != "imgproc_backend_up")
    uses = [(expression, use) for expression in expressions() for use in re.finditer(rf"\b({shared})\b", expression)]
    assert len(uses) > len(SERVICE_METRICS)

    for expression, use in uses:
        before = expression[: use.start()].removesuffix("rate(")
        assert re.search(r"max( by \(\w+\) )?\($", before), expression


def test_panels_of_dashboards_have_their_own_ids_and_places() -> None:
    for path in (GRAFANA / "dashboards").iterdir():
        panels = json.loads(path.read_text())["panels"]
        cells = [
            (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
            for panel in panels
            for x in range(panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["h"])
        ]

        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len(set(cells)) == len(cells)


def test_metric_names_follow_prometheus_conventions() -> None:
    values = {metric: {"x" if metric.label else NO_LABEL: 1.0} for metric in SERVICE_METRICS}
    exported = b"".join(
        line for line in render_all_metrics(values).splitlines(keepends=True) if re.match(rb"(# \w+ )?imgproc_", line)
    )

    promtool("check", "metrics", stdin=exported)
