"""Statements that bring a request to its end."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, exists, false, null, or_, select, update

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import deliveries, quotas
from gql_imgproc.db.columns import later, now
from gql_imgproc.db.holds import Hold, mine
from gql_imgproc.db.models import images, is_failed_for_now, is_open, products, requests, webhook_deliveries
from gql_imgproc.db.rows import SNAPSHOT_COLUMNS, own, snapshot
from gql_imgproc.errors import LeaseLost
from gql_imgproc.states import (
    ImageStatus,
    ProductStatus,
    RequestFailureCode,
    RequestStatus,
    StopReason,
)


@dataclass(frozen=True, slots=True)
class End:
    """How a request ends."""

    status: RequestStatus
    failure: RequestFailureCode | None
    #: Of the output CSV, which is stored already; None when there is none.
    output_name: str | None
    #: Rounds in which temporary failures are tried again, each so long after an end.
    auto_retries: int = 0
    retry_after_s: float = 0


#: A request's objects are compared with its rows so long after its end, in seconds: late workers are gone by then.
TIDY_SECONDS = 660.0
#: Products that are cancelled in one transaction: few enough for SQLite's write lock to be let go soon.
CANCEL_CHUNK = 500


def stop(connection: Connection, tenant_id: UUID, request_id: UUID, reason: StopReason) -> Snapshot | None:
    """From now on nothing of the request is claimed or recorded; None when it is final or being stopped."""
    row = connection.execute(
        update(requests)
        .where(*own(tenant_id, request_id), is_open, requests.c.stop_reason.is_(None))
        .values(stop_reason=reason, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return snapshot(row) if row else None


def stop_unreadable(connection: Connection, hold: Hold) -> Snapshot | None:
    """Stops a request whose CSV will never be read again, even if it is being stopped for another reason already.

    Every other reason has the missing rows taken in first, which cannot be. None when the hold is lost.
    """
    row = connection.execute(
        update(requests)
        .where(*mine(hold), requests.c.stop_reason.is_distinct_from(StopReason.CSV_UNREADABLE))
        .values(stop_reason=StopReason.CSV_UNREADABLE, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return snapshot(row) if row else None


def cancel_chunk(connection: Connection, hold: Hold) -> bool:
    """Cancels what is pending of some products of a request that is being stopped; False when none was left.

    Raises LeaseLost, which must roll the transaction back, when the hold is lost.
    """
    ids = (
        connection.execute(
            select(products.c.id)
            .where(products.c.request_id == hold.request.id, products.c.due_at.is_not(None))
            .order_by(products.c.position)
            .limit(CANCEL_CHUNK)
            .with_for_update()
        )
        .scalars()
        .all()
    )
    if not ids:
        return False
    pending = products.c.total_images - products.c.processed_images - products.c.failed_images
    connection.execute(
        update(products)
        .where(products.c.id.in_(ids))
        .values(
            status=ProductStatus.CANCELLED,
            cancelled_images=pending,
            due_at=None,
            lease_token=products.c.lease_token + 1,
            updated_at=now(),
        )
    )
    cancelled = connection.execute(
        update(images)
        .where(images.c.product_id.in_(ids), images.c.status == ImageStatus.PENDING)
        .values(status=ImageStatus.CANCELLED)
    ).rowcount
    counted = connection.execute(
        update(requests)
        .where(*mine(hold), requests.c.stop_reason.is_not(None))
        .values(
            cancelled_images=requests.c.cancelled_images + cancelled,
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
    ).rowcount
    if not counted:
        raise LeaseLost
    return True


def finish(
    connection: Connection,
    hold: Hold,
    seen: Snapshot,
    end: End,
) -> Snapshot | None:
    """The final status, and the webhook that tells it, in one transaction.

    None, and nothing is written, when the hold is lost, or the request is not any more as it was `seen`: stopped
    meanwhile, or with images pending.
    """
    ended = requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images
    complete = (requests.c.ingested_products == requests.c.total_products, ended == requests.c.total_images)
    row = connection.execute(
        update(requests)
        .where(
            *mine(hold),
            requests.c.stop_reason.is_not_distinct_from(seen.stop_reason),
            # Who stops it does not wait for images that are yet to be opened again.
            or_(requests.c.reopening.is_(None), requests.c.stop_reason.is_not(None)),
            *(complete if end.failure is not RequestFailureCode.CSV_UNREADABLE else ()),
        )
        .values(
            status=end.status,
            failure_code=end.failure,
            output_name=end.output_name,
            retry_at=case((_may_heal(end), later(end.retry_after_s)), else_=null()),
            tidy_at=later(TIDY_SECONDS),
            completed_at=now(),
            updated_at=now(),
            images_per_second=None,
            reopening=None,
            reopened_to=None,
            sequence=requests.c.sequence + 1,
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    if row.webhook_url:
        deliveries.insert(connection, row.id, row.generation)
    quotas.count_stored(connection, row.tenant_id, row.output_bytes)
    return snapshot(row)


def _may_heal(end: End) -> ColumnElement[bool]:
    """Whether the request is to be retried by itself: it ran to its end, and a failure may have been temporary."""
    if end.status not in (RequestStatus.COMPLETED_WITH_ERRORS, RequestStatus.FAILED) or end.failure not in (
        None,
        RequestFailureCode.ALL_IMAGES_FAILED,
    ):
        return false()
    temporary = exists().where(images.c.request_id == requests.c.id, is_failed_for_now)
    return and_(requests.c.auto_retries < end.auto_retries, temporary)


def delivery_of(connection: Connection, request: Snapshot) -> UUID | None:
    """The webhook of this generation of a request."""
    return connection.execute(
        select(webhook_deliveries.c.id).where(
            webhook_deliveries.c.request_id == request.id, webhook_deliveries.c.generation == request.generation
        )
    ).scalar_one_or_none()
