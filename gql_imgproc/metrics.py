"""Prometheus metrics. docs/OBSERVABILITY.md lists them all; a test compares that list with this file.

Each process counts its own work: sum these metrics over all processes. The API reads metrics of the whole service when
it is scraped. Each API process returns the same values: take their maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gql_imgproc import __version__
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ImageErrorCode

#: Buckets in seconds, from an index lookup to an image of 50 megapixels.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Buckets in seconds for whole requests, from one image to a million.
_REQUEST_SECONDS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)

# Creation times would be half of all series, and nothing uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own

BUILD = Info("imgproc_build", "The running version.")
BUILD.info({"version": __version__})

# The API.
HTTP_REQUESTS = Counter("imgproc_http_requests_total", "HTTP requests answered.", ["route", "method", "status"])
HTTP_SECONDS = Histogram("imgproc_http_request_seconds", "Time until an HTTP response started, in seconds.", ["route"])
CONNECTIONS_CLOSED = Counter(
    "imgproc_http_connections_closed_total", "HTTP connections that the server closed early, by reason.", ["reason"]
)
SOCKETS = Gauge("imgproc_websockets", "Open WebSockets.")
OPERATIONS = Counter(
    "imgproc_graphql_operations_total",
    "GraphQL queries and mutations, by root field and outcome.",
    ["type", "field", "outcome"],
)
OPERATION_SECONDS = Histogram(
    "imgproc_graphql_operation_seconds",
    "Duration of a GraphQL query or mutation, in seconds.",
    ["type", "field"],
    buckets=_SECONDS,
)
SUBSCRIPTIONS = Counter("imgproc_graphql_subscriptions_total", "GraphQL subscriptions started.")
SUBSCRIBERS = Gauge("imgproc_graphql_subscribers", "Open GraphQL subscriptions.")
UPLOADS = Counter("imgproc_uploads_total", "Uploads answered, by result.", ["result"])
UPLOAD_BYTES = Counter("imgproc_upload_bytes_total", "Bytes of accepted CSV files.")

# The workers.
IMAGES = Counter("imgproc_images_total", "Images finished, by outcome and format.", ["outcome", "format"])
IMAGE_FAILURES = Counter("imgproc_image_failures_total", "Images that failed, by error code.", ["code"])
IMAGES_RETRIED = Counter("imgproc_image_retries_total", "Failed attempts that are retried, by error code.", ["code"])
INPUT_BYTES = Counter("imgproc_image_input_bytes_total", "Source bytes of compressed and kept images.", ["format"])
OUTPUT_BYTES = Counter("imgproc_image_output_bytes_total", "Stored bytes of compressed and kept images.", ["format"])
SIMILARITY = Histogram(
    "imgproc_image_similarity",
    "Similarity of compressed and kept images to their sources, from 0 to 100.",
    ["format"],
    buckets=(30, 50, 60, 70, 75, 80, 85, 90, 95, 99, 100),
)
STAGE_SECONDS = Histogram(
    "imgproc_image_stage_seconds",
    "Duration of one stage of an image, in seconds; `wait` is the wait for a CPU thread.",
    ["stage"],
    buckets=_SECONDS,
)
DOWNLOADS = Counter(
    "imgproc_downloads_total", "Image downloads, by host category and result.", ["host_category", "result"]
)
NOT_DOWNLOADED_BYTES = Counter(
    "imgproc_not_downloaded_bytes_total", "Bytes of source images that their hosts said are unchanged."
)
DOWNLOAD_BYTES = Counter("imgproc_download_bytes_total", "Bytes of downloaded images.", ["host_category"])
HOST_REFUSALS = Counter(
    "imgproc_host_refusals_total", "Downloads that an image host refused because of its load.", ["host_category"]
)
HOST_PAUSES = Counter("imgproc_host_pauses_total", "Pauses of an image host.", ["host_category"])
HOSTS_PAUSED = Gauge(
    "imgproc_hosts_paused",
    "Image hosts that are paused, as far as this process knows; take the maximum, not the sum.",
    ["host_category"],
)
IMAGES_CLAIMED = Counter("imgproc_images_claimed_total", "Images claimed.")
LEASES_LOST = Counter(
    "imgproc_leases_lost_total", "Leases lost: work taken over by another worker before it completed.", ["work"]
)
REQUESTS_FINISHED = Counter("imgproc_requests_finished_total", "Requests that reached a final status.", ["status"])
REQUEST_SECONDS = Histogram(
    "imgproc_request_seconds",
    "Time from a request's first claim to its final status, in seconds.",
    buckets=_REQUEST_SECONDS,
)
WEBHOOK_ATTEMPTS = Counter("imgproc_webhook_attempts_total", "Webhook delivery attempts, by result.", ["result"])
WEBHOOK_SECONDS = Histogram(
    "imgproc_webhook_seconds", "Duration of one webhook delivery attempt, in seconds.", buckets=_SECONDS
)
WEBHOOK_ENDPOINTS_DISABLED = Counter(
    "imgproc_webhook_endpoints_disabled_total", "Webhook endpoints that the service disabled.", ["reason"]
)
ENQUEUE_FAILURES = Counter(
    "imgproc_enqueue_failures_total", "Messages that could not be enqueued; reconcile sends them again."
)


@dataclass(frozen=True, slots=True)
class ServiceMetric:
    name: str
    documentation: str
    label: str | None = None
    is_counter: bool = False

    def family(self, values: Mapping[str, float]) -> Metric:
        labels = [self.label] if self.label else []
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        family = kind(self.name, self.documentation, labels=labels)
        for label_value, value in values.items():
            family.add_metric([label_value] if self.label else [], value)
        return family


BACKEND_UP = ServiceMetric("imgproc_backend_up", "1 if the backend answered this API process, else 0.", "backend")
REQUESTS_OPEN = ServiceMetric("imgproc_requests_open", "Requests without a final status.", "status")
PRODUCTS_PENDING = ServiceMetric("imgproc_products_pending", "Unfinished products of open requests.")
IMAGES_PENDING = ServiceMetric("imgproc_images_pending", "Unfinished images of open requests.")
OLDEST_REQUEST_IDLE_SECONDS = ServiceMetric(
    "imgproc_oldest_idle_request_seconds", "Longest time since an open request last changed, in seconds."
)
IMAGES_CLAIMABLE = ServiceMetric(
    "imgproc_images_claimable",
    "Images that a worker could claim now, up to 10,000. Images of paused hosts do not count.",
)
WEBHOOKS_DUE = ServiceMetric("imgproc_webhooks_due", "Webhook deliveries whose next attempt is due, up to 1,000.")
STORE_UNCONFIRMED = ServiceMetric(
    "imgproc_store_unconfirmed",
    "1 while nothing is deleted from the object store until an operator runs `confirm-store`, else 0.",
)
QUEUE_MESSAGES = ServiceMetric("imgproc_queue_messages", "Messages waiting in a queue.", "queue")
WORKERS = ServiceMetric("imgproc_workers", "Worker processes that reported in the last 15 s.")
TASK_LAST_RUN = ServiceMetric(
    "imgproc_task_last_run_timestamp_seconds", "Time of the last run of a periodic task.", "task"
)
TASK_RUNS = ServiceMetric(
    "imgproc_task_runs_total", "Runs of a periodic task since Redis was empty.", "task", is_counter=True
)
TASK_ITEMS = ServiceMetric(
    "imgproc_task_items_total", "Items handled by a periodic task since Redis was empty.", "task", is_counter=True
)
#: Key of the value of a metric without a label.
NO_LABEL = ""
ServiceMetricValues = dict[ServiceMetric, Mapping[str, float]]


class _ServiceMetricsCollector(Collector):
    def __init__(self, values: ServiceMetricValues) -> None:
        self._values = values

    def collect(self) -> Iterable[Metric]:
        return [metric.family(values) for metric, values in self._values.items()]


def render_process_metrics() -> bytes:
    """The metrics of this process in Prometheus's text format."""
    return generate_latest(REGISTRY)


def render_all_metrics(values: ServiceMetricValues) -> bytes:
    """The metrics of this process, then those of the whole service; values that could not be read are absent."""
    registry = CollectorRegistry()
    registry.register(_ServiceMetricsCollector(values))
    return render_process_metrics() + generate_latest(registry)


# A rate needs a value before the first event: start at 0 instead of absent.
for _reason in ("slow_header", "slow_body", "slow_reader", "header_too_large", "malformed", "limit"):
    CONNECTIONS_CLOSED.labels(_reason)
IMAGES.labels("FAILED", "unknown")
for _code in ImageErrorCode:
    IMAGE_FAILURES.labels(_code.value)
for _status in RequestStatus:
    if _status.is_terminal:
        REQUESTS_FINISHED.labels(_status.value)
for _work in ("image", "request"):
    LEASES_LOST.labels(_work)
