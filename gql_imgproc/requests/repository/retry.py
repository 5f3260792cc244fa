"""SQL that retries the failed images of a final request.

Images are reset in chunks. The request is open from the first chunk on, and its row says which chunks are left; the
holder of its lease resets them (`requests/lifecycle.py`). The request cannot finish before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select, true, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import images, is_failed, is_failed_for_now, is_open, products, requests
from gql_imgproc.database.types import now
from gql_imgproc.enums import ImageStatus, ProductStatus, RequestFailureCode, RequestStatus, RetryScope
from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.repository.transitions import RequestLease, lease_terms
from gql_imgproc.requests.snapshot import Snapshot

#: Failed images, or cancelled products, that are reset in one transaction.
RETRY_CHUNK = 500
_FAILED_STATUSES = (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
_RESET_VALUES: dict[str, Any] = {
    "status": ImageStatus.PENDING,
    "attempts": 0,
    "crashes": 0,
    "error_code": None,
    "error_message": None,
    "error_http_status": None,
    "error_retryable": False,
}


@dataclass(frozen=True, slots=True)
class _ResetChunk:
    """Counts of what a chunk reset, and where the next chunk starts."""

    failed_images: int
    cancelled_images: int
    failed_products: int
    next_scope: RetryScope | None
    next_cursor: UUID | None


def start_retry(
    connection: Connection, tenant_id: UUID, request_id: UUID, limits: quotas.Limits | None = None
) -> Snapshot | None:
    """Retries the failed images of a final request; the first chunk becomes pending at once.

    After a deadline, the images that it cancelled are retried too. None when the request is open or being deleted, or
    has no such images. With `limits`, raises QuotaExceeded, which must roll the transaction back.
    """
    return _reopen(connection, tenant_id, request_id, automatic=False, limits=limits)


def start_auto_retry(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    """Retries temporary failures automatically; None when the request is not due for that."""
    # Not limited by quotas: there is no caller to report an exceeded quota to.
    return _reopen(connection, tenant_id, request_id, automatic=True, limits=None)


def list_due_auto_retries(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and ID of requests whose temporary failures are due for an automatic retry."""
    statement = select(requests.c.tenant_id, requests.c.id).where(requests.c.retry_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(statement.order_by(requests.c.retry_at).limit(limit))]


def reset_chunk(connection: Connection, lease: RequestLease) -> Snapshot | None:
    """Resets the next chunk of a retry; None when no chunk was left.

    Raises LeaseLost, which must roll the transaction back.
    """
    not_stopping = *lease_terms(lease), requests.c.termination_reason.is_(None)
    rest = connection.execute(
        select(requests.c.retry_scope, requests.c.retry_cursor).where(*not_stopping)
    ).one_or_none()
    if rest is None or rest.retry_scope is None:
        return None
    chunk = _reset(connection, lease.request.id, rest.retry_scope, rest.retry_cursor)
    return _update_counters(connection, chunk, *not_stopping)


def _reopen(
    connection: Connection, tenant_id: UUID, request_id: UUID, *, automatic: bool, limits: quotas.Limits | None
) -> Snapshot | None:
    # Locked before its products: no worker claims or records anything of a final request.
    request = connection.execute(
        select(requests.c.failure_code, requests.c.failed_images, requests.c.cancelled_images)
        .where(
            *request_of_tenant(tenant_id, request_id),
            ~is_open,
            requests.c.deletion_started_at.is_(None),
            requests.c.retry_at <= now() if automatic else true(),
        )
        .with_for_update()
    ).one_or_none()
    if request is None:
        return None
    scope = RetryScope.TEMPORARY if automatic else RetryScope.FAILED
    if request.failure_code is RequestFailureCode.DEADLINE and request.cancelled_images and not automatic:
        scope = RetryScope.CUT_OFF
    chunk = _reset(connection, request_id, scope, None)
    if not chunk.failed_images + chunk.cancelled_images:
        return None
    if limits is not None:
        retried_images = request.failed_images + (request.cancelled_images if scope is RetryScope.CUT_OFF else 0)
        quotas.check(connection, tenant_id, limits, requests=1, images=retried_images)
    _set_open(connection, request_id, automatic=automatic)
    snapshot = _update_counters(connection, chunk, requests.c.id == request_id)
    quotas.add_stored_bytes(connection, tenant_id, -snapshot.output_bytes)
    return snapshot


