"""What a webhook tells of a request."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gql_imgproc.enums import Priority, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.settings import Settings
from gql_imgproc.webhooks.payload import build_payload, message_id

DOCS = (Path(__file__).parents[2] / "docs" / "WEBHOOKS.md").read_text("utf-8")
ADDRESS = "https://img.example.com/api/download/req_018f6b1e7c1a7d3e8a540123456789ab"
REQUEST_ID = UUID("018f6b1e-7c1a-7d3e-8a54-0123456789ab")


def ended(status: RequestStatus, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "id": REQUEST_ID,
        "tenant_id": DEFAULT_TENANT,
        "status": status,
        "priority": Priority.NORMAL,
        "generation": 1,
        "sequence": 9,
        "csv_filename": "Frühjahr.csv",
        "options": {},
        "warnings": [],
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
        "input_bytes": 1000,
        "output_bytes": 400,
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


def test_the_payload_says_all_that_is_known_of_the_end() -> None:
    told = json.loads(build_payload(ended(RequestStatus.COMPLETED_WITH_ERRORS), ADDRESS))

    assert told == {
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
            "inputBytes": 1000,
            "outputBytes": 400,
            "outputCsvUrl": "https://img.example.com/api/download/req_018f6b1e7c1a7d3e8a540123456789ab",
            "createdAt": "2026-01-02T03:04:05.000Z",
            "completedAt": "2026-01-02T03:04:59.123Z",
        },
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (RequestStatus.COMPLETED, "request.completed"),
        (RequestStatus.COMPLETED_WITH_ERRORS, "request.completed"),
        (RequestStatus.FAILED, "request.failed"),
        (RequestStatus.CANCELLED, "request.cancelled"),
    ],
)
def test_each_final_status_has_a_type(status: RequestStatus, kind: str) -> None:
    assert json.loads(build_payload(ended(status), None))["type"] == kind


def test_without_an_output_there_is_no_address() -> None:
    told = json.loads(build_payload(ended(RequestStatus.FAILED, output_name=None), None))

    assert told["data"]["outputCsvUrl"] is None


def test_the_message_is_named_after_its_delivery() -> None:
    assert message_id(REQUEST_ID) == "msg_018f6b1e7c1a7d3e8a540123456789ab"


def test_the_documented_example_is_what_is_sent() -> None:
    example = re.search(r"```json\n(.*?)```", DOCS, re.DOTALL)

    assert example is not None
    assert json.loads(example[1]) == json.loads(build_payload(ended(RequestStatus.COMPLETED_WITH_ERRORS), ADDRESS))


def test_the_documented_tries_are_those_of_the_settings() -> None:
    units = {"s": 1, "min": 60, "h": 3600}

    told = re.findall(r"^\| \d+ \| (\d+) (s|min|h) ", DOCS, re.MULTILINE)

    assert (
        tuple(int(count) * units[unit] for count, unit in told[1:])
        == Settings.model_fields["webhook_retry_delays"].default
    )
