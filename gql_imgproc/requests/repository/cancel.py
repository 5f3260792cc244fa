"""SQL that cancels the pending images of a stopping request, in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, select, update

from gql_imgproc.database.tables import images, products
from gql_imgproc.database.types import now
from gql_imgproc.enums import ImageStatus, ProductStatus
from gql_imgproc.requests.repository import transitions
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot

#: Products cancelled in one transaction: few enough to release SQLite's write lock soon.
CANCEL_CHUNK_PRODUCTS = 500


def cancel_chunk(connection: Connection, lease: RequestLease) -> Snapshot:
    """Cancels the pending images of some products; the request is FINISHING when these were the last ones.

    Raises LeaseLost, which must roll the transaction back.
    """
    product_ids = _lock_pending_products(connection, lease.request.id)
    cancelled_images = _cancel_products(connection, product_ids)
    is_last = len(product_ids) < CANCEL_CHUNK_PRODUCTS
    return transitions.add_cancelled(connection, lease, cancelled_images, is_last=is_last)


def _lock_pending_products(connection: Connection, request_id: UUID) -> Sequence[UUID]:
    pending_products = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.due_at.is_not(None))
        .order_by(products.c.position)
        .limit(CANCEL_CHUNK_PRODUCTS)
        .with_for_update()
    )
    return connection.scalars(pending_products).all()


def _cancel_products(connection: Connection, product_ids: Sequence[UUID]) -> int:
    """The number of images cancelled."""
    connection.execute(
        update(products)
        .where(products.c.id.in_(product_ids))
        .values(
            status=ProductStatus.CANCELLED,
            cancelled_images=products.c.total_images - products.c.processed_images - products.c.failed_images,
            due_at=None,
            lease_token=products.c.lease_token + 1,
            updated_at=now(),
        )
    )
    return connection.execute(
        update(images)
        .where(images.c.product_id.in_(product_ids), images.c.status == ImageStatus.PENDING)
        .values(status=ImageStatus.CANCELLED)
    ).rowcount
