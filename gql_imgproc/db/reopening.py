"""Statements that open a final request again, for images that failed."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, false, func, or_, select, true, update

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import quotas
from gql_imgproc.db.columns import now
from gql_imgproc.db.models import images, is_open, products, requests
from gql_imgproc.db.rows import SNAPSHOT_COLUMNS, own, snapshot
from gql_imgproc.states import ImageStatus, ProductStatus, RequestFailureCode, RequestStatus


def reopen_failed(
    connection: Connection, tenant_id: UUID, request_id: UUID, limits: quotas.Limits | None = None
) -> Snapshot | None:
    """Makes every failed image of a final request pending again; None when it is open or none failed.

    After a deadline the images that it cut off are tried too: nobody wanted them cancelled. With `limits` it raises
    QuotaExceeded, which must roll the transaction back, where there is no room for it.
    """
    return _reopen(connection, tenant_id, request_id, by_itself=False, limits=limits)


def reopen_temporary(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    """As `reopen_failed`, for what may have failed for now only; None when the request is not due for that."""
    # Nobody asked for it, and nobody could be told that there is no room.
    return _reopen(connection, tenant_id, request_id, by_itself=True, limits=None)


def due(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of requests whose temporary failures are to be tried again."""
    which = select(requests.c.tenant_id, requests.c.id).where(requests.c.retry_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(which.order_by(requests.c.retry_at).limit(limit))]


def _reopen(
    connection: Connection, tenant_id: UUID, request_id: UUID, *, by_itself: bool, limits: quotas.Limits | None
) -> Snapshot | None:
    # Nobody claims or records anything of a final request, so its row may be locked first.
    found = connection.execute(
        select(requests.c.failure_code)
        .where(*own(tenant_id, request_id), ~is_open, requests.c.retry_at <= now() if by_itself else true())
        .with_for_update()
    ).one_or_none()
    if found is None:
        return None
    failed = and_(
        images.c.request_id == request_id,
        images.c.status == ImageStatus.FAILED,
        images.c.error_temporary if by_itself else true(),
    )
    cut_off = (
        and_(images.c.request_id == request_id, images.c.status == ImageStatus.CANCELLED)
        if found.failure_code is RequestFailureCode.DEADLINE
        else false()
    )
    _reopen_products(connection, failed, cut_off)
    anew = {
        "status": ImageStatus.PENDING,
        "attempts": 0,
        "crashes": 0,
        "error_code": None,
        "error_message": None,
        "error_http_status": None,
        "error_temporary": False,
    }
    retried = connection.execute(update(images).where(failed).values(anew)).rowcount
    resumed = connection.execute(update(images).where(cut_off).values(anew)).rowcount
    if not retried + resumed:
        return None
    if limits is not None:
        quotas.check(connection, tenant_id, limits, requests=1, images=retried + resumed)
    reopened = _reopen_request(connection, request_id, retried, resumed, by_itself=by_itself)
    quotas.count_stored(connection, tenant_id, -reopened.output_bytes)
    return reopened


def _reopen_products(connection: Connection, failed: ColumnElement[bool], cut_off: ColumnElement[bool]) -> None:
    """Products of images that are about to be pending again; what is left of their failures stays counted."""

    def own(those: ColumnElement[bool]) -> ScalarSelect[int]:
        return select(func.count()).where(images.c.product_id == products.c.id, those).scalar_subquery()

    connection.execute(
        update(products)
        .where(products.c.id.in_(select(images.c.product_id).where(or_(failed, cut_off))))
        .values(
            status=ProductStatus.PENDING,
            failed_images=products.c.failed_images - own(failed),
            cancelled_images=products.c.cancelled_images - own(cut_off),
            due_at=now(),
            lease_token=products.c.lease_token + 1,
            attempts=0,
            updated_at=now(),
        )
    )


def _reopen_request(
    connection: Connection, request_id: UUID, retried: int, resumed: int, *, by_itself: bool
) -> Snapshot:
    """The request, of which so many failed and so many cancelled images are pending again."""
    ended_badly = (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
    still_failed = (
        select(func.count())
        .where(products.c.request_id == request_id, products.c.status.in_(ended_badly))
        .scalar_subquery()
    )
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id)
        .values(
            status=RequestStatus.PROCESSING,
            generation=requests.c.generation + 1,
            sequence=requests.c.sequence + 1,
            failed_images=requests.c.failed_images - retried,
            cancelled_images=requests.c.cancelled_images - resumed,
            failed_products=still_failed,
            stop_reason=None,
            failure_code=None,
            completed_at=None,
            retry_at=None,
            auto_retries=requests.c.auto_retries + 1 if by_itself else 0,
            reopened_at=now(),
            mark_at=now(),
            mark_images=requests.c.processed_images
            + (requests.c.failed_images - retried)
            + (requests.c.cancelled_images - resumed),
            due_at=now(),
            hold_token=requests.c.hold_token + 1,
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one()
    return snapshot(row)
