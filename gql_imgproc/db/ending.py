"""Statements that end a request, reopen it, or remove it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, update

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import deliveries
from gql_imgproc.db.columns import now
from gql_imgproc.db.models import images, products, requests, webhook_deliveries
from gql_imgproc.db.rows import SNAPSHOT_COLUMNS, snapshot
from gql_imgproc.states import (
    ImageStatus,
    ProductStatus,
    RequestFailureCode,
    RequestStatus,
    StopReason,
)

OPEN = (RequestStatus.PENDING, RequestStatus.PROCESSING)
#: Products that are cancelled in one transaction: few enough for SQLite's write lock to be let go soon.
CANCEL_CHUNK = 500


def get(connection: Connection, request_id: UUID) -> Snapshot | None:
    """A request as it is now."""
    row = connection.execute(select(*SNAPSHOT_COLUMNS).where(requests.c.id == request_id)).one_or_none()
    return snapshot(row) if row else None


def stop(connection: Connection, request_id: UUID, reason: StopReason) -> Snapshot | None:
    """From now on nothing of the request is claimed or recorded; None when it is final or being stopped."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.status.in_(OPEN), requests.c.stop_reason.is_(None))
        .values(stop_reason=reason, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return snapshot(row) if row else None


def cancel_chunk(connection: Connection, request_id: UUID) -> bool:
    """Cancels what is pending of some products of a request that is being stopped; False when none was left."""
    ids = (
        connection.execute(
            select(products.c.id)
            .where(products.c.request_id == request_id, products.c.due_at.is_not(None))
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
    connection.execute(
        update(requests)
        .where(requests.c.id == request_id)
        .values(
            cancelled_images=requests.c.cancelled_images + cancelled,
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
    )
    return True


def finish(
    connection: Connection,
    seen: Snapshot,
    status: RequestStatus,
    failure: RequestFailureCode | None,
    *,
    has_output: bool,
) -> Snapshot | None:
    """The final status, and the webhook that tells it, in one transaction.

    None, and nothing is written, when the request is not any more as it was `seen`: final by another's hand, in
    another generation, stopped meanwhile, or with images pending.
    """
    ended = requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images
    complete = (
        (requests.c.ingested_products == requests.c.total_products, ended == requests.c.total_images)
        if seen.stop_reason is not StopReason.CSV_UNREADABLE
        else ()
    )
    row = connection.execute(
        update(requests)
        .where(
            requests.c.id == seen.id,
            requests.c.status.in_(OPEN),
            requests.c.generation == seen.generation,
            requests.c.stop_reason.is_not_distinct_from(seen.stop_reason),
            *complete,
        )
        .values(
            status=status,
            failure_code=failure,
            has_output=has_output,
            completed_at=now(),
            updated_at=now(),
            images_per_second=None,
            sequence=requests.c.sequence + 1,
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    if row.webhook_url:
        deliveries.insert(connection, row.id, row.generation)
    return snapshot(row)


def delivery_of(connection: Connection, request: Snapshot) -> UUID | None:
    """The webhook of this generation of a request."""
    return connection.execute(
        select(webhook_deliveries.c.id).where(
            webhook_deliveries.c.request_id == request.id, webhook_deliveries.c.generation == request.generation
        )
    ).scalar_one_or_none()


def reopen_failed(connection: Connection, request_id: UUID) -> Snapshot | None:
    """Makes every failed image of a final request pending again; None when it is open or none failed."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.status.not_in(OPEN), requests.c.failed_images > 0)
        .values(
            status=RequestStatus.PROCESSING,
            generation=requests.c.generation + 1,
            sequence=requests.c.sequence + 1,
            failed_images=0,
            failed_products=0,
            stop_reason=None,
            failure_code=None,
            completed_at=None,
            mark_at=now(),
            mark_images=requests.c.processed_images + requests.c.cancelled_images,
            due_at=now(),
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    connection.execute(
        update(products)
        .where(products.c.request_id == request_id, products.c.failed_images > 0)
        .values(
            status=ProductStatus.PENDING,
            failed_images=0,
            due_at=now(),
            lease_token=products.c.lease_token + 1,
            attempts=0,
            updated_at=now(),
        )
    )
    connection.execute(
        update(images)
        .where(images.c.request_id == request_id, images.c.status == ImageStatus.FAILED)
        .values(
            status=ImageStatus.PENDING,
            attempts=0,
            crashes=0,
            error_code=None,
            error_message=None,
            error_http_status=None,
            error_temporary=False,
        )
    )
    return snapshot(row)


def delete_final(connection: Connection, request_id: UUID) -> bool:
    """Removes a final request with its products, images and deliveries; False when it is open or not there."""
    return (
        connection.execute(delete(requests).where(requests.c.id == request_id, requests.c.status.not_in(OPEN))).rowcount
        == 1
    )


def results(
    connection: Connection, request_id: UUID, start: int, count: int
) -> Iterator[tuple[int, list[tuple[str | None, str | None]]]]:
    """For `count` products from position `start` on: position, then object name and error text of each image."""
    rows = connection.execute(
        select(products.c.position, images.c.object_name, images.c.status, images.c.error_message)
        .join(images, images.c.product_id == products.c.id)
        .where(
            products.c.request_id == request_id,
            products.c.position >= start,
            products.c.position < start + count,
        )
        .order_by(products.c.position, images.c.position)
    )
    position = -1
    found: list[tuple[str | None, str | None]] = []
    for row in rows:
        if row.position != position:
            if found:
                yield position, found
            position, found = row.position, []
        error = "Not done: the request was stopped." if row.status is ImageStatus.CANCELLED else row.error_message
        found.append((row.object_name, error))
    if found:
        yield position, found


def count_open(connection: Connection) -> int:
    """Requests that are not final."""
    return connection.execute(select(func.count()).where(requests.c.status.in_(OPEN))).scalar_one()
