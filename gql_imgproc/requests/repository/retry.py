"""Statements that open a final request again, for images that failed.

The request is open from the first chunk on, and the chunks that are left are named in its row: whoever holds it next
goes on with them (`requests/lifecycle.py`), and nobody can end it before.
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
from gql_imgproc.requests.repository.transitions import RequestLease, held_by
from gql_imgproc.requests.snapshot import Snapshot

#: Failed images, or products that were cut off, that are opened in one transaction.
REOPEN_CHUNK = 500
_ENDED_BADLY = (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
_ANEW: dict[str, Any] = {
    "status": ImageStatus.PENDING,
    "attempts": 0,
    "crashes": 0,
    "error_code": None,
    "error_message": None,
    "error_http_status": None,
    "error_retryable": False,
}


@dataclass(frozen=True, slots=True)
class _Reopened:
    """What a chunk opened, and where the next one begins."""

    failed_images: int
    cancelled_images: int
    failed_products: int
    next: RetryScope | None
    after: UUID | None


def start_retry(
    connection: Connection, tenant_id: UUID, request_id: UUID, limits: quotas.Limits | None = None
) -> Snapshot | None:
    """Makes the failed images of a final request pending again, the first chunk of them at once.

    After a deadline the images that it cut off are tried too: nobody wanted them cancelled. None when the request is
    open or being deleted, or when there are none. With `limits` it raises QuotaExceeded, which must roll the
    transaction back, where there is no room for it.
    """
    return _reopen(connection, tenant_id, request_id, by_itself=False, limits=limits)


def reopen_retryable(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    """As `start_retry`, for what may have failed for now only; None when the request is not due for that."""
    # Nobody asked for it, and nobody could be told that there is no room.
    return _reopen(connection, tenant_id, request_id, by_itself=True, limits=None)


def list_due_auto_retries(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of requests whose temporary failures are to be tried again."""
    which = select(requests.c.tenant_id, requests.c.id).where(requests.c.retry_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(which.order_by(requests.c.retry_at).limit(limit))]


def reopen_chunk(connection: Connection, hold: RequestLease) -> Snapshot | None:
    """Opens the next chunk of a request that is being opened again; None when none was left.

    Raises LeaseLost, which must roll the transaction back, when the hold is lost.
    """
    left = connection.execute(
        select(requests.c.retry_scope, requests.c.retry_cursor).where(
            *held_by(hold), requests.c.termination_reason.is_(None)
        )
    ).one_or_none()
    if left is None or left.retry_scope is None:
        return None
    opened = _open(connection, hold.request.id, left.retry_scope, left.retry_cursor)
    return _count(connection, opened, *held_by(hold), requests.c.termination_reason.is_(None))


def _reopen(
    connection: Connection, tenant_id: UUID, request_id: UUID, *, by_itself: bool, limits: quotas.Limits | None
) -> Snapshot | None:
    # Nobody claims or records anything of a final request, so its row may be locked first.
    found = connection.execute(
        select(requests.c.failure_code, requests.c.failed_images, requests.c.cancelled_images)
        .where(
            *request_of_tenant(tenant_id, request_id),
            ~is_open,
            requests.c.deletion_started_at.is_(None),
            requests.c.retry_at <= now() if by_itself else true(),
        )
        .with_for_update()
    ).one_or_none()
    if found is None:
        return None
    if found.failure_code is RequestFailureCode.DEADLINE and found.cancelled_images and not by_itself:
        wanted = RetryScope.CUT_OFF
    else:
        wanted = RetryScope.TEMPORARY if by_itself else RetryScope.FAILED
    opened = _open(connection, request_id, wanted, None)
    if not opened.failed_images + opened.cancelled_images:
        return None
    if limits is not None:
        anew = found.failed_images + (found.cancelled_images if wanted is RetryScope.CUT_OFF else 0)
        quotas.check(connection, tenant_id, limits, requests=1, images=anew)
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
            auto_retries=requests.c.auto_retries + 1 if by_itself else 0,
            retried_at=now(),
            rate_sampled_at=now(),
            rate_sampled_images=requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images,
            lease_until=now(),
            lease_token=requests.c.lease_token + 1,
        )
    )
    reopened = _count(connection, opened, requests.c.id == request_id)
    quotas.add_stored_bytes(connection, tenant_id, -reopened.output_bytes)
    return reopened


