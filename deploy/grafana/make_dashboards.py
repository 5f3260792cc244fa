"""Writes the dashboards: `python deploy/grafana/make_dashboards.py`. What is alike in all panels stands here once.

Processes count for themselves: their counters are summed. Figures about the whole service are told by every API
process alike: of those the maximum is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Of Grafana's grid, which has 24 columns.
WIDTH, HEIGHT, STAT_WIDTH, STAT_HEIGHT = 8, 8, 4, 4


@dataclass(frozen=True)
class Panel:
    """A question, and the queries that answer it: each an expression with the legend of its lines."""

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
    """Single figures in the first row, then the panels, three in a row."""
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
    """The time that half, and all but one in twenty, stay below."""
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
PICTURES = rate("imgproc_images_total")

SERVICE = dashboard(
    "gql-imgproc-service",
    "gql_imgproc: service",
    [
        Panel("Open requests", "short", (("sum(max by (status) (imgproc_requests_open))", ""),)),
        Panel("Pictures pending", "short", ((PENDING, ""),)),
        Panel("Pictures per second", "short", ((PICTURES, ""),)),
        Panel("All done in", "s", ((f"{PENDING} / clamp_min({PICTURES}, 0.001)", ""),), "At the present rate."),
        Panel("Workers", "short", (("max(imgproc_workers)", ""),), "Processes heard of in the last 15 s."),
        Panel("Processes down", "short", (('count(up{job=~"gql-imgproc-.*"} == 0) or vector(0)', ""),)),
    ],
    [
        Panel("Pictures by outcome", "ops", ((rate("imgproc_images_total", "outcome"), "{{outcome}}"),), stacked=True),
        Panel(
            "Bytes of pictures",
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
                (PENDING, "pictures pending"),
                ("max(imgproc_products_pending)", "products pending"),
                ("max(imgproc_products_claimable)", "products claimable"),
            ),
            "Claimable products are counted up to 1,000 of each of the 200 oldest open requests.",
        ),
        Panel("Messages waiting", "short", (("max by (queue) (imgproc_queue_messages)", "{{queue}}"),)),
        Panel("Uploads", "ops", ((rate("imgproc_uploads_total", "result"), "{{result}}"),), stacked=True),
        Panel("Requests ended", "ops", ((rate("imgproc_requests_ended_total", "status"), "{{status}}"),), stacked=True),
        Panel("Time of a request", "s", quantiles("imgproc_request_seconds"), "From its first claim to its end."),
        Panel("Longest without a change", "s", (("max(imgproc_request_unchanged_seconds)", "open request"),)),
        Panel("Webhooks", "ops", ((rate("imgproc_webhook_tries_total", "result"), "{{result}}"),), stacked=True),
        Panel("Time of a webhook", "s", quantiles("imgproc_webhook_seconds")),
        Panel("Webhooks due", "short", (("max(imgproc_webhooks_due)", "due"),)),
        Panel(
            "Since a duty was done",
            "s",
            (("time() - max by (duty) (imgproc_duty_last_run_timestamp_seconds)", "{{duty}}"),),
        ),
        Panel("Duties done", "ops", (("max by (duty) (rate(imgproc_duty_runs_total[$__rate_interval]))", "{{duty}}"),)),
        Panel(
            "Done by duties",
            "ops",
            (("max by (duty) (rate(imgproc_duty_items_total[$__rate_interval]))", "{{duty}}"),),
            "Wake-up calls sent anew, requests reopened or deleted, objects removed.",
        ),
        Panel("Backends reached", "short", (("min by (backend) (imgproc_backend_up)", "{{backend}}"),)),
    ],
)

WORKERS = dashboard(
    "gql-imgproc-workers",
    "gql_imgproc: workers",
    [],
    [
        Panel("Time of each stage", "s", quantiles("imgproc_image_stage_seconds", "stage")),
        Panel(
            "Pictures in each stage",
            "short",
            ((rate("imgproc_image_stage_seconds_sum", "stage"), "{{stage}}"),),
            "Seconds spent per second: so many pictures are in the stage on average. `compress` at the number of all "
            "CPU slots means that the cores are the limit.",
            stacked=True,
        ),
        Panel("Pictures by format", "ops", ((rate("imgproc_images_total", "format"), "{{format}}"),), stacked=True),
        Panel(
            "Result in parts of the source",
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
            "Downloads", "ops", ((rate("imgproc_downloads_total", "host_class, result"), "{{host_class}} {{result}}"),)
        ),
        Panel("Bytes downloaded", "Bps", ((rate("imgproc_download_bytes_total", "host_class"), "{{host_class}}"),)),
        Panel("Failures", "ops", ((rate("imgproc_image_failures_total", "code"), "{{code}}"),), stacked=True),
        Panel("Put off", "ops", ((rate("imgproc_images_put_off_total", "code"), "{{code}}"),), stacked=True),
        Panel("Products claimed", "ops", ((rate("imgproc_products_claimed_total"), "claimed"),)),
        Panel("Leases lost", "ops", ((rate("imgproc_leases_lost_total", "work"), "{{work}}"),)),
        Panel("Messages that Redis refused", "ops", ((rate("imgproc_messages_refused_total"), "refused"),)),
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
        Panel("Time of an operation", "s", quantiles("imgproc_graphql_operation_seconds", "field")),
        Panel(
            "Operations by outcome", "reqps", ((rate("imgproc_graphql_operations_total", "outcome"), "{{outcome}}"),)
        ),
        Panel("HTTP answers", "reqps", ((rate("imgproc_http_requests_total", "status"), "{{status}}"),), stacked=True),
        Panel("HTTP requests by route", "reqps", ((rate("imgproc_http_requests_total", "route"), "{{route}}"),)),
        Panel("Time until an answer began", "s", quantiles("imgproc_http_request_seconds", "route")),
        Panel(
            "Subscribers",
            "short",
            (
                ("sum(imgproc_graphql_subscribers)", "subscriptions followed"),
                ("sum(imgproc_websockets)", "WebSockets open"),
            ),
        ),
        Panel("Subscriptions begun", "reqps", ((rate("imgproc_graphql_subscriptions_total"), "begun"),)),
        Panel("Connections cut", "ops", ((rate("imgproc_connections_cut_total", "reason"), "{{reason}}"),)),
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
    """Each file's text."""
    return {name: json.dumps(board, indent=2) + "\n" for name, board in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
