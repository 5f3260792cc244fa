"""SQL that retries the failed images of a final request.

The request is open from the start. Its row says which images are left, and the holder of its lease reopens them in
chunks (`requests/lifecycle.py`). The request cannot finish before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, case, func, select, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import images, is_failed, is_failed_for_now, products, requests
from gql_imgproc.database.types import now
from gql_imgproc.enums import ImageStatus, ProductStatus, RequestFailureCode, RequestPhase, RetryScope
from gql_imgproc.errors import ImageErrorCode, LeaseLost
from gql_imgproc.requests.repository import counters, lanes, repeats, transitions
from gql_imgproc.requests.repository.image_statistics import ReopenedImage
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.repository.transitions import ReopenedChunk, RequestLease
from gql_imgproc.requests.snapshot import Snapshot

#: Failed images, or cancelled products, that are reopened in one transaction.
RETRY_CHUNK = 500
#: Lane, original and error of an image.
_Reopened: TypeAlias = Row[UUID, UUID | None, ImageErrorCode | None]
_FAILED_STATUSES = (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
_REOPENED: dict[str, Any] = {
    "status": ImageStatus.PENDING,
    "due_at": case((images.c.original_id.is_(None), now())),
    "lease_token": images.c.lease_token + 1,
    "attempts": 0,
    "unfinished_claims": 0,
    "crashes": 0,
    "refusals": 0,
    "error_code": None,
    "error_message": None,
    "error_http_status": None,
    "error_retryable": False,
}


def start_retry(
    connection: Connection,
    tenant_id: UUID,
    request_id: UUID,
    limits: quotas.Limits | None = None,
    error_code: ImageErrorCode | None = None,
    host: str | None = None,
) -> Snapshot | None:
    """Starts a retry of the failed images of a final request, or of those with an error, or of a host.

    After a deadline, the images that it cancelled are retried too. None when the request is open or being deleted, or
    has no such images. With `limits`, raises QuotaExceeded, which must roll the transaction back.
    """
    request = _lock_done(connection, *request_of_tenant(tenant_id, request_id))
    if request is None:
        return None
    is_past_deadline = request.failure_code is RequestFailureCode.DEADLINE
    cancelled_images = request.cancelled_images if is_past_deadline else 0
    failed_images, lane_id = request.failed_images, None if host is None else lanes.lane_id(request_id, host)
    if error_code is not None or lane_id is not None:
        chosen = images.c.request_id == request_id, is_failed, *_choose(error_code, lane_id)
        failed_images = connection.execute(select(func.count()).where(*chosen)).scalar_one()
        if not failed_images:
            return None
    if not failed_images + cancelled_images:
        return None
    if limits is not None:
        added = quotas.Addition(failed_images + cancelled_images, request.total_products)
        quotas.check(connection, tenant_id, limits, added)
    # Cancelled images have no error. They are always retried: the request would otherwise end as CANCELLED.
    scope = RetryScope.CUT_OFF if cancelled_images else RetryScope.FAILED
    return _open(connection, request, scope, error_code, lane_id)


def start_auto_retry(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    """Starts an automatic retry of temporary failures; None when the request is not due for that."""
    # Not limited by quotas: there is no caller to report an exceeded quota to.
    request = _lock_done(connection, *request_of_tenant(tenant_id, request_id), requests.c.retry_at <= now())
    return request and _open(connection, request, RetryScope.TEMPORARY)


def list_due_auto_retries(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and ID of requests whose temporary failures are due for an automatic retry."""
    statement = select(requests.c.tenant_id, requests.c.id).where(requests.c.retry_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(statement.order_by(requests.c.retry_at).limit(limit))]


def reopen_chunk(connection: Connection, lease: RequestLease) -> Snapshot:
    """Reopens the next images of a retry; the request is WORKING when these were the last ones.

    Raises LeaseLost, which must roll the transaction back.
    """
    rest = connection.execute(
        select(
            requests.c.retry_scope, requests.c.retry_cursor, requests.c.retry_error_code, requests.c.retry_lane_id
        ).where(*transitions.owned(lease, RequestPhase.RETRYING), requests.c.retry_scope.is_not(None))
    ).one_or_none()
    if rest is None:
        raise LeaseLost
    request_id, scope, reopened = lease.request.id, rest.retry_scope, list[_Reopened]()
    if scope is RetryScope.CUT_OFF:
        reopened, scope = _reopen_cancelled_products(connection, request_id), RetryScope.FAILED
    chunk = ReopenedChunk(0, len(reopened), 0, RetryScope.CUT_OFF, None)
    # Otherwise there may be more cancelled products: each has at least one image.
    if len(reopened) < RETRY_CHUNK:
        chosen = _choose(rest.retry_error_code, rest.retry_lane_id)
        failed, of_failed = _reopen_failed_images(connection, request_id, scope, rest.retry_cursor, chosen)
        chunk, reopened = replace(of_failed, cancelled_images=len(reopened)), reopened + failed
    # After all images and products: rows are locked in the same order everywhere.
    lanes.wake_lanes(connection, {row.lane_id: 0.0 for row in reopened})
    copies = repeats.copy_results(connection, {row.original_id for row in reopened} - {None})
    counted = [ReopenedImage(request_id, row.lane_id, row.error_code) for row in reopened if row.error_code]
    counters.add(connection, copies, counted)
    return transitions.add_reopened(connection, lease, chunk)