def _set_open(connection: Connection, request_id: UUID, *, automatic: bool) -> None:
    connection.execute(
        update(requests)
        .where(requests.c.id == request_id)
        .values(
            status=RequestStatus.PROCESSING,
            generation=requests.c.generation + 1,
            termination_reason=None,
            failure_code=None,
            completed_at=None,
            retry_at=None,
            auto_retries=requests.c.auto_retries + 1 if automatic else 0,
            retried_at=now(),
            rate_sampled_at=now(),
            rate_sampled_images=requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images,
            lease_until=now(),
            lease_token=requests.c.lease_token + 1,
        )
    )


def _reset(connection: Connection, request_id: UUID, scope: RetryScope, cursor: UUID | None) -> _ResetChunk:
    """Makes the images of one chunk, and their products, pending again."""
    if scope is not RetryScope.CUT_OFF:
        return _reset_failed_images(connection, request_id, scope, cursor)
    cancelled_images = _reset_cancelled_products(connection, request_id)
    if cancelled_images >= RETRY_CHUNK:
        # Each product has at least one image, so there may be more products.
        return _ResetChunk(0, cancelled_images, 0, scope, None)
    chunk = _reset_failed_images(connection, request_id, RetryScope.FAILED, None)
    return replace(chunk, cancelled_images=cancelled_images)


def _reset_cancelled_products(connection: Connection, request_id: UUID) -> int:
    """Resets the cancelled images of up to one chunk of products; the number of images."""
    statement = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.status == ProductStatus.CANCELLED)
        .order_by(products.c.position)
        .limit(RETRY_CHUNK)
        .with_for_update()
    )
    product_ids = connection.scalars(statement).all()
    _reset_products(connection, product_ids, cancelled_images=0)
    cancelled = images.c.product_id.in_(product_ids), images.c.status == ImageStatus.CANCELLED
    return connection.execute(update(images).where(*cancelled).values(_RESET_VALUES)).rowcount


def _reset_failed_images(
    connection: Connection, request_id: UUID, scope: RetryScope, cursor: UUID | None
) -> _ResetChunk:
    # Ordered by ID, so that an image that fails again meanwhile is not reset twice.
    statement = (
        select(images.c.id, images.c.product_id)
        .where(images.c.request_id == request_id, is_failed_for_now if scope is RetryScope.TEMPORARY else is_failed)
        .order_by(images.c.id)
        .limit(RETRY_CHUNK)
    )
    found = connection.execute(statement if cursor is None else statement.where(images.c.id > cursor)).all()
    # Products are locked before images, as workers do.
    counts = Counter(row.product_id for row in found)
    locking = select(products.c.status).where(products.c.id.in_(counts)).order_by(products.c.id).with_for_update()
    failed_products = sum(status in _FAILED_STATUSES for status in connection.scalars(locking))
    by_count: defaultdict[int, list[UUID]] = defaultdict(list)
    for product_id, count in counts.items():
        by_count[count].append(product_id)
    for count, product_ids in by_count.items():
        _reset_products(connection, product_ids, failed_images=products.c.failed_images - count)
    connection.execute(update(images).where(images.c.id.in_([row.id for row in found])).values(_RESET_VALUES))
    has_more = len(found) == RETRY_CHUNK
    return _ResetChunk(len(found), 0, failed_products, scope if has_more else None, found[-1].id if has_more else None)


def _reset_products(connection: Connection, product_ids: Collection[UUID], **counts: Any) -> None:
    connection.execute(
        update(products)
        .where(products.c.id.in_(product_ids))
        .values(
            status=ProductStatus.PENDING,
            due_at=now(),
            lease_token=products.c.lease_token + 1,
            attempts=0,
            updated_at=now(),
            **counts,
        )
    )


def _update_counters(connection: Connection, chunk: _ResetChunk, *where: ColumnElement[bool]) -> Snapshot:
    row = connection.execute(
        update(requests)
        .where(*where)
        .values(
            failed_images=requests.c.failed_images - chunk.failed_images,
            cancelled_images=requests.c.cancelled_images - chunk.cancelled_images,
            failed_products=requests.c.failed_products - chunk.failed_products,
            rate_sampled_images=requests.c.rate_sampled_images - chunk.failed_images - chunk.cancelled_images,
            retry_scope=chunk.next_scope,
            retry_cursor=chunk.next_cursor,
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        raise LeaseLost
    return to_snapshot(row)
