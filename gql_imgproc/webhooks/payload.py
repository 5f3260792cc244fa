"""The payload of a webhook: the final state of a request."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.snapshot import Snapshot

_TYPES = {
    RequestStatus.COMPLETED: "request.completed",
    RequestStatus.COMPLETED_WITH_ERRORS: "request.completed",
    RequestStatus.FAILED: "request.failed",
    RequestStatus.CANCELLED: "request.cancelled",
}


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` header: the same for every attempt, so that receivers can detect duplicates."""
    return f"msg_{delivery_id.hex}"


def build_payload(request: Snapshot, output_csv_url: str | None) -> str:
    """The JSON text for a request with a final status."""
    completed_at = request.completed_at or request.updated_at
    return json.dumps(
        {
            "type": _TYPES[request.status],
            "timestamp": _format_timestamp(completed_at),
            "data": {
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
                "inputBytes": request.input_bytes,
                "outputBytes": request.output_bytes,
                "outputCsvUrl": output_csv_url,
                "createdAt": _format_timestamp(request.created_at),
                "completedAt": _format_timestamp(completed_at),
            },
        },
        ensure_ascii=False,
    )


def _format_timestamp(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
