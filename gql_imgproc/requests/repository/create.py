"""Statements that take a request in: its row, then the rows of its CSV, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from gql_imgproc.access import quotas
from gql_imgproc.database.bulk_insert import bulk_insert
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ImageStatus, Priority, ProductStatus, RequestStatus
from gql_imgproc.errors import LeaseLost
from gql_imgproc.ids import new_id
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.repository.transitions import RequestLease, held_by
from gql_imgproc.requests.snapshot import Snapshot

#: A repeated idempotency key gives the first request again for so long, in seconds.
IDEMPOTENCY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What is known of a request when it is accepted."""

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
    """The request that the tenant made with `key` within the last 24 hours; an older one gives the key up."""
    same = requests.c.tenant_id == tenant_id, requests.c.idempotency_key == key
    connection.execute(
        update(requests)
        .where(*same, seconds_since(requests.c.created_at) > IDEMPOTENCY_SECONDS)
        .values(idempotency_key=None)
    )
    row = connection.execute(select(*SNAPSHOT_COLUMNS).where(*same)).one_or_none()
    return to_snapshot(row) if row else None


def insert_first_chunk(
    connection: Connection, new: NewRequest, chunk: Sequence[NewProduct], limits: quotas.Limits | None = None
) -> Snapshot:
    """The row of an accepted request and its first products; as far as these are all, the request is whole.

    With `limits` it raises QuotaExceeded, and nothing is written, where there is no room for it.
    """
    if limits is not None:
        quotas.check(connection, new.tenant_id, limits, requests=1, images=new.total_images)
    row = connection.execute(
        insert(requests)
        .values(
            **{name: getattr(new, name) for name in NewRequest.__slots__},
            status=RequestStatus.PENDING,
            ingested_products=len(chunk),
            lease_until=now(),
            created_at=now(),
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one()
    _insert_products(connection, new.tenant_id, new.id, chunk)
    return to_snapshot(row)


def insert_chunk(connection: Connection, hold: RequestLease, chunk: Sequence[NewProduct], lease_s: float) -> Snapshot:
    """Rows of the CSV, at the place where the last chunk ended; holds the ingestion for `lease_s` more.

    Raises LeaseLost, and nothing is written, when the hold is lost.
    """
    start = chunk[0].position
    advanced = connection.execute(
        update(requests)
        .where(
            *held_by(hold),
            requests.c.ingested_products == start,
            requests.c.total_products >= start + len(chunk),
        )
        .values(
            ingested_products=start + len(chunk),
            lease_until=now_plus(lease_s),
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if advanced is None:
        raise LeaseLost
    _insert_products(connection, hold.request.tenant_id, hold.request.id, chunk)
    return to_snapshot(advanced)


def _insert_products(connection: Connection, tenant_id: UUID, request_id: UUID, chunk: Sequence[NewProduct]) -> None:
    rows = [(new_id(), product) for product in chunk]
    moment = connection.execute(select(now())).scalar_one()
    bulk_insert(
        connection,
        products,
        [
            {
                "id": product_id,
                "request_id": request_id,
                "tenant_id": tenant_id,
                "position": product.position,
                "serial_number": product.serial_number,
                "product_name": product.product_name,
                "input_image_urls": list(product.image_urls),
                "status": ProductStatus.PENDING,
                "total_images": len(product.image_urls),
                "due_at": moment,
                "created_at": moment,
                "updated_at": moment,
            }
            for product_id, product in rows
        ],
    )
    bulk_insert(
        connection,
        images,
        [
            {
                "id": new_id(),
                "request_id": request_id,
                "product_id": product_id,
                "position": position,
                "status": ImageStatus.PENDING,
            }
            for product_id, product in rows
            for position in range(len(product.image_urls))
        ],
    )
