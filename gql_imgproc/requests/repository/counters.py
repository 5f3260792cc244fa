"""SQL that adds final images to the counters of their products and requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, case, func, select, update

from gql_imgproc.database.tables import products, requests
from gql_imgproc.database.types import now, seconds_since
from gql_imgproc.enums import ImageOutcome, ImageStatus, ProductStatus
from gql_imgproc.requests.repository import endpoint_outbox, image_statistics
from gql_imgproc.requests.repository.image_statistics import FinalImage, ReopenedImage
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.webhook_event import progress_event

#: Interval between two measurements of a request's rate, in seconds.
RATE_SAMPLE_SECONDS = 1.0


def add(connection: Connection, finals: Collection[FinalImage], reopened: Collection[ReopenedImage] = ()) -> None:
    """Adds images to the counters of their products and requests, and counts reopened ones in the statistics."""
    changes = defaultdict[UUID, Counter[str]](Counter)
    count_images(connection, finals, changes)
    image_statistics.add(connection, finals, reopened)
    count_requests(connection, changes)


def count_images(
    connection: Connection, finals: Collection[FinalImage], changes: defaultdict[UUID, Counter[str]]
) -> None:
    """Adds images to their products; adds them, and the products that this finishes, to the changes of requests."""
    for image in finals:
        changes[image.request_id].update(_count(image))
    _count_products(connection, finals, changes)


def _count(image: FinalImage) -> Counter[str]:
    is_completed = image.status is ImageStatus.COMPLETED
    return Counter(
        processed_images=int(is_completed),
        failed_images=int(not is_completed),
        kept_images=int(image.outcome is ImageOutcome.KEPT),
        reused_images=int(image.outcome is ImageOutcome.REUSED),
        input_bytes=image.input_bytes or 0,
        output_bytes=image.output_bytes or 0,
        not_downloaded_bytes=image.not_downloaded_bytes,
    )


_LOCK_PRODUCTS = (
    select(
        products.c.id,
        products.c.request_id,
        products.c.total_images,
        products.c.processed_images,
        products.c.failed_images,
        products.c.cancelled_images,
    )
    .where(products.c.id.in_(bindparam("products", expanding=True)))
    .order_by(products.c.id)
    .with_for_update()
)
_COUNT_PRODUCTS = (
    update(products)
    .where(products.c.id == bindparam("product"))
    .values(
        fingerprint=products.c.fingerprint + bindparam("digest"),
        processed_images=products.c.processed_images + bindparam("done"),
        failed_images=products.c.failed_images + bindparam("failed"),
        status=bindparam("new_status", type_=products.c.status.type),
        updated_at=now(),
    )
)


def _count_products(
    connection: Connection, finals: Collection[FinalImage], changes: defaultdict[UUID, Counter[str]]
) -> None:
    done: Counter[UUID] = Counter()
    failed: Counter[UUID] = Counter()
    digests: Counter[UUID] = Counter()
    for image in finals:
        (done if image.status is ImageStatus.COMPLETED else failed)[image.product_id] += 1
        digests[image.product_id] += image.digest
    values = []
    ids = done.keys() | failed.keys()
    for row in connection.execute(_LOCK_PRODUCTS, {"products": list(ids)}) if ids else ():
        status = _product_status(row, done[row.id], failed[row.id])
        counts = {"done": done[row.id], "failed": failed[row.id], "digest": digests[row.id]}
        values.append({"product": row.id, "new_status": status, **counts})
        changes[row.request_id]["processed_products"] += int(status is ProductStatus.COMPLETED)
        changes[row.request_id]["failed_products"] += int(
            status in (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
        )
    if values:
        connection.execute(_COUNT_PRODUCTS, values)


def _product_status(row: Row[*tuple[Any, ...]], done: int, failed: int) -> ProductStatus:
    all_failed = row.failed_images + failed
    if row.processed_images + done + all_failed + row.cancelled_images < row.total_images:
        return ProductStatus.PROCESSING
    if row.cancelled_images:
        return ProductStatus.CANCELLED
    if not all_failed:
        return ProductStatus.COMPLETED
    return ProductStatus.FAILED if all_failed == row.total_images else ProductStatus.COMPLETED_WITH_ERRORS


_COUNTERS = (
    "processed_images",
    "failed_images",
    "kept_images",
    "reused_images",
    "processed_products",
    "failed_products",
    "input_bytes",
    "output_bytes",
    "not_downloaded_bytes",
    "stored_bytes",
)
_counted = {name: requests.c[name] + bindparam(f"added_{name}") for name in _COUNTERS}
# The objects that an earlier version stored have no renditions.
_before = requests.c.output_bytes
_counted["stored_bytes"] = func.coalesce(requests.c.stored_bytes, _before) + bindparam("added_stored_bytes")
_counted["own_bytes"] = func.coalesce(requests.c.own_bytes, _before)
_request_finished = _counted["processed_images"] + _counted["failed_images"] + requests.c.cancelled_images
_rate_due = seconds_since(requests.c.rate_sampled_at) >= RATE_SAMPLE_SECONDS
_COUNT_REQUEST = (
    update(requests)
    .where(requests.c.id == bindparam("request"))
    .values(
        **_counted,
        images_per_second=case(
            (
                _rate_due,
                (_request_finished - requests.c.rate_sampled_images) / seconds_since(requests.c.rate_sampled_at),
            ),
            else_=requests.c.images_per_second,
        ),
        rate_sampled_images=case((_rate_due, _request_finished), else_=requests.c.rate_sampled_images),
        rate_sampled_at=case((_rate_due, now()), else_=requests.c.rate_sampled_at),
        sequence=requests.c.sequence + 1,
        updated_at=now(),
    )
    .returning(*SNAPSHOT_COLUMNS)
)
_FINISHED = "processed_images", "failed_images"
_REQUEST = select(*SNAPSHOT_COLUMNS).where(requests.c.id == bindparam("request"))


def count_requests(connection: Connection, changes: Mapping[UUID, Counter[str]]) -> tuple[Snapshot, ...]:
    """Adds changes to the counters of requests, and reports progress to endpoints. Returns the requests that exist."""
    counted, events = [], []
    for id in sorted(changes):
        if (request := _count_request(connection, id, changes[id])) is not None:
            counted.append(request)
            finished_before = request.finished_images - sum(changes[id][name] for name in _FINISHED)
            if event := progress_event(request, finished_before):
                events.append((request, event))
    endpoint_outbox.insert_events(connection, events)
    return tuple(counted)


def _count_request(connection: Connection, id: UUID, change: Counter[str]) -> Snapshot | None:
    if change:
        values = {"request": id, **{f"added_{name}": change[name] for name in _COUNTERS}}
        row = connection.execute(_COUNT_REQUEST, values).one_or_none()
    else:
        row = connection.execute(_REQUEST, {"request": id}).one_or_none()
    return to_snapshot(row) if row else None
