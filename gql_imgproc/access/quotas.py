"""Quotas of tenants: what each may have at once, and what it has.

Exact, since whoever adds something looks with the tenant's row locked: of two who do so at once the second sees what
the first has added. The row is locked after that of a request that is there already, never before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, true, update

from gql_imgproc.database.tables import is_open, requests, tenants
from gql_imgproc.enums import Quota, RetryScope
from gql_imgproc.errors import QuotaExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas of tenants that have none of their own; 0: no limit."""

    open_requests: int = 0
    pending_images: int = 0
    stored_bytes: int = 0
    csv_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QuotaItem:
    """How much there is of something, and how much there may be; None: as much as one likes."""

    used: int
    limit: int | None

    def has_room_for(self, more: int) -> bool:
        return self.limit is None or self.used + more <= self.limit


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """What a tenant has, and may have."""

    open_requests: QuotaItem
    pending_images: QuotaItem
    stored_bytes: QuotaItem
    #: Size of its largest CSV file; None: whatever the service takes.
    csv_bytes: int | None
    #: Pending images of the open request that has the fewest.
    fewest_images: int
    #: At which its images end at the moment; 0 when nothing moves.
    images_per_second: float

    def check(self, *, requests: int, images: int) -> None:
        """Raises QuotaExceeded unless there is room for so much more. What will be stored is not known before."""
        if not self.open_requests.has_room_for(requests):
            raise self._exceeded(Quota.OPEN_REQUESTS, self.open_requests, self.fewest_images)
        if not self.pending_images.has_room_for(images):
            excess = self.pending_images.used + images - (self.pending_images.limit or 0)
            # More than may be at all never fits.
            later = excess if excess <= self.pending_images.used else None
            raise self._exceeded(Quota.PENDING_IMAGES, self.pending_images, later)
        if not self.stored_bytes.has_room_for(1):
            raise self._exceeded(Quota.STORED_BYTES, self.stored_bytes, None)

    def _exceeded(self, quota: Quota, allotment: QuotaItem, until_images: int | None) -> QuotaExceeded:
        """`until_images`: after so many have ended there may be room."""
        rate = self.images_per_second
        retry_after_s = until_images / rate if until_images and rate else None
        return QuotaExceeded(quota, allotment.limit or 0, allotment.used, retry_after_s)


_unfinished = requests.c.total_images - requests.c.processed_images
#: While a request is being opened again, what failed stands for what is yet to be opened of it: its chunks come later.
_pending = case(
    (and_(requests.c.termination_reason.is_(None), requests.c.retry_scope == RetryScope.CUT_OFF), _unfinished),
    (
        and_(requests.c.termination_reason.is_(None), requests.c.retry_scope == RetryScope.FAILED),
        _unfinished - requests.c.cancelled_images,
    ),
    else_=_unfinished - requests.c.failed_images - requests.c.cancelled_images,
)
_OWN = (tenants.c.max_open_requests, tenants.c.max_pending_images, tenants.c.max_stored_bytes, tenants.c.max_csv_bytes)


def read_usage(connection: Connection, tenant_id: UUID, limits: Limits) -> QuotaUsage:
    """One statement, so that what ends meanwhile is counted once."""
    of_open = (
        select(
            func.count().label("requests"),
            func.coalesce(func.sum(_pending), 0).label("images"),
            func.coalesce(func.sum(requests.c.output_bytes), 0).label("bytes"),
            func.coalesce(func.min(_pending), 0).label("fewest"),
            func.coalesce(func.sum(requests.c.images_per_second), 0).label("rate"),
        )
        .where(requests.c.tenant_id == tenant_id, is_open)
        .subquery()
    )
    row = connection.execute(
        select(*_OWN, tenants.c.stored_bytes, of_open).join(of_open, true()).where(tenants.c.id == tenant_id)
    ).one()

    def limit(own: int | None, usual: int) -> int | None:
        return (usual if own is None else own) or None

    return QuotaUsage(
        QuotaItem(row.requests, limit(row.max_open_requests, limits.open_requests)),
        QuotaItem(int(row.images), limit(row.max_pending_images, limits.pending_images)),
        QuotaItem(row.stored_bytes + int(row.bytes), limit(row.max_stored_bytes, limits.stored_bytes)),
        limit(row.max_csv_bytes, limits.csv_bytes),
        row.fewest,
        float(row.rate),
    )


def check(connection: Connection, tenant_id: UUID, limits: Limits, *, requests: int, images: int) -> None:
    """Raises QuotaExceeded unless there is room for so much more; until the transaction ends nobody else takes it."""
    # A statement of its own: one that waits for the lock would look at the other rows as they were before.
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    read_usage(connection, tenant_id, limits).check(requests=requests, images=images)


def set_overrides(connection: Connection, tenant_id: UUID, own: Mapping[Quota, int | None]) -> None:
    """Gives a tenant quotas of its own; 0: no limit, None: those of the service."""
    values = {f"max_{quota.value.lower()}": limit for quota, limit in own.items()}
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(values))


def add_stored_bytes(connection: Connection, tenant_id: UUID, more_bytes: int | ColumnElement[int]) -> None:
    """To be called last: it locks the row of the tenant until the transaction ends."""
    connection.execute(
        update(tenants).where(tenants.c.id == tenant_id).values(stored_bytes=tenants.c.stored_bytes + more_bytes)
    )
