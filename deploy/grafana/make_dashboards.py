"""Writes the dashboards: `python deploy/grafana/make_dashboards.py`.

Each process counts its own work, so queries sum these metrics. Every API process returns the same metrics of the whole
service, so queries take their maximum.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Units of Grafana's grid, which has 24 columns.
WIDTH, HEIGHT, STAT_WIDTH, STAT_HEIGHT = 8, 8, 4, 4


@dataclass(frozen=True)
class Panel:
    """A panel and its queries, each a PromQL expression and the legend of its lines."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    description: str = ""
    stacked: bool = False

    def json(self, number: int, place: dict[str, int]) -> dict[str, Any]:
        stat = place["h"] == STAT_HEIGHT
        custom = {"fillOpacity": 20 if self.stacked else 0, "stacking": {"mode": "normal" if self.stacked else "none"}}
        return {
            "id": number,
            "type": "stat" if stat else "timeseries",
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": place,
            "fieldConfig": {
                "defaults": {"unit": self.unit, "min": 0, **({} if stat else {"custom": custom})},
                "overrides": [],
            },
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}}
            if stat
            else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
            "targets": [
                {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
                for n, (expression, legend) in enumerate(self.queries)
            ],
        }


def dashboard(uid: str, title: str, stats: list[Panel], panels: list[Panel]) -> dict[str, Any]:
    """Puts the single stats into the first row, then the panels, three in a row."""
    top = STAT_HEIGHT if stats else 0
    places = [{"x": STAT_WIDTH * n, "y": 0, "w": STAT_WIDTH, "h": STAT_HEIGHT} for n in range(len(stats))]
    places += [
        {"x": WIDTH * (n % 3), "y": top + HEIGHT * (n // 3), "w": WIDTH, "h": HEIGHT} for n in range(len(panels))
    ]
    return {
        "uid": uid,
        "title": title,
        "tags": ["gql_imgproc"],
        "schemaVersion": 38,
        "timezone": "browser",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "links": [{"type": "dashboards", "tags": ["gql_imgproc"], "title": "gql_imgproc", "asDropdown": True}],
        "panels": [
            panel.json(number, place)
            for number, (panel, place) in enumerate(zip([*stats, *panels], places, strict=True), 1)
        ],
    }


def rate(counter: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({counter}[$__rate_interval]))"


def quantiles(histogram: str, by: str = "", which: str = "") -> tuple[tuple[str, str], ...]:
    """The median and the 95th percentile."""
    labels = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (
            f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{which}[$__rate_interval])))",
            f"{legend}p{share * 100:g}",
        )
        for share in (0.5, 0.95)
    )


PENDING = "max(imgproc_images_pending)"
IMAGES = rate("imgproc_images_total")

SERVICE = dashboard(
    "gql-imgproc-service",
    "gql_imgproc: service",
    [
        Panel("Open requests", "short", (("sum(max by (status) (imgproc_requests_open))", ""),)),
        Panel("Images pending", "short", ((PENDING, ""),)),
        Panel("Images per second", "short", ((IMAGES, ""),)),
        Panel("Time to finish all", "s", ((f"{PENDING} / clamp_min({IMAGES}, 0.001)", ""),), "At the current rate."),
        Panel("Workers", "short", (("max(imgproc_workers)", ""),), "Processes that reported in the last 15 s."),
        Panel("Processes down", "short", (('count(up{job=~"gql-imgproc-.*"} == 0) or vector(0)', ""),)),
    ],
    [
        Panel("Images by outcome", "ops", ((rate("imgproc_images_total", "outcome"), "{{outcome}}"),), stacked=True),
        Panel(
            "Bytes of images",
            "Bps",
            (
                (rate("imgproc_image_input_bytes_total"), "sources"),
                (rate("imgproc_image_output_bytes_total"), "results"),
            ),
        ),
        Panel(
            "Backlog",
            "short",
            (
                (PENDING, "images pending"),
                ("max(imgproc_products_pending)", "products pending"),
                ("max(imgproc_images_claimable)", "images claimable"),
            ),
            "Claimable images are counted up to 10,000; those of paused hosts do not count.",
        ),
        Panel("Messages waiting", "short", (("max by (queue) (imgproc_queue_messages)", "{{queue}}"),)),
        Panel("Uploads", "ops", ((rate("imgproc_uploads_total", "result"), "{{result}}"),), stacked=True),
        Panel(
            "Requests finished",
            "ops",
            ((rate("imgproc_requests_finished_total", "status"), "{{status}}"),),
            stacked=True,
        ),
        Panel(
            "Duration of a request",
            "s",
            quantiles("imgproc_request_seconds"),
            "From its first claim to its final status.",
        ),
        Panel("Oldest idle request", "s", (("max(imgproc_oldest_idle_request_seconds)", "open request"),)),
        Panel(
            "Webhook attempts", "ops", ((rate("imgproc_webhook_attempts_total", "result"), "{{result}}"),), stacked=True
        ),
        Panel("Duration of a webhook attempt", "s", quantiles("imgproc_webhook_seconds")),
        Panel("Webhooks due", "short", (("max(imgproc_webhooks_due)", "due"),)),
        Panel(
            "Time since the last run of a periodic task",
            "s",
            (("time() - max by (task) (imgproc_task_last_run_timestamp_seconds)", "{{task}}"),),
        ),
        Panel(
            "Runs of periodic tasks",
            "ops",
            (("max by (task) (rate(imgproc_task_runs_total[$__rate_interval]))", "{{task}}"),),
        ),
        Panel(
            "Items handled by periodic tasks",
            "ops",
            (("max by (task) (rate(imgproc_task_items_total[$__rate_interval]))", "{{task}}"),),
            "Messages sent again, requests retried or deleted, objects deleted.",
        ),
        Panel("Backends up", "short", (("min by (backend) (imgproc_backend_up)", "{{backend}}"),)),
    ],
)

