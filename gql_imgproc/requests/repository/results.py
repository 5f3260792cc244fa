"""SQL that records results of images, many in one transaction.

Each image is fenced by its token: an image whose lease was lost is dropped, and the others stay. The request needs no
fence: it is final when no image is pending, and cancelling or reopening an image raises its token. Rows are locked
in the order that `claims` describes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Float, Row, bindparam, case, null, select, update

from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ImageOutcome, ImageStatus, ProductStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.repository import lanes, transitions
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot

#: Interval between two measurements of a request's rate.
RATE_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Result of an image."""

    status: ImageStatus
    outcome: ImageOutcome | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    object_name: str | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    error_code: ImageErrorCode | None = None
    error_message: str | None = None
    error_http_status: int | None = None
    error_retryable: bool = False


class ReturnReason(Enum):
    """Why an image is returned without a result."""

    #: A temporary failure, which counts as an attempt.
    FAILED = auto()
    #: The host asked us to slow down while it served others; that is no attempt.
    REFUSED = auto()
    #: The host asked everybody to slow down; that counts nothing.
    HOST_PAUSED = auto()
    #: The process stops, or did not begin; that is no attempt.
    GIVEN_BACK = auto()


@dataclass(frozen=True, slots=True)
class FinishedImage:
    image: ClaimedImage
    result: ImageResult


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """An image that is due again after `delay_s`."""

    image: ClaimedImage
    reason: ReturnReason
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction recorded."""

    #: The requests of the results, with their new counters.
    snapshots: tuple[Snapshot, ...]
    #: Images whose lease was lost; nothing of them is recorded.
    lost: frozenset[UUID]


def record(
    connection: Connection, finished: Collection[FinishedImage], returned: Collection[ReturnedImage]
) -> Recorded:
    """Records results and returned images, and updates all counters.

    It may run again after a commit whose answer was lost: an image that it recorded then counts nothing twice.
    """
    claimed = [*(item.image for item in finished), *(item.image for item in returned)]
    # A process that lost a lease may have claimed the image again: only one of its items is fenced off.
    statuses, returned_before = _lock_images(connection, finished, returned)
    results = [item for item in finished if statuses.get(_lease(item)) is ImageStatus.PENDING]
    returns = [item for item in returned if statuses.get(_lease(item)) is ImageStatus.PENDING]
    if results:
        connection.execute(_FINISH, [_finish_values(item) for item in sorted(results, key=lambda item: item.image.id)])
    if returns:
        connection.execute(_RETURN, [_return_values(item) for item in sorted(returns, key=lambda item: item.image.id)])
    changes: defaultdict[UUID, Counter[str]] = defaultdict(Counter)
    for item in finished:
        if status := statuses.get(_lease(item)):
            # Also for what an earlier run recorded: its snapshot is published now.
            changes[item.image.request_id].update(_count(item) if status is ImageStatus.PENDING else {})
    _count_products(connection, results, changes)
    due: dict[UUID, float] = {}
    for back in returns:
        due[back.image.lane_id] = min(back.delay_s, due.get(back.image.lane_id, back.delay_s))
    lanes.wake_lanes(connection, due)
    # The object of a lost image has no name in a row.
    stored = {item.image.request_id for item in finished if _lease(item) not in statuses and item.result.object_name}
    snapshots = []
    for id in sorted(changes.keys() | stored):
        if id in stored:
            transitions.plan_cleanup(connection, id)
        if id in changes:
            snapshots.append(_count_request(connection, id, changes[id]))
    lost = {image.id for image in claimed} - {id for id, _ in statuses} - returned_before
    return Recorded(tuple(snapshot for snapshot in snapshots if snapshot), frozenset(lost))


_LOCK_IMAGES = (
    select(images.c.id, images.c.lease_token, images.c.status, images.c.unfinished_claims)
    .where(images.c.id.in_(bindparam("images", expanding=True)))
    .order_by(images.c.id)
    .with_for_update()
)


def _lock_images(
    connection: Connection, finished: Iterable[FinishedImage], returned: Iterable[ReturnedImage]
) -> tuple[dict[tuple[UUID, int], ImageStatus], set[UUID]]:
    """The status of the images whose lease this process holds, or held until it recorded them, by ID and token.

    The set has the images that an earlier run returned. Like a claim, that raises the token, but it counts no claim.
    A result of such an image is too late.
    """
    claims = {_lease(item): item.image.unfinished_claims for item in returned}
    leases = claims.keys() | {_lease(item) for item in finished}
    found = connection.execute(_LOCK_IMAGES, {"images": list({id for id, _ in leases})}).all()
    statuses = {(row.id, row.lease_token): row.status for row in found if (row.id, row.lease_token) in leases}
    returned_before = {row.id for row in found if row.unfinished_claims < claims.get((row.id, row.lease_token - 1), 0)}
    return statuses, returned_before


def _lease(item: FinishedImage | ReturnedImage) -> tuple[UUID, int]:
    return item.image.id, item.image.lease_token


_RESULT_COLUMNS = tuple(field.name for field in fields(ImageResult))
_FINISH = (
    update(images)
    .where(images.c.id == bindparam("image"))
    .values({"due_at": null(), **{column: bindparam(f"new_{column}") for column in _RESULT_COLUMNS}})
)
# The token is raised, so that a second run of the transaction finds nothing to return.
_RETURN = (
    update(images)
    .where(images.c.id == bindparam("image"))
    .values(
        due_at=now_plus(bindparam("delay_s", type_=Float)),
        lease_token=images.c.lease_token + 1,
        attempts=images.c.attempts - bindparam("uncounted"),
        unfinished_claims=bindparam("new_unfinished_claims"),
        crashes=bindparam("new_crashes"),
        refusals=images.c.refusals + bindparam("refused"),
    )
)


def _finish_values(item: FinishedImage) -> dict[str, Any]:
    return {"image": item.image.id, **{f"new_{name}": getattr(item.result, name) for name in _RESULT_COLUMNS}}


def _return_values(item: ReturnedImage) -> dict[str, Any]:
    is_given_back = item.reason is ReturnReason.GIVEN_BACK
    return {
        "image": item.image.id,
        "delay_s": item.delay_s,
        # A claim after one that ended without a word was no attempt of its own.
        "uncounted": int(item.reason is not ReturnReason.FAILED and not item.image.is_suspect),
        # A suspect that is given back untried stays one.
        "new_unfinished_claims": item.image.unfinished_claims - 1 if is_given_back else 0,
        # Marked as a crash suspect or not: its worker did not crash.
        "new_crashes": item.image.crashes,
        "refused": int(item.reason is ReturnReason.REFUSED),
    }


def _count(item: FinishedImage) -> Counter[str]:
    is_completed = item.result.status is ImageStatus.COMPLETED
    return Counter(
        processed_images=int(is_completed),
        failed_images=int(not is_completed),
        kept_images=int(item.result.outcome is ImageOutcome.KEPT),
        input_bytes=item.result.input_bytes or 0,
        output_bytes=item.result.output_bytes or 0,
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
    .where(products.c.id.in_(bindparam("products", expanding=True)))
    .values(
        processed_images=products.c.processed_images + bindparam("done"),
        failed_images=products.c.failed_images + bindparam("failed"),
        status=bindparam("new_status", type_=products.c.status.type),
        updated_at=now(),
    )
)


def _count_products(
    connection: Connection, results: Sequence[FinishedImage], changes: defaultdict[UUID, Counter[str]]
) -> None:
    """Adds results to their products, and the products that this finishes to `changes`."""
    done: Counter[UUID] = Counter()
    failed: Counter[UUID] = Counter()
    for item in results:
        (done if item.result.status is ImageStatus.COMPLETED else failed)[item.image.product_id] += 1
    groups: defaultdict[tuple[int, int, ProductStatus], list[UUID]] = defaultdict(list)
    ids = done.keys() | failed.keys()
    for row in connection.execute(_LOCK_PRODUCTS, {"products": list(ids)}) if ids else ():
        status = _product_status(row, done[row.id], failed[row.id])
        groups[done[row.id], failed[row.id], status].append(row.id)
        changes[row.request_id]["processed_products"] += int(status is ProductStatus.COMPLETED)
        changes[row.request_id]["failed_products"] += int(
            status in (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)
        )
    for (done_images, failed_images, status), group in groups.items():
        values = {"products": group, "done": done_images, "failed": failed_images, "new_status": status}
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
    "processed_products",
    "failed_products",
    "input_bytes",
    "output_bytes",
)
_counted = {name: requests.c[name] + bindparam(f"added_{name}") for name in _COUNTERS}
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
_REQUEST = select(*SNAPSHOT_COLUMNS).where(requests.c.id == bindparam("request"))


def _count_request(connection: Connection, id: UUID, change: Counter[str]) -> Snapshot | None:
    if change:
        values = {"request": id, **{f"added_{name}": change[name] for name in _COUNTERS}}
        row = connection.execute(_COUNT_REQUEST, values).one_or_none()
    else:
        row = connection.execute(_REQUEST, {"request": id}).one_or_none()
    return to_snapshot(row) if row else None
