"""The snapshot of a request: its JSON form and derived values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gql_imgproc.enums import CsvProfile, Priority, RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.ids import new_id
from gql_imgproc.requests.snapshot import Snapshot

AT = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
OPEN = Snapshot(
    id=new_id(),
    tenant_id=new_id(),
    status=RequestStatus.PROCESSING,
    phase=RequestPhase.WORKING,
    priority=Priority.NORMAL,
    generation=1,
    sequence=7,
    csv_filename="äöü.csv",
    options={"quality": 60},
    warnings=[],
    profile=CsvProfile.SHOPIFY,
    skipped_rows=2,
    webhook_url=None,
    webhook_triggered=False,
    total_products=10,
    ingested_products=10,
    processed_products=3,
    failed_products=1,
    total_images=1000,
    processed_images=800,
    failed_images=150,
    cancelled_images=0,
    kept_images=5,
    reused_images=3,
    input_bytes=2**40,
    output_bytes=2**39,
    not_downloaded_bytes=2**38,
    stored_bytes=2**37,
    images_per_second=25.0,
    termination_reason=None,
    failure_code=None,
    output_name=None,
    created_at=AT,
    updated_at=AT,
    started_at=AT,
    completed_at=None,
)
FINAL = replace(
    OPEN,
    status=RequestStatus.FAILED,
    phase=RequestPhase.DONE,
    termination_reason=TerminationReason.DEADLINE,
    failure_code=RequestFailureCode.DEADLINE,
    completed_at=AT,
)


@pytest.mark.parametrize("snapshot", [OPEN, FINAL])
def test_snapshot_survives_a_json_round_trip(snapshot: Snapshot) -> None:
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
    assert len(snapshot.to_json()) < 1200


def test_progress_is_rounded_down() -> None:
    assert OPEN.progress_percent == 95.0
    assert replace(OPEN, processed_images=849, failed_images=150).progress_percent == 99.9
    assert replace(OPEN, processed_images=850, failed_images=150).progress_percent == 100


def test_completion_is_estimated_from_the_rate() -> None:
    assert OPEN.estimated_completion_at == AT + timedelta(seconds=2)
    assert (FINAL.rate, FINAL.estimated_completion_at) == (None, None)
    assert replace(OPEN, images_per_second=None).estimated_completion_at is None


def test_snapshot_ignores_fields_of_a_newer_version() -> None:
    newer = OPEN.to_json().replace(b"{", b'{"a_field_of_the_future": 1, ', 1)

    assert Snapshot.from_json(newer) == OPEN
