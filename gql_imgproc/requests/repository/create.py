"""SQL that creates a request: its row, then the products of its CSV in chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gql_imgproc.access import quotas
from gql_imgproc.database.bulk_insert import bulk_insert
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.database.types import now, seconds_since
from gql_imgproc.enums import CsvProfile, ImageStatus, Priority, ProductStatus, RequestPhase, RequestStatus
from gql_imgproc.errors import IdempotencyKeyReused, LeaseLost
from gql_imgproc.ids import IdPrefix, encode_global_id, new_ids
from gql_imgproc.net.hosts import host_of
from gql_imgproc.requests.identity import digest, fingerprint
from gql_imgproc.requests.repeated_urls import Place
from gql_imgproc.requests.repository import counters, image_statistics, lanes, repeats, transitions
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
    idempotency_fingerprint: str | None = None
    traceparent: str | None = None
    profile: CsvProfile = CsvProfile.GENERIC
    csv_layout: dict[str, Any] | None = None
    skipped_rows: int = 0
    refresh: bool = False
    #: Size of its CSV.
    own_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NewProduct:
    """One product of the CSV."""

    position: int
    serial_number: str
    product_name: str
    image_urls: Sequence[str]
    #: Positions of images whose URL came before in the request, and the place of its first one.
    repeats: Mapping[int, Place] = field(default_factory=dict)
    #: Template of the names of its results.
    file_name: str | None = None
    identity: int | None = None


def find_by_idempotency_key(connection: Connection, tenant_id: UUID, key: str, fingerprint: str) -> Snapshot | None:
    """The tenant's request with this key. A request older than 24 hours loses its key.

    Raises IdempotencyKeyReused if the request has another fingerprint; those of earlier versions have none.
    """
    same_key = requests.c.tenant_id == tenant_id, requests.c.idempotency_key == key
    connection.execute(
        update(requests)
        .where(*same_key, seconds_since(requests.c.created_at) > IDEMPOTENCY_SECONDS)
        .values(idempotency_key=None)
    )
    columns = requests.c.idempotency_fingerprint, *SNAPSHOT_COLUMNS
    row = connection.execute(select(*columns).where(*same_key)).one_or_none()
    if row is None:
        return None
    if row.idempotency_fingerprint not in (None, fingerprint):
        raise IdempotencyKeyReused(encode_global_id(IdPrefix.REQUEST, row.id))
    return to_snapshot(row)


def insert_first_chunk(
    connection: Connection, new: NewRequest, chunk: Sequence[NewProduct], limits: quotas.Limits | None = None
) -> Snapshot:
    """Inserts an accepted request with its first products; a small request is complete after that.

    With `limits`, raises QuotaExceeded before anything is written.
    """
    if limits is not None:
        added = quotas.Addition(new.total_images, new.total_products, new.own_bytes)
        quotas.check(connection, new.tenant_id, limits, added)
    row = connection.execute(
        insert(requests)
        .values(
            **{name: getattr(new, name) for name in NewRequest.__slots__},
            status=RequestStatus.PENDING,
            phase=RequestPhase.WORKING if len(chunk) == new.total_products else RequestPhase.INGESTING,
            ingested_products=len(chunk),
            stored_bytes=new.own_bytes,
            lease_until=now(),
            created_at=now(),
            updated_at=now(),
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one()
    snapshot = to_snapshot(row)
    if chunk:
        _insert_products(connection, snapshot, chunk, is_cancelled=False)
    return snapshot


def insert_chunk(connection: Connection, lease: RequestLease, chunk: Sequence[NewProduct]) -> Snapshot:
    """Inserts the next rows of the CSV after the previous chunk; the request is WORKING when these were the last ones.

    Raises LeaseLost, which must roll the transaction back.
    """
    with _conflicts_as_lost_lease():
        originals = _insert_products(connection, lease.request, chunk, is_cancelled=False)
    # Last the request's row, as in every transaction: recorders wait for it.
    counters.add(connection, repeats.copy_results(connection, originals))
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
    except IntegrityError:
        raise LeaseLost from None


def _insert_products(
    connection: Connection, request: Snapshot, chunk: Sequence[NewProduct], *, is_cancelled: bool
) -> Collection[UUID]:
    """Inserts products with their images; returns the images of earlier chunks whose URLs are repeated."""
    places = [(product.position, position) for product in chunk for position in range(len(product.image_urls))]
    # Due images are claimed in the order of their IDs: that of the CSV.
    image_ids = dict(zip(places, new_ids(len(places)), strict=True))
    repeated = {first for product in chunk for first in product.repeats.values()}
    earlier = repeats.mark_originals(connection, request.id, repeated - image_ids.keys())
    created_at = connection.execute(select(now())).scalar_one()
    product_ids = new_ids(len(chunk))
    rows = [
        {
            "id": id.hex,
            "position": product.position,
            "serial_number": product.serial_number,
            "identity": product.identity,
            "fingerprint": fingerprint(product.product_name, product.image_urls),
            "product_name": product.product_name,
            "input_image_urls": list(product.image_urls),
            "file_name": product.file_name,
            "total_images": len(product.image_urls),
            "cancelled_images": len(product.image_urls) if is_cancelled else 0,
        }
        for id, product in zip(product_ids, chunk, strict=True)
    ]
    bulk_insert(
        connection,
        products,
        tuple(rows[0]),
        [tuple(row.values()) for row in rows],
        request_id=request.id,
        tenant_id=request.tenant_id,
        status=ProductStatus.CANCELLED if is_cancelled else ProductStatus.PENDING,
        created_at=created_at,
        updated_at=created_at,
    )
    new = zip(product_ids, chunk, strict=True)
    _insert_images(connection, request, new, image_ids | earlier, repeated, None if is_cancelled else created_at)
    return earlier.values()


def _insert_images(
    connection: Connection,
    request: Snapshot,
    rows: Iterable[tuple[UUID, NewProduct]],
    image_ids: Mapping[Place, UUID],
    repeated: Collection[Place],
    due_at: datetime | None,
) -> None:
    """Inserts images as due, or as cancelled when `due_at` is None."""
    lane_ids: dict[str, UUID] = {}
    of_hosts: Counter[str] = Counter()
    firsts, others = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for product_id, product in rows:
        for position, url in enumerate(product.image_urls):
            place, first, host = (product.position, position), product.repeats.get(position), host_of(url)
            lane = lane_ids.get(host) or lane_ids.setdefault(host, lanes.lane_id(request.id, host))
            of_hosts[host] += 1
            row = image_ids[place].hex, product_id.hex, position, digest(url), lane.hex, place in repeated
            if first is None:
                firsts.append((*row, None))
            else:
                others.append((*row, image_ids[first].hex))
    lanes.insert_lanes(connection, request, lane_ids)
    columns = "id", "product_id", "position", "url_digest", "lane_id", "has_repeats", "original_id"
    status = ImageStatus.PENDING if due_at else ImageStatus.CANCELLED
    bulk_insert(connection, images, columns, firsts, request_id=request.id, status=status, due_at=due_at)
    bulk_insert(connection, images, columns, others, request_id=request.id, status=status, due_at=None)
    if due_at:
        lanes.wake_lanes(connection, dict.fromkeys(lane_ids.values(), 0.0))
    image_statistics.add_hosts(connection, request.id, of_hosts)