def _lock_done(connection: Connection, *where: ColumnElement[bool]) -> Snapshot | None:
    statement = select(*SNAPSHOT_COLUMNS).where(*where, requests.c.phase == RequestPhase.DONE).with_for_update()
    row = connection.execute(statement).one_or_none()
    return to_snapshot(row) if row else None


def _choose(error_code: ImageErrorCode | None, lane_id: UUID | None) -> list[ColumnElement[bool]]:
    chosen = [] if error_code is None else [images.c.error_code == error_code]
    return chosen if lane_id is None else [*chosen, images.c.lane_id == lane_id]


def _open(
    connection: Connection,
    request: Snapshot,
    scope: RetryScope,
    error_code: ImageErrorCode | None = None,
    lane_id: UUID | None = None,
) -> Snapshot | None:
    opened = transitions.start_retry(connection, request.id, scope, error_code, lane_id)
    # The bytes of open requests are summed.
    quotas.add_stored_bytes(connection, request.tenant_id, -request.counted_bytes)
    return opened


def _reopen_cancelled_products(connection: Connection, request_id: UUID) -> list[_Reopened]:
    """Reopens the cancelled images of up to one chunk of products."""
    statement = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.status == ProductStatus.CANCELLED)
        .order_by(products.c.position)
        .limit(RETRY_CHUNK)
    )
    product_ids = connection.scalars(statement).all()
    cancelled = images.c.product_id.in_(product_ids), images.c.status == ImageStatus.CANCELLED
    image_ids = connection.scalars(select(images.c.id).where(*cancelled)).all()
    reopened = _reopen_images(connection, image_ids)
    _reopen_products(connection, product_ids, cancelled_images=0)
    return reopened


def _reopen_images(connection: Connection, ids: Sequence[UUID]) -> list[_Reopened]:
    """Makes images pending again. Locks the originals of repeats too, whose results may have to be copied."""
    is_repeat = images.c.id.in_(ids), images.c.original_id.is_not(None)
    locked = {*ids, *connection.scalars(select(images.c.original_id).where(*is_repeat))}
    connection.execute(select(images.c.id).where(images.c.id.in_(locked)).order_by(images.c.id).with_for_update())
    statement = select(images.c.lane_id, images.c.original_id, images.c.error_code).where(images.c.id.in_(ids))
    reopened = list(connection.execute(statement))
    connection.execute(update(images).where(images.c.id.in_(ids)).values(_REOPENED))
    return reopened


def _reopen_failed_images(
    connection: Connection,
    request_id: UUID,
    scope: RetryScope,
    cursor: UUID | None,
    chosen: Iterable[ColumnElement[bool]],
) -> tuple[list[_Reopened], ReopenedChunk]:
    is_in_scope = is_failed_for_now if scope is RetryScope.TEMPORARY else is_failed
    # Ordered by ID, so that an image that fails again meanwhile is not reopened twice.
    statement = (
        select(images.c.id, images.c.product_id)
        .where(images.c.request_id == request_id, is_in_scope, *chosen)
        .order_by(images.c.id)
        .limit(RETRY_CHUNK)
    )
    found = connection.execute(statement if cursor is None else statement.where(images.c.id > cursor)).all()
    # Images are locked before products, as workers do.
    reopened = _reopen_images(connection, [row.id for row in found])
    counts = Counter(row.product_id for row in found)
    locking = select(products.c.status).where(products.c.id.in_(counts)).order_by(products.c.id).with_for_update()
    failed_products = sum(status in _FAILED_STATUSES for status in connection.scalars(locking))
    by_count: defaultdict[int, list[UUID]] = defaultdict(list)
    for product_id, count in counts.items():
        by_count[count].append(product_id)
    for count, product_ids in by_count.items():
        _reopen_products(connection, product_ids, failed_images=products.c.failed_images - count)
    cursor = found[-1].id if len(found) == RETRY_CHUNK else None
    return reopened, ReopenedChunk(len(found), 0, failed_products, scope if cursor else None, cursor)


def _reopen_products(connection: Connection, product_ids: Collection[UUID], **counts: Any) -> None:
    connection.execute(
        select(products.c.id).where(products.c.id.in_(product_ids)).order_by(products.c.id).with_for_update()
    )
    connection.execute(
        update(products)
        .where(products.c.id.in_(product_ids))
        .values(status=ProductStatus.PENDING, updated_at=now(), **counts)
    )
