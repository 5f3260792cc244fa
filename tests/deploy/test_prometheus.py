"""What is shipped for Prometheus and Grafana: valid, about figures that there are, and each alert proven to fire."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gql_imgproc.metrics import NO_LABEL, SERVICE_METRICS, iter_own_metrics, render_all_metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def promtool(*arguments: str, given: bytes = b"") -> str:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, which Debian packages with prometheus")
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, input=given, capture_output=True, timeout=60, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_configuration_and_its_rules_are_valid() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", "alerts_test.yml")

    cases = (PROMETHEUS / "alerts_test.yml").read_text()
    firing = set(re.findall(r'alertname="(\w+)", alertstate="firing"', cases))
    assert firing == {rule["alert"] for rule in alerts()}


def test_each_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for rule in alerts():
        name, told = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(told) == {"summary", "description", "runbook"}, name
        assert told["runbook"] == f"docs/OPERATIONS.md#{name.lower()}"
        assert told["description"].endswith("."), name


@pytest.mark.skipif(not (ROOT / "docs/OPERATIONS.md").exists(), reason="the page is written on another branch")
def test_each_alert_has_its_page() -> None:
    headings = re.findall(r"^#+ `?(\w+)`?$", (ROOT / "docs/OPERATIONS.md").read_text(), re.MULTILINE)

    assert {rule["alert"] for rule in alerts()} <= set(headings)


def expressions() -> list[str]:
    boards = [json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")]
    asked = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    return [*asked, *(rule["expr"] for rule in alerts())]


def test_alerts_and_dashboards_ask_for_figures_that_there_are() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\bimgproc_\w+", expression)}
    told = {sample.name for family in iter_own_metrics() for sample in family.samples} | {
        family.name + suffix
        for family in iter_own_metrics()
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
    }
    shared = {figure.name for figure in SERVICE_METRICS}

    assert asked - told - shared == set()
    # And whatever is told is shown somewhere.
    families = {re.sub("_(total|bucket|sum|count|info)$", "", name) for name in asked}
    assert {family.name for family in iter_own_metrics()} - families == set()
    assert shared - asked == set()


def test_figures_about_the_whole_service_are_not_added_up() -> None:
    shared = "|".join(figure.name for figure in SERVICE_METRICS if figure.name != "imgproc_backend_up")
    uses = [(expression, use) for expression in expressions() for use in re.finditer(rf"\b({shared})\b", expression)]
    assert len(uses) > len(SERVICE_METRICS)

    for expression, use in uses:
        before = expression[: use.start()].removesuffix("rate(")
        assert re.search(r"max( by \(\w+\) )?\($", before), expression


def test_the_dashboards_are_what_their_module_writes() -> None:
    written = runpy.run_path(str(GRAFANA / "make_dashboards.py"))["texts"]()

    assert {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()} == written


def test_names_types_and_units_are_as_prometheus_has_them() -> None:
    readings = {figure: {"x" if figure.label else NO_LABEL: 1.0} for figure in SERVICE_METRICS}
    ours = b"".join(
        line for line in render_all_metrics(readings).splitlines(keepends=True) if re.match(rb"(# \w+ )?imgproc_", line)
    )

    promtool("check", "metrics", given=ours)
