"""SQL that cancels the pending images of a stopping request, and closes its lanes, in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, select, update

from gql_imgproc.database.tables import images, products
from gql_imgproc.database.types import now
from gql_imgproc.enums import ImageStatus, ProductStatus
from gql_imgproc.requests.repository import lanes, transitions
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot

#: Products cancelled, and lanes closed, in one transaction: few enough to release SQLite's write lock soon.
CANCEL_CHUNK = 500


def cancel_chunk(connection: Connection, lease: RequestLease) -> Snapshot:
    """Cancels the pending images of some products, and closes some lanes; after the last ones, it is FINISHING.

    Raises LeaseLost, which must roll the transaction back.
    """
    unfinished = products.c.status.in_((ProductStatus.PENDING, ProductStatus.PROCESSING))
    product_ids = connection.scalars(
        select(products.c.id)
        .where(products.c.request_id == lease.request.id, unfinished)
        .order_by(products.c.position)
        .limit(CANCEL_CHUNK)
    ).all()
    cancelled_images = _cancel_images(connection, product_ids)
    # A recorder may have finished some of them meanwhile.
    connection.execute(
        select(products.c.id).where(products.c.id.in_(product_ids)).order_by(products.c.id).with_for_update()
    )
    connection.execute(
        update(products)
        .where(products.c.id.in_(product_ids), unfinished)
        .values(
            status=ProductStatus.CANCELLED,
            cancelled_images=products.c.total_images - products.c.processed_images - products.c.failed_images,
            updated_at=now(),
        )
    )
    closed_lanes = lanes.close_lanes(connection, lease.request, CANCEL_CHUNK)
    is_last = len(product_ids) < CANCEL_CHUNK and closed_lanes < CANCEL_CHUNK
    return transitions.add_cancelled(connection, lease, cancelled_images, is_last=is_last)


def _cancel_images(connection: Connection, product_ids: Sequence[UUID]) -> int:
    """The number of images cancelled. Results that come later are dropped, since the tokens are raised."""
    pending = images.c.product_id.in_(product_ids), images.c.status == ImageStatus.PENDING
    locked = select(images.c.id).where(*pending).order_by(images.c.id).with_for_update().cte("locked")
    cancelled = (
        update(images)
        .where(images.c.id == locked.c.id)
        .values(status=ImageStatus.CANCELLED, due_at=None, lease_token=images.c.lease_token + 1)
    )
    # SQLite's driver has no count of rows for it.
    return len(connection.execute(cancelled.returning(images.c.id)).all())
