"""Quotas of tenants: limits and current use.

Quotas are exact: a check locks the tenant's row until the end of its transaction, so of two uploads at once the second
sees what the first has added. The row of an existing request is always locked before that of its tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, true, update

from gql_imgproc.database.tables import is_open, requests, tenants
from gql_imgproc.enums import Quota, RequestPhase, RetryScope
from gql_imgproc.errors import QuotaExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """The service's quotas, for tenants without overrides; 0 is unlimited."""

    open_requests: int = 0
    pending_images: int = 0
    open_rows: int = 0
    stored_bytes: int = 0
    csv_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Addition:
    """What a request adds to the use of its tenant. The bytes of its images are not known in advance."""

    images: int = 0
    rows: int = 0
    csv_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QuotaItem:
    """Use and limit of one quota; None is unlimited."""

    used: int
    limit: int | None

    def has_room_for(self, more: int) -> bool:
        return self.limit is None or self.used + more <= self.limit


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """Use and limits of a tenant's quotas."""

    open_requests: QuotaItem
    pending_images: QuotaItem
    open_rows: QuotaItem
    stored_bytes: QuotaItem
    #: Size limit of a CSV file; None: the service's limit alone applies.
    csv_bytes: int | None
    #: Pending images of the open request that has the fewest: it is likely to finish first.
    fewest_images: int
    #: Current rate of all open requests; 0 when no image is being processed.
    images_per_second: float

    def check(self, added: Addition) -> None:
        """Raises QuotaExceeded if another open request would exceed a quota."""
        if not self.open_requests.has_room_for(1):
            raise self._to_error(Quota.OPEN_REQUESTS, self.open_requests, self.fewest_images)
        if not self.open_rows.has_room_for(added.rows):
            is_too_large = added.rows > (self.open_rows.limit or 0)
            raise self._to_error(Quota.OPEN_ROWS, self.open_rows, None if is_too_large else self.fewest_images)
        if not self.pending_images.has_room_for(added.images):
            excess = self.pending_images.used + added.images - (self.pending_images.limit or 0)
            # An upload larger than the whole quota never fits.
            until_images = excess if excess <= self.pending_images.used else None
            raise self._to_error(Quota.PENDING_IMAGES, self.pending_images, until_images)
        if not self.stored_bytes.has_room_for(max(added.csv_bytes, 1)):
            raise self._to_error(Quota.STORED_BYTES, self.stored_bytes, None)

    def _to_error(self, quota: Quota, item: QuotaItem, until_images: int | None) -> QuotaExceeded:
        """There may be room again once `until_images` images are finished; None when that is unknown."""
        rate = self.images_per_second
        retry_after_s = until_images / rate if until_images and rate else None
        return QuotaExceeded(quota, item.limit or 0, item.used, retry_after_s)


_unfinished = requests.c.total_images - requests.c.processed_images
#: A retry resets images in chunks; until then, failed and cancelled images in its scope count as pending too.
_is_retrying = requests.c.phase == RequestPhase.RETRYING
_pending = case(
    (and_(_is_retrying, requests.c.retry_scope == RetryScope.CUT_OFF), _unfinished),
    (and_(_is_retrying, requests.c.retry_scope == RetryScope.FAILED), _unfinished - requests.c.cancelled_images),
    else_=_unfinished - requests.c.failed_images - requests.c.cancelled_images,
)
_OVERRIDES = (
    tenants.c.max_open_requests,
    tenants.c.max_pending_images,
    tenants.c.max_open_rows,
    tenants.c.max_stored_bytes,
    tenants.c.max_csv_bytes,
)


def read_usage(connection: Connection, tenant_id: UUID, limits: Limits) -> QuotaUsage:
    """Reads limits and use in one statement, so that a request that finishes meanwhile is counted once."""
    of_open = (
        select(
            func.count().label("requests"),
            func.coalesce(func.sum(_pending), 0).label("images"),
            func.coalesce(func.sum(requests.c.total_products), 0).label("rows"),
            func.coalesce(func.sum(func.coalesce(requests.c.stored_bytes, requests.c.output_bytes)), 0).label("bytes"),
            func.coalesce(func.min(_pending), 0).label("fewest"),
            func.coalesce(func.sum(requests.c.images_per_second), 0).label("rate"),
        )
        .where(requests.c.tenant_id == tenant_id, is_open)
        .subquery()
    )
    row = connection.execute(
        select(*_OVERRIDES, tenants.c.stored_bytes, of_open).join(of_open, true()).where(tenants.c.id == tenant_id)
    ).one()

    def limit(override: int | None, default: int) -> int | None:
        return (default if override is None else override) or None

    return QuotaUsage(
        QuotaItem(row.requests, limit(row.max_open_requests, limits.open_requests)),
        QuotaItem(int(row.images), limit(row.max_pending_images, limits.pending_images)),
        QuotaItem(int(row.rows), limit(row.max_open_rows, limits.open_rows)),
        QuotaItem(row.stored_bytes + int(row.bytes), limit(row.max_stored_bytes, limits.stored_bytes)),
        limit(row.max_csv_bytes, limits.csv_bytes),
        row.fewest,
        float(row.rate),
    )


def check(connection: Connection, tenant_id: UUID, limits: Limits, added: Addition) -> None:
    """Raises QuotaExceeded if one more open request would exceed a quota. Locks the tenant for the transaction."""
    # Not in the statement below: after waiting for the lock, that would still see the other rows as they were before.
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    read_usage(connection, tenant_id, limits).check(added)


def set_overrides(connection: Connection, tenant_id: UUID, overrides: Mapping[Quota, int | None]) -> None:
    """Overrides quotas for a tenant; 0 is unlimited, None is the service's setting."""
    values = {f"max_{quota.value.lower()}": limit for quota, limit in overrides.items()}
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(values))


def add_stored_bytes(connection: Connection, tenant_id: UUID, more_bytes: int | ColumnElement[int]) -> None:
    """Call it last: it locks the tenant's row until the transaction ends."""
    connection.execute(
        update(tenants).where(tenants.c.id == tenant_id).values(stored_bytes=tenants.c.stored_bytes + more_bytes)
    )
