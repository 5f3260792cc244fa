"""The state of a request as one immutable value: published to watchers and returned by the API."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from gql_imgproc.enums import CsvProfile, Priority, RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.messaging.pubsub import Event


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A request without its products; the fields are columns of `requests`."""

    id: UUID
    tenant_id: UUID
    status: RequestStatus
    #: Internal: the API does not return it.
    phase: RequestPhase
    priority: Priority
    generation: int
    sequence: int
    csv_filename: str
    options: dict[str, Any]
    warnings: list[dict[str, Any]]
    #: None for a request of a version that only knew the generic profile, and wrote no reports.
    profile: CsvProfile | None
    skipped_rows: int
    webhook_url: str | None
    webhook_triggered: bool
    total_products: int
    ingested_products: int
    processed_products: int
    failed_products: int
    total_images: int
    processed_images: int
    failed_images: int
    cancelled_images: int
    kept_images: int
    reused_images: int
    input_bytes: int
    output_bytes: int
    #: Of `input_bytes`, the bytes of sources whose hosts said that they are unchanged.
    not_downloaded_bytes: int
    #: Bytes of its files, and of the images that it was the first to store; None for a request of an earlier
    #: version: all are its own.
    stored_bytes: int | None
    images_per_second: float | None
    termination_reason: TerminationReason | None
    failure_code: RequestFailureCode | None
    output_name: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def counted_bytes(self) -> int:
        """What it adds to the stored bytes of its tenant."""
        return self.output_bytes if self.stored_bytes is None else self.stored_bytes

    @property
    def needs_rows(self) -> bool:
        """Whether rows of its CSV are not inserted yet, and can be."""
        return (
            self.ingested_products < self.total_products
            and self.termination_reason is not TerminationReason.CSV_UNREADABLE
        )

    @property
    def has_step(self) -> bool:
        """Whether a process can advance it now, as `has_step` in `database/tables.py`."""
        match self.phase:
            case RequestPhase.DONE:
                return False
            case RequestPhase.WORKING:
                return not self.pending_images
            case _:
                return True

    @property
    def has_output(self) -> bool:
        """Whether there is an output CSV. While a retry runs, it is the output of the previous run."""
        return self.output_name is not None

    @property
    def has_report(self) -> bool:
        return self.has_output and self.profile is not None

    @property
    def finished_images(self) -> int:
        """Images that are completed, failed or cancelled."""
        return self.processed_images + self.failed_images + self.cancelled_images

    @property
    def pending_images(self) -> int:
        return self.total_images - self.finished_images

    @property
    def progress_percent(self) -> float:
        """From 0 to 100, rounded down to a tenth, so that 100 means all images."""
        return 1000 * self.finished_images // self.total_images / 10 if self.total_images else 100.0

    @property
    def rate(self) -> float | None:
        """Images finished per second, measured recently; None when unknown or final."""
        return None if self.status.is_terminal else self.images_per_second

    @property
    def estimated_completion_at(self) -> datetime | None:
        """When the last image finishes at the current rate; None when unknown or final."""
        if not self.rate:
            return None
        return self.updated_at + timedelta(seconds=min(self.pending_images / self.rate, 10**9))

    def to_json(self) -> bytes:
        """A few hundred bytes, for `from_json`."""
        return _ADAPTER.dump_json(self)

    def to_event(self) -> Event:
        return Event(self.sequence, self.to_json())

    @classmethod
    def from_json(cls, text: bytes) -> Snapshot:
        """The inverse of `to_json`; ignores the fields of a newer version. Raises ValueError for any other text."""
        return _ADAPTER.validate_json(text)


def progress_channel(request_id: UUID) -> str:
    """The channel in Redis on which snapshots of a request are published."""
    return f"progress:{request_id.hex}"


def list_channel(tenant_id: UUID) -> str:
    """The channel in Redis that wakes watchers of a tenant's list of requests."""
    return f"requests:{tenant_id.hex}"


_ADAPTER = TypeAdapter(Snapshot)
FIELDS = tuple(field.name for field in fields(Snapshot))
