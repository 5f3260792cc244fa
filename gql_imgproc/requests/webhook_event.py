"""The events that webhooks report. An event never changes, so that each attempt sends the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gql_imgproc.enums import RequestStatus, WebhookEventType
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import download_path

#: `Request.progress` is reported each time it passes another of so many equal parts; the last one is the final event.
PROGRESS_PARTS = 4

_FINAL_TYPES = {
    RequestStatus.COMPLETED: WebhookEventType.REQUEST_COMPLETED,
    RequestStatus.COMPLETED_WITH_ERRORS: WebhookEventType.REQUEST_COMPLETED,
    RequestStatus.FAILED: WebhookEventType.REQUEST_FAILED,
    RequestStatus.CANCELLED: WebhookEventType.REQUEST_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened. `docs/webhook-events.schema.json` describes the data, with one difference: here
    `outputCsvUrl` is a path, which is signed when the event is sent.
    """

    type: WebhookEventType
    occurred_at: datetime
    data: dict[str, Any]


def final_event(request: Snapshot) -> WebhookEvent:
    """The event of a request with a final status."""
    completed_at = request.completed_at or request.updated_at
    output = download_path(request.id) if request.has_output else None
    data = _describe(request) | {"outputCsvUrl": output} | _times(request, completed_at)
    return WebhookEvent(_FINAL_TYPES[request.status], completed_at, data)


def progress_event(request: Snapshot, finished_before: int) -> WebhookEvent | None:
    """The event of an open request whose progress just passed another quarter; None if it did not."""
    if not _quarter(request, finished_before) < _quarter(request, request.finished_images) < PROGRESS_PARTS:
        return None
    progress = {"progressPercent": request.progress_percent}
    data = _describe(request) | {"outputCsvUrl": None} | _times(request, None) | progress
    return WebhookEvent(WebhookEventType.REQUEST_PROGRESSED, request.updated_at, data)


def _quarter(request: Snapshot, finished_images: int) -> int:
    return PROGRESS_PARTS * finished_images // request.total_images


def _describe(request: Snapshot) -> dict[str, Any]:
    return {
        "id": encode_global_id(IdPrefix.REQUEST, request.id),
        "status": request.status.value,
        "csvFilename": request.csv_filename,
        "totalProducts": request.total_products,
        "processedProducts": request.processed_products,
        "failedProducts": request.failed_products,
        "totalImages": request.total_images,
        "processedImages": request.processed_images,
        "failedImages": request.failed_images,
        "cancelledImages": request.cancelled_images,
        "keptImages": request.kept_images,
        "reusedImages": request.reused_images,
        "inputBytes": request.input_bytes,
        "outputBytes": request.output_bytes,
    }


def _times(request: Snapshot, completed_at: datetime | None) -> dict[str, Any]:
    return {
        "createdAt": format_timestamp(request.created_at),
        "completedAt": format_timestamp(completed_at) if completed_at else None,
    }


def format_timestamp(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
