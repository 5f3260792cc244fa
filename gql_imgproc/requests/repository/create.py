"""SQL that creates a request: its row, then the products of its CSV in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gql_imgproc.access import quotas
from gql_imgproc.database.bulk_insert import bulk_insert
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.database.types import now, seconds_since
from gql_imgproc.enums import ImageStatus, Priority, ProductStatus, RequestPhase, RequestStatus
from gql_imgproc.errors import LeaseLost
from gql_imgproc.ids import new_id
from gql_imgproc.net.hosts import host_of
from gql_imgproc.requests.repository import lanes, transitions
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot

#: How long a repeated idempotency key returns the first request.
IDEMPOTENCY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class NewRequest:
    """Columns of an accepted request."""

    id: UUID
    tenant_id: UUID
    priority: Priority
    csv_filename: str
    options: dict[str, Any]
    warnings: list[dict[str, Any]]
    webhook_url: str | None
    idempotency_key: str | None
    total_products: int
    total_images: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class NewProduct:
    """One data row of the CSV."""

    position: int
    serial_number: str
    product_name: str
    image_urls: Sequence[str]


def find_by_idempotency_key(connection: Connection, tenant_id: UUID, key: str) -> Snapshot | None:
    """The tenant's request with this key. A request older than 24 hours loses its key."""
    same_key = requests.c.tenant_id == tenant_id, requests.c.idempotency_key == key
    connection.execute(
        update(requests)
        .where(*same_key, seconds_since(requests.c.created_at) > IDEMPOTENCY_SECONDS)
        .values(idempotency_key=None)
    )
    row = connection.execute(select(*SNAPSHOT_COLUMNS).where(*same_key)).one_or_none()
    return to_snapshot(row) if row else None


def insert_first_chunk(
    connection: Connection, new: NewRequest, chunk: Sequence[NewProduct], limits: quotas.Limits | None = None
) -> Snapshot:
    """Inserts an accepted request with its first products; a small request is complete after that.

    With `limits`, raises QuotaExceeded before anything is written.
    """
    if limits is not None:
        quotas.check(connection, new.tenant_id, limits, requests=1, images=new.total_images)
    row = connection.execute(
        insert(requests)
        .values(
            **{name: getattr(new, name) for name in NewRequest.__slots__},
            status=RequestStatus.PENDING,
            phase=RequestPhase.WORKING if len(chunk) == new.total_products else RequestPhase.INGESTING,
            ingested_products=len(chunk),
            lease_until=now(),
            created_at=now(),
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one()
    snapshot = to_snapshot(row)
    _insert_products(connection, snapshot, chunk, is_cancelled=False)
    return snapshot


def insert_chunk(connection: Connection, lease: RequestLease, chunk: Sequence[NewProduct]) -> Snapshot:
    """Inserts the next rows of the CSV after the previous chunk; the request is WORKING when these were the last ones.

    Raises LeaseLost, which must roll the transaction back.
    """
    with _conflicts_as_lost_lease():
        _insert_products(connection, lease.request, chunk, is_cancelled=False)
    # Last, as in every transaction: recorders wait for the request's row.
    return transitions.add_ingested(connection, lease, RequestPhase.INGESTING, _positions(chunk))


def insert_cancelled_chunk(connection: Connection, lease: RequestLease, chunk: Sequence[NewProduct]) -> Snapshot:
    """Inserts the next rows of the CSV of a stopping request, as cancelled products.

    Raises LeaseLost, which must roll the transaction back.
    """
    with _conflicts_as_lost_lease():
        _insert_products(connection, lease.request, chunk, is_cancelled=True)
    cancelled_images = sum(len(product.image_urls) for product in chunk)
    return transitions.add_ingested(connection, lease, RequestPhase.STOPPING, _positions(chunk), cancelled_images)


def _positions(chunk: Sequence[NewProduct]) -> range:
    return range(chunk[0].position, chunk[0].position + len(chunk))


@contextmanager
def _conflicts_as_lost_lease() -> Iterator[None]:
    """Raises LeaseLost when another process has inserted the same rows."""
    try:
        yield
    except (IntegrityError, psycopg.errors.IntegrityError):
        # COPY does not go through SQLAlchemy.
        raise LeaseLost from None


def _insert_products(
    connection: Connection, request: Snapshot, chunk: Sequence[NewProduct], *, is_cancelled: bool
) -> None:
    rows = [(new_id(), product) for product in chunk]
    created_at = connection.execute(select(now())).scalar_one()
    bulk_insert(
        connection,
        products,
        [
            {
                "id": product_id,
                "request_id": request.id,
                "tenant_id": request.tenant_id,
                "position": product.position,
                "serial_number": product.serial_number,
                "product_name": product.product_name,
                "input_image_urls": list(product.image_urls),
                "status": ProductStatus.CANCELLED if is_cancelled else ProductStatus.PENDING,
                "total_images": len(product.image_urls),
                "cancelled_images": len(product.image_urls) if is_cancelled else 0,
                "created_at": created_at,
                "updated_at": created_at,
            }
            for product_id, product in rows
        ],
    )
    _insert_images(connection, request, rows, due_at=None if is_cancelled else created_at)


def _insert_images(
    connection: Connection, request: Snapshot, rows: Sequence[tuple[UUID, NewProduct]], due_at: datetime | None
) -> None:
    # Due images are claimed in the order of their IDs: that of the CSV.
    image_ids = iter(sorted(new_id() for _, product in rows for _ in product.image_urls))
    hosts = {host_of(url) for _, product in rows for url in product.image_urls}
    lane_ids = {host: lanes.lane_id(request.id, host) for host in hosts}
    lanes.insert_lanes(connection, request, hosts)
    bulk_insert(
        connection,
        images,
        [
            {
                "id": next(image_ids),
                "request_id": request.id,
                "product_id": product_id,
                "position": position,
                "lane_id": lane_ids[host_of(url)],
                "due_at": due_at,
                "status": ImageStatus.PENDING if due_at else ImageStatus.CANCELLED,
            }
            for product_id, product in rows
            for position, url in enumerate(product.image_urls)
        ],
    )
    if due_at:
        lanes.wake_lanes(connection, dict.fromkeys(lane_ids.values(), 0.0))