WORKERS = dashboard(
    "gql-imgproc-workers",
    "gql_imgproc: workers",
    [],
    [
        Panel("Duration of each stage", "s", quantiles("imgproc_image_stage_seconds", "stage")),
        Panel(
            "Images in each stage",
            "short",
            ((rate("imgproc_image_stage_seconds_sum", "stage"), "{{stage}}"),),
            "Seconds spent per second, which is the average number of images in the stage. If `compress` equals the "
            "sum of `IMGPROC_CPU_SLOTS` of all processes, the cores are the limit.",
            stacked=True,
        ),
        Panel("Images by format", "ops", ((rate("imgproc_images_total", "format"), "{{format}}"),), stacked=True),
        Panel(
            "Size of the result relative to the source",
            "percentunit",
            (
                (
                    f"{rate('imgproc_image_output_bytes_total', 'format')}"
                    f" / {rate('imgproc_image_input_bytes_total', 'format')}",
                    "{{format}}",
                ),
            ),
        ),
        Panel(
            "Downloads",
            "ops",
            ((rate("imgproc_downloads_total", "host_category, result"), "{{host_category}} {{result}}"),),
        ),
        Panel(
            "Bytes downloaded", "Bps", ((rate("imgproc_download_bytes_total", "host_category"), "{{host_category}}"),)
        ),
        Panel(
            "Refusals and pauses of image hosts",
            "ops",
            (
                (rate("imgproc_host_refusals_total", "host_category"), "{{host_category}} refused"),
                (rate("imgproc_host_pauses_total", "host_category"), "{{host_category}} paused"),
            ),
        ),
        Panel("Image hosts paused", "short", (("max by (host_category) (imgproc_hosts_paused)", "{{host_category}}"),)),
        Panel("Failures", "ops", ((rate("imgproc_image_failures_total", "code"), "{{code}}"),), stacked=True),
        Panel("Retries", "ops", ((rate("imgproc_image_retries_total", "code"), "{{code}}"),), stacked=True),
        Panel("Images claimed", "ops", ((rate("imgproc_images_claimed_total"), "claimed"),)),
        Panel("Leases lost", "ops", ((rate("imgproc_leases_lost_total", "work"), "{{work}}"),)),
        Panel("Messages not enqueued", "ops", ((rate("imgproc_enqueue_failures_total"), "not enqueued"),)),
        Panel(
            "Memory",
            "bytes",
            (('process_resident_memory_bytes{job="gql-imgproc-worker"}', "{{instance}}"),),
        ),
        Panel(
            "CPU",
            "short",
            (('rate(process_cpu_seconds_total{job="gql-imgproc-worker"}[$__rate_interval])', "{{instance}}"),),
            "Cores in use.",
        ),
    ],
)

API = dashboard(
    "gql-imgproc-api",
    "gql_imgproc: API",
    [],
    [
        Panel(
            "GraphQL operations",
            "reqps",
            ((rate("imgproc_graphql_operations_total", "type, field"), "{{type}} {{field}}"),),
        ),
        Panel("Duration of an operation", "s", quantiles("imgproc_graphql_operation_seconds", "field")),
        Panel(
            "Operations by outcome", "reqps", ((rate("imgproc_graphql_operations_total", "outcome"), "{{outcome}}"),)
        ),
        Panel(
            "HTTP responses", "reqps", ((rate("imgproc_http_requests_total", "status"), "{{status}}"),), stacked=True
        ),
        Panel("HTTP requests by route", "reqps", ((rate("imgproc_http_requests_total", "route"), "{{route}}"),)),
        Panel("Time until a response started", "s", quantiles("imgproc_http_request_seconds", "route")),
        Panel(
            "Subscribers",
            "short",
            (
                ("sum(imgproc_graphql_subscribers)", "open subscriptions"),
                ("sum(imgproc_websockets)", "open WebSockets"),
            ),
        ),
        Panel("Subscriptions started", "reqps", ((rate("imgproc_graphql_subscriptions_total"), "started"),)),
        Panel(
            "Connections closed by the server",
            "ops",
            ((rate("imgproc_http_connections_closed_total", "reason"), "{{reason}}"),),
        ),
        Panel("Bytes of accepted CSV files", "Bps", ((rate("imgproc_upload_bytes_total"), "accepted"),)),
        Panel("Memory", "bytes", (('process_resident_memory_bytes{job="gql-imgproc-api"}', "{{instance}}"),)),
        Panel(
            "CPU",
            "short",
            (('rate(process_cpu_seconds_total{job="gql-imgproc-api"}[$__rate_interval])', "{{instance}}"),),
            "Cores in use.",
        ),
        Panel("Versions", "short", (("count by (version) (imgproc_build_info)", "{{version}}"),)),
    ],
)

DASHBOARDS = {"service.json": SERVICE, "workers.json": WORKERS, "api.json": API}


def texts() -> dict[str, str]:
    """The JSON text of each file."""
    return {name: json.dumps(board, indent=2) + "\n" for name, board in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
