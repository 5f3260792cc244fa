"""SQL of a worker: claim images, renew their leases, mark a crash suspect.

Rows are always locked in the order image, rendition, source, product, lane, statistics, request, cleanup, tenant, and
by ID within each. Another order would deadlock on PostgreSQL. Claims wait for no image and no lane: they skip what is
locked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Float, Row, bindparam, case, func, select, tuple_, update

from gql_imgproc.database.tables import images, is_claiming, products, requests
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ProductStatus, RequestStatus
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.repository import cleanups, lanes, renditions, transitions
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.requests.repository.renditions import KnownSource
from gql_imgproc.requests.snapshot import Snapshot

#: Images of a host without hope that are claimed at once: as many as are recorded in one transaction.
GIVEN_UP_IMAGES = 64


@dataclass(frozen=True, slots=True)
class ClaimedImage:
    """An image that is leased to this process."""

    id: UUID
    tenant_id: UUID
    request_id: UUID
    product_id: UUID
    lane_id: UUID
    host: str
    url: str
    lease_token: int
    #: Attempts, including this one.
    attempts: int
    #: Consecutive claims that ended without a word, including this one; from 2 on, the image may crash its workers.
    unfinished_claims: int
    #: How often it was decoded in isolation without a result: the worker probably crashed.
    crashes: int
    #: How often its host asked us to slow down.
    refusals: int
    options: Options
    #: Of the options of each output.
    fingerprints: tuple[UUID, ...]
    #: Whether the image is downloaded and compressed again, even if it is unchanged.
    is_refresh: bool
    #: What the tenant's last download of the URL found, if the bytes have a rendition for each output.
    known: KnownSource | None
    #: Of the upload, if tracing was enabled.
    traceparent: str | None

    @property
    def is_suspect(self) -> bool:
        return self.unfinished_claims > 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Images that are leased to this process, and the requests that this started."""

    images: tuple[ClaimedImage, ...]
    started: tuple[Snapshot, ...]


