"""What a webhook tells: that a request has ended, and how."""

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
    """The `webhook-id`: the same on every try, so that receivers can tell a repetition."""
    return f"msg_{delivery_id.hex}"


def build_payload(request: Snapshot, output_csv_url: str | None) -> str:
    """The JSON text that is sent for a request with a final status."""
    ended_at = request.completed_at or request.updated_at
    return json.dumps(
        {
            "type": _TYPES[request.status],
            "timestamp": _moment(ended_at),
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
                "createdAt": _moment(request.created_at),
                "completedAt": _moment(ended_at),
            },
        },
        ensure_ascii=False,
    )


def _moment(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