def _open(connection: Connection, request_id: UUID, wanted: RetryScope, after: UUID | None) -> _Reopened:
    """Makes images, and their products, pending again."""
    if wanted is not RetryScope.CUT_OFF:
        return _open_failed(connection, request_id, wanted, after)
    cut_off = _reset_cancelled_products(connection, request_id)
    if cut_off >= REOPEN_CHUNK:
        # Each product has at least one: there may be more.
        return _Reopened(0, cut_off, 0, wanted, None)
    return replace(_open_failed(connection, request_id, RetryScope.FAILED, None), cancelled_images=cut_off)


def _reset_cancelled_products(connection: Connection, request_id: UUID) -> int:
    """Opens the images that were cut off of the products of one chunk; how many."""
    statement = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.status == ProductStatus.CANCELLED)
        .order_by(products.c.position)
        .limit(REOPEN_CHUNK)
        .with_for_update()
    )
    ids = connection.scalars(statement).all()
    _open_products(connection, ids, cancelled_images=0)
    cancelled = images.c.product_id.in_(ids), images.c.status == ImageStatus.CANCELLED
    return connection.execute(update(images).where(*cancelled).values(_ANEW)).rowcount


def _open_failed(connection: Connection, request_id: UUID, wanted: RetryScope, after: UUID | None) -> _Reopened:
    # In the order of their identifiers, so that none that fails again meanwhile is taken for one that is left.
    statement = (
        select(images.c.id, images.c.product_id)
        .where(images.c.request_id == request_id, is_failed_for_now if wanted is RetryScope.TEMPORARY else is_failed)
        .order_by(images.c.id)
        .limit(REOPEN_CHUNK)
    )
    found = connection.execute(statement if after is None else statement.where(images.c.id > after)).all()
    # The products are locked first, as workers do.
    numbers = Counter(row.product_id for row in found)
    locking = select(products.c.status).where(products.c.id.in_(numbers)).order_by(products.c.id).with_for_update()
    ended_badly = sum(status in _ENDED_BADLY for status in connection.scalars(locking))
    by_number: defaultdict[int, list[UUID]] = defaultdict(list)
    for product_id, number in numbers.items():
        by_number[number].append(product_id)
    for number, ids in by_number.items():
        _open_products(connection, ids, failed_images=products.c.failed_images - number)
    connection.execute(update(images).where(images.c.id.in_([row.id for row in found])).values(_ANEW))
    more = len(found) == REOPEN_CHUNK
    return _Reopened(len(found), 0, ended_badly, wanted if more else None, found[-1].id if more else None)


def _open_products(connection: Connection, ids: Collection[UUID], **counts: Any) -> None:
    connection.execute(
        update(products)
        .where(products.c.id.in_(ids))
        .values(
            status=ProductStatus.PENDING,
            due_at=now(),
            lease_token=products.c.lease_token + 1,
            attempts=0,
            updated_at=now(),
            **counts,
        )
    )


def _count(connection: Connection, opened: _Reopened, *where: ColumnElement[bool]) -> Snapshot:
    row = connection.execute(
        update(requests)
        .where(*where)
        .values(
            failed_images=requests.c.failed_images - opened.failed_images,
            cancelled_images=requests.c.cancelled_images - opened.cancelled_images,
            failed_products=requests.c.failed_products - opened.failed_products,
            rate_sampled_images=requests.c.rate_sampled_images - opened.failed_images - opened.cancelled_images,
            retry_scope=opened.next,
            retry_cursor=opened.after,
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        raise LeaseLost
    return to_snapshot(row)