_lease = now_plus(bindparam("lease_s", type_=Float))
_LEASED = {
    "due_at": _lease,
    "lease_token": images.c.lease_token + 1,
    # A claim after one that ended without a word is part of the same attempt: the image may be innocent.
    "attempts": images.c.attempts + case((images.c.unfinished_claims == 0, 1), else_=0),
    "unfinished_claims": images.c.unfinished_claims + 1,
}
_CLAIMED_COLUMNS = (
    images.c.id,
    images.c.request_id,
    images.c.product_id,
    images.c.position,
    images.c.lane_id,
    images.c.lease_token,
    images.c.attempts,
    images.c.unfinished_claims,
    images.c.crashes,
    images.c.refusals,
)
# SQLite uses the partial index only for a condition that repeats the one of the index.
_is_due = images.c.due_at.is_not(None), images.c.due_at <= now()
_due = (
    select(images.c.id)
    .where(images.c.lane_id == bindparam("lane"), *_is_due)
    .order_by(images.c.due_at, images.c.id)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM = update(images).where(images.c.id == _due.c.id).values(_LEASED).returning(*_CLAIMED_COLUMNS)


def claim_images(
    connection: Connection,
    wanted: Mapping[Lane, int],
    paused: Mapping[Lane, float],
    lease_s: float,
    hopeless: Mapping[Lane, float] | None = None,
) -> Claim:
    """Claims due images of these lanes, at most so many of each.

    A lane that has fewer is put to sleep until its next image is due, and a `paused` one for so many seconds. Images of
    a `hopeless` lane are claimed too, so that they fail, once its request has worked for so many seconds.
    """
    hopeless = hopeless or {}
    open_requests = _claimable_requests(connection, {lane.request_id for lane in (*wanted, *hopeless)})
    given_up = {
        lane: GIVEN_UP_IMAGES
        for lane, patience_s in hopeless.items()
        if lane.request_id in open_requests and open_requests[lane.request_id].seconds >= patience_s
    }
    wanted = {**wanted, **given_up}
    pauses = {lane.id: pause_s for lane, pause_s in paused.items() if lane not in given_up}
    hosts = {lane.id: lane.host for lane in wanted}
    closed = [lane.id for lane in wanted if lane.request_id not in open_requests]
    claimable = {lane: count for lane, count in wanted.items() if lane.request_id in open_requests}
    rows, exhausted = _claim_due(connection, claimable, lease_s)
    urls = _image_urls(connection, {row.product_id for row in rows})
    _start_products(connection, {row.product_id for row in rows})
    lanes.sleep_lanes(connection, pauses)
    for id in exhausted - pauses.keys():
        lanes.settle(connection, id)
    for id in closed:
        # Not until somebody wakes it: the request may have been reopened since this transaction read it.
        lanes.settle(connection, id, lanes.CLOSED_SECONDS)
    started = _update_requests(
        connection,
        new={row.request_id for row in rows if open_requests[row.request_id].status is RequestStatus.PENDING},
        suspect={row.request_id for row in rows if row.unfinished_claims > 1},
    )
    located = [(row, urls[row.product_id][row.position], hosts[row.lane_id]) for row in rows]
    return Claim(tuple(_to_claimed(connection, located, open_requests)), tuple(started))


def _claim_due(
    connection: Connection, wanted: Mapping[Lane, int], lease_s: float
) -> tuple[list[Row[*tuple[Any, ...]]], set[UUID]]:
    """The claimed images, and the lanes that had fewer than wanted."""
    rows: list[Row[*tuple[Any, ...]]] = []
    exhausted: set[UUID] = set()
    for lane, count in wanted.items():
        found = connection.execute(_CLAIM, {"lane": lane.id, "count": count, "lease_s": lease_s}).all()
        rows += found
        if len(found) < count:
            exhausted.add(lane.id)
    return rows, exhausted


def _to_claimed(
    connection: Connection,
    located: Collection[tuple[Row[*tuple[Any, ...]], str, str]],
    open_requests: Mapping[UUID, Row[*tuple[Any, ...]]],
) -> Iterator[ClaimedImage]:
    """The claimed images, from their rows, URLs and hosts."""
    requests_used = [open_requests[id] for id in {row.request_id for row, _, _ in located}]
    options = {request.id: Options.from_json(request.options) for request in requests_used}
    fingerprints = {id: tuple(each.fingerprint for _, each in chosen.of_outputs()) for id, chosen in options.items()}
    keys = {
        row.id: (renditions.source_id(request.tenant_id, url), fingerprints[request.id])
        for row, url, _ in located
        if not (request := open_requests[row.request_id]).refresh
    }
    known = renditions.find_known(connection, keys.values())
    for row, url, host in located:
        request = open_requests[row.request_id]
        yield ClaimedImage(
            tenant_id=request.tenant_id,
            url=url,
            host=host,
            options=options[request.id],
            fingerprints=fingerprints[request.id],
            is_refresh=request.refresh,
            known=known.get(keys[row.id]) if row.id in keys else None,
            traceparent=request.traceparent,
            **{column.name: getattr(row, column.name) for column in _CLAIMED_COLUMNS if column.name != "position"},
        )


_CLAIMABLE = select(
    requests.c.id,
    requests.c.tenant_id,
    requests.c.options,
    requests.c.refresh,
    requests.c.status,
    requests.c.traceparent,
    seconds_since(func.coalesce(requests.c.retried_at, requests.c.created_at)).label("seconds"),
).where(requests.c.id.in_(bindparam("requests", expanding=True)), is_claiming)


def _claimable_requests(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Row[*tuple[Any, ...]]]:
    return {row.id: row for row in connection.execute(_CLAIMABLE, {"requests": list(ids)})}


_URLS = select(products.c.id, products.c.input_image_urls).where(
    products.c.id.in_(bindparam("products", expanding=True))
)


def _image_urls(connection: Connection, product_ids: Collection[UUID]) -> dict[UUID, list[str]]:
    if not product_ids:
        return {}
    rows = connection.execute(_URLS, {"products": list(product_ids)})
    return {row.id: row.input_image_urls for row in rows}


_pending = (
    select(products.c.id)
    .where(products.c.id.in_(bindparam("products", expanding=True)), products.c.status == ProductStatus.PENDING)
    .order_by(products.c.id)
    .with_for_update()
    .cte("pending")
)
_START_PRODUCTS = (
    update(products).where(products.c.id == _pending.c.id).values(status=ProductStatus.PROCESSING, updated_at=now())
)


def _start_products(connection: Connection, ids: Collection[UUID]) -> None:
    if ids:
        connection.execute(_START_PRODUCTS, {"products": list(ids)})


def _update_requests(connection: Connection, *, new: set[UUID], suspect: set[UUID]) -> list[Snapshot]:
    """Starts new requests, and plans a cleanup of those that have suspect images."""
    started = []
    for id in sorted(new | suspect):
        if id in new and (snapshot := transitions.start(connection, id)):
            started.append(snapshot)
        if id in suspect:
            # A worker lost its lease, perhaps between storing an object and recording it.
            cleanups.plan(connection, id)
    return started


_held = (
    select(images.c.id)
    .where(
        images.c.id.in_(bindparam("images", expanding=True)),
        tuple_(images.c.id, images.c.lease_token).in_(bindparam("leases", expanding=True)),
        images.c.due_at.is_not(None),
    )
    .order_by(images.c.id)
    .with_for_update()
    .cte("held")
)
_RENEW = update(images).where(images.c.id == _held.c.id).values(due_at=_lease).returning(images.c.id)


def renew_leases(connection: Connection, claimed: Collection[ClaimedImage], lease_s: float) -> set[UUID]:
    """Renews the leases of these images with one statement; the IDs of those that are not lost."""
    leases = sorted((image.id, image.lease_token) for image in claimed)
    values = {"images": [id for id, _ in leases], "leases": leases, "lease_s": lease_s}
    return set(connection.scalars(_RENEW, values))


# Sets the count instead of incrementing it: a transaction may run twice, and two crashes fail the image.
_MARK_SUSPECT = (
    update(images)
    .where(images.c.id == bindparam("image"), images.c.lease_token == bindparam("token"), images.c.due_at.is_not(None))
    .values(crashes=bindparam("new_crashes"))
)


def mark_crash_suspect(connection: Connection, image: ClaimedImage) -> bool:
    """Counts a possible crash before the image is decoded in isolation; False when the lease is lost."""
    values = {"image": image.id, "token": image.lease_token, "new_crashes": image.crashes + 1}
    return connection.execute(_MARK_SUSPECT, values).rowcount == 1


def unmark_crash_suspect(connection: Connection, image: ClaimedImage) -> None:
    """Takes the count back when the image was decoded: a crash before its result is recorded is that of another."""
    values = {"image": image.id, "token": image.lease_token, "new_crashes": image.crashes}
    connection.execute(_MARK_SUSPECT, values)
