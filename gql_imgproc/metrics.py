"""What Prometheus reads. docs/OBSERVABILITY.md lists it all, and a test holds that list against this file.

Each process counts for itself, and a sum over all processes is right. Figures about the whole service are read by
the API when it is scraped: each of its processes tells the same, so that a dashboard takes their maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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

#: Seconds of what people wait for, from a look at an index to a picture of 50 megapixels.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Seconds of whole requests, from one picture to a million.
_REQUEST_SECONDS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)

# When each series was begun would be half of all series, and nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own

BUILD = Info("imgproc_build", "The version that runs.")
BUILD.info({"version": __version__})

# The API.
HTTP_REQUESTS = Counter("imgproc_http_requests_total", "Answered HTTP requests.", ["route", "method", "status"])
HTTP_SECONDS = Histogram("imgproc_http_request_seconds", "Time until an HTTP answer began, in seconds.", ["route"])
CONNECTIONS_CLOSED = Counter("imgproc_connections_cut_total", "Connections that were ended by us.", ["reason"])
SOCKETS = Gauge("imgproc_websockets", "Open WebSockets of this process.")
OPERATIONS = Counter(
    "imgproc_graphql_operations_total",
    "GraphQL queries and mutations, by their one field at the root and how they ended.",
    ["type", "field", "outcome"],
)
OPERATION_SECONDS = Histogram(
    "imgproc_graphql_operation_seconds",
    "Time that a GraphQL query or mutation took, in seconds.",
    ["type", "field"],
    buckets=_SECONDS,
)
SUBSCRIPTIONS = Counter("imgproc_graphql_subscriptions_total", "GraphQL subscriptions that were begun.")
SUBSCRIBERS = Gauge("imgproc_graphql_subscribers", "Who follows a GraphQL subscription of this process now.")
UPLOADS = Counter("imgproc_uploads_total", "Uploads that were answered, by what came of them.", ["result"])
UPLOAD_BYTES = Counter("imgproc_upload_bytes_total", "Bytes of accepted CSV files.")

# The workers.
IMAGES = Counter("imgproc_images_total", "Pictures that ended, by how and by format.", ["outcome", "format"])
IMAGE_FAILURES = Counter("imgproc_image_failures_total", "Pictures that failed, by error code.", ["code"])
IMAGES_RETRIED = Counter("imgproc_images_put_off_total", "Pictures that failed for now and are tried again.", ["code"])
INPUT_BYTES = Counter("imgproc_image_input_bytes_total", "Bytes of the sources of done pictures.", ["format"])
OUTPUT_BYTES = Counter("imgproc_image_output_bytes_total", "Bytes of the stored results of done pictures.", ["format"])
STAGE_SECONDS = Histogram(
    "imgproc_image_stage_seconds",
    "Time of one stage of a picture, in seconds; `wait` is that for a CPU slot.",
    ["stage"],
    buckets=_SECONDS,
)
DOWNLOADS = Counter(
    "imgproc_downloads_total", "Pictures asked of their hosts, by kind of host and result.", ["host_class", "result"]
)
DOWNLOAD_BYTES = Counter("imgproc_download_bytes_total", "Bytes of downloaded pictures.", ["host_class"])
PRODUCTS_CLAIMED = Counter("imgproc_products_claimed_total", "Products that were claimed.")
LEASES_LOST = Counter("imgproc_leases_lost_total", "Work that was another's before it ended.", ["work"])
REQUESTS_FINISHED = Counter("imgproc_requests_ended_total", "Requests that reached a final status.", ["status"])
REQUEST_SECONDS = Histogram(
    "imgproc_request_seconds",
    "Time from a request's first claim to its end, in seconds.",
    buckets=_REQUEST_SECONDS,
)
WEBHOOK_ATTEMPTS = Counter("imgproc_webhook_tries_total", "Tries of webhooks, by what came of them.", ["result"])
WEBHOOK_SECONDS = Histogram(
    "imgproc_webhook_seconds", "Time that one try of a webhook took, in seconds.", buckets=_SECONDS
)
ENQUEUE_FAILURES = Counter(
    "imgproc_messages_refused_total", "Calls that Redis did not take; the sweep makes up for it."
)


@dataclass(frozen=True, slots=True)
class ServiceMetric:
    """A figure about the whole service."""

    name: str
    documentation: str
    label: str | None = None
    counts: bool = False

    def family(self, values: Mapping[str, float]) -> Metric:
        labels = [self.label] if self.label else []
        kind = CounterMetricFamily if self.counts else GaugeMetricFamily
        family = kind(self.name, self.documentation, labels=labels)
        for value_of, value in values.items():
            family.add_metric([value_of] if self.label else [], value)
        return family


BACKEND_UP = ServiceMetric("imgproc_backend_up", "Whether the database and Redis answered this API process.", "backend")
REQUESTS_OPEN = ServiceMetric("imgproc_requests_open", "Requests without a final status.", "status")
PRODUCTS_PENDING = ServiceMetric("imgproc_products_pending", "Products of open requests that have not ended.")
IMAGES_PENDING = ServiceMetric("imgproc_images_pending", "Pictures of open requests that have not ended.")
OLDEST_REQUEST_IDLE_SECONDS = ServiceMetric(
    "imgproc_request_unchanged_seconds", "For how long an open request has not changed, at the most, in seconds."
)
PRODUCTS_CLAIMABLE = ServiceMetric(
    "imgproc_products_claimable",
    "Products that a worker could claim now: up to 1,000 of each of the 200 oldest open requests.",
)
WEBHOOKS_DUE = ServiceMetric("imgproc_webhooks_due", "Webhooks whose next try is due, up to 1,000.")
QUEUE_MESSAGES = ServiceMetric("imgproc_queue_messages", "Messages waiting in a queue.", "queue")
WORKERS = ServiceMetric("imgproc_workers", "Worker processes that were heard of in the last 15 s.")
TASK_LAST_RUN = ServiceMetric("imgproc_duty_last_run_timestamp_seconds", "When a duty was done last.", "duty")
TASK_RUNS = ServiceMetric(
    "imgproc_duty_runs_total", "How often a duty was done since Redis was empty.", "duty", counts=True
)
TASK_ITEMS = ServiceMetric(
    "imgproc_duty_items_total", "On how many things a duty was done since Redis was empty.", "duty", counts=True
)
FIGURES = (
    BACKEND_UP,
    REQUESTS_OPEN,
    PRODUCTS_PENDING,
    IMAGES_PENDING,
    OLDEST_REQUEST_IDLE_SECONDS,
    PRODUCTS_CLAIMABLE,
    WEBHOOKS_DUE,
    QUEUE_MESSAGES,
    WORKERS,
    TASK_LAST_RUN,
    TASK_RUNS,
    TASK_ITEMS,
)

#: What a figure without a label is told under.
ALL = ""
ServiceMetricValues = dict[ServiceMetric, Mapping[str, float]]


class _Read(Collector):
    def __init__(self, readings: ServiceMetricValues) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        return [figure.family(values) for figure, values in self._readings.items()]


def render_process_metrics() -> bytes:
    """What this process has counted, as Prometheus reads it."""
    return generate_latest(REGISTRY)


def render_all_metrics(readings: ServiceMetricValues) -> bytes:
    """What this process has counted, then what was read about the whole service; what could not be read is absent."""
    registry = CollectorRegistry()
    registry.register(_Read(readings))
    return render_process_metrics() + generate_latest(registry)


def iter_own_metrics() -> Iterator[Metric]:
    """What each process counts of ours; the client library has figures of its own beside it."""
    return (family for family in REGISTRY.collect() if family.name.startswith("imgproc_"))


# A rate needs a value before the first event: what never happened is 0, not absent.
for _reason in ("slow_head", "slow_body", "answer_not_read", "large_head", "malformed", "too_many"):
    CONNECTIONS_CLOSED.labels(_reason)
IMAGES.labels("FAILED", "unknown")
for _code in ImageErrorCode:
    IMAGE_FAILURES.labels(_code.value)
for _status in RequestStatus:
    if _status.is_terminal:
        REQUESTS_FINISHED.labels(_status.value)
for _work in ("product", "ingestion", "finishing"):
    LEASES_LOST.labels(_work)
