"""The payload of a webhook, as documented."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gql_imgproc.enums import Priority, RequestPhase, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.webhook_event import final_event, progress_event
from gql_imgproc.settings import Settings
from gql_imgproc.webhooks.payload import build_payload, message_id

DOCS = (Path(__file__).parents[2] / "docs" / "WEBHOOKS.md").read_text("utf-8")
DOWNLOAD_URL = "https://img.example.com/api/download/req_018f6b1e7c1a7d3e8a540123456789ab"
REQUEST_ID = UUID("018f6b1e-7c1a-7d3e-8a54-0123456789ab")


def finished(status: RequestStatus, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "id": REQUEST_ID,
        "tenant_id": DEFAULT_TENANT,
        "status": status,
        "phase": RequestPhase.DONE,
        "priority": Priority.NORMAL,
        "generation": 1,
        "sequence": 9,
        "csv_filename": "Frühjahr.csv",
        "options": {},
        "warnings": [],
        "profile": None,
        "skipped_rows": 0,
        "webhook_url": "https://shop.example.com/hook",
        "webhook_triggered": False,
        "total_products": 3,
        "ingested_products": 3,
        "processed_products": 2,
        "failed_products": 1,
        "total_images": 6,
        "processed_images": 4,
        "failed_images": 2,
        "cancelled_images": 0,
        "kept_images": 1,
        "reused_images": 2,
        "input_bytes": 1000,
        "output_bytes": 400,
        "not_downloaded_bytes": 0,
        "stored_bytes": 400,
        "images_per_second": None,
        "termination_reason": None,
        "failure_code": None,
        "output_name": "output-1.csv",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "updated_at": datetime(2026, 1, 2, 3, 5, 0, tzinfo=UTC),
        "started_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        "completed_at": datetime(2026, 1, 2, 3, 4, 59, 123456, tzinfo=UTC),
    }
    return Snapshot(**values | changes)


def test_payload_has_the_final_state_of_the_request() -> None:
    payload = json.loads(build_payload(final_event(finished(RequestStatus.COMPLETED_WITH_ERRORS)), DOWNLOAD_URL))

    assert payload == {
        "type": "request.completed",
        "timestamp": "2026-01-02T03:04:59.123Z",
        "data": {
            "id": "req_018f6b1e7c1a7d3e8a540123456789ab",
            "status": "COMPLETED_WITH_ERRORS",
            "csvFilename": "Frühjahr.csv",
            "totalProducts": 3,
            "processedProducts": 2,
            "failedProducts": 1,
            "totalImages": 6,
            "processedImages": 4,
            "failedImages": 2,
            "cancelledImages": 0,
            "keptImages": 1,
            "reusedImages": 2,
            "inputBytes": 1000,
            "outputBytes": 400,
            "outputCsvUrl": "https://img.example.com/api/download/req_018f6b1e7c1a7d3e8a540123456789ab",
            "createdAt": "2026-01-02T03:04:05.000Z",
            "completedAt": "2026-01-02T03:04:59.123Z",
        },
    }


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        (RequestStatus.COMPLETED, "request.completed"),
        (RequestStatus.COMPLETED_WITH_ERRORS, "request.completed"),
        (RequestStatus.FAILED, "request.failed"),
        (RequestStatus.CANCELLED, "request.cancelled"),
    ],
)
def test_each_final_status_has_a_type(status: RequestStatus, event_type: str) -> None:
    assert json.loads(build_payload(final_event(finished(status)), None))["type"] == event_type


def test_output_csv_url_is_null_without_output() -> None:
    payload = json.loads(build_payload(final_event(finished(RequestStatus.FAILED, output_name=None)), None))

    assert payload["data"]["outputCsvUrl"] is None


def test_message_id_is_derived_from_the_delivery() -> None:
    assert message_id(REQUEST_ID) == "msg_018f6b1e7c1a7d3e8a540123456789ab"


def test_documented_example_is_the_payload() -> None:
    example = re.search(r"```json\n(.*?)```", DOCS, re.DOTALL)

    assert example is not None
    assert json.loads(example[1]) == json.loads(
        build_payload(final_event(finished(RequestStatus.COMPLETED_WITH_ERRORS)), DOWNLOAD_URL)
    )


def test_documented_retry_delays_are_the_defaults() -> None:
    units = {"s": 1, "min": 60, "h": 3600}

    documented = re.findall(r"^\| \d+ \| (\d+) (s|min|h) ", DOCS, re.MULTILINE)

    assert (
        tuple(int(count) * units[unit] for count, unit in documented[1:])
        == Settings.model_fields["webhook_retry_delays"].default
    )


def test_progress_is_reported_when_a_quarter_is_passed() -> None:
    def open_request(processed: int, total: int = 8) -> Snapshot:
        counts = {"total_images": total, "processed_images": processed, "failed_images": 0}
        return finished(RequestStatus.PROCESSING, phase=RequestPhase.WORKING, completed_at=None, **counts)

    passed = [progress_event(open_request(count), count - 1) for count in range(1, 9)]

    assert [event.data["progressPercent"] if event else None for event in passed] == [
        *(None, 25.0, None, 50.0, None, 75.0),
        # The final event reports the end.
        *(None, None),
    ]
    # Several quarters at once are one event, and the last image needs none.
    at_once = progress_event(open_request(6), 1)
    assert at_once is not None
    assert at_once.data["progressPercent"] == 75.0
    assert progress_event(open_request(1, total=1), 0) is None


def test_progress_has_no_output_csv() -> None:
    """While a retry runs, the request still has the output CSV of the previous run."""
    event = progress_event(finished(RequestStatus.PROCESSING, processed_images=1, failed_images=1), 0)

    assert event is not None
    payload = json.loads(build_payload(event, None))
    assert (payload["type"], payload["timestamp"]) == ("request.progressed", "2026-01-02T03:05:00.000Z")
    assert (payload["data"]["outputCsvUrl"], payload["data"]["completedAt"]) == (None, None)
