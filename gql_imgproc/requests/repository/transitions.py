"""Statements that bring a request to its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, false, func, null, or_, select, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import OPEN, images, is_failed_for_now, is_open, products, requests, webhook_deliveries
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ImageStatus, Priority, ProductStatus, RequestFailureCode, RequestStatus, TerminationReason
from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.repository import webhook_outbox
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import image_key


@dataclass(frozen=True, slots=True)
class FinalState:
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


def mark_stopping(
    connection: Connection, tenant_id: UUID, request_id: UUID, reason: TerminationReason
) -> Snapshot | None:
    """From now on nothing of the request is claimed or recorded; None when it is final or being stopped."""
    row = connection.execute(
        update(requests)
        .where(*request_of_tenant(tenant_id, request_id), is_open, requests.c.termination_reason.is_(None))
        .values(termination_reason=reason, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return to_snapshot(row) if row else None


def stop_unreadable(connection: Connection, hold: RequestLease) -> Snapshot | None:
    """Stops a request whose CSV will never be read again, even if it is being stopped for another reason already.

    Every other reason has the missing rows taken in first, which cannot be. None when the hold is lost.
    """
    row = connection.execute(
        update(requests)
        .where(*held_by(hold), requests.c.termination_reason.is_distinct_from(TerminationReason.CSV_UNREADABLE))
        .values(termination_reason=TerminationReason.CSV_UNREADABLE, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return to_snapshot(row) if row else None


def cancel_chunk(connection: Connection, hold: RequestLease) -> bool:
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
        .where(*held_by(hold), requests.c.termination_reason.is_not(None))
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
    hold: RequestLease,
    seen: Snapshot,
    end: FinalState,
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
            *held_by(hold),
            requests.c.termination_reason.is_not_distinct_from(seen.termination_reason),
            # Who stops it does not wait for images that are yet to be opened again.
            or_(requests.c.retry_scope.is_(None), requests.c.termination_reason.is_not(None)),
            *(complete if end.failure is not RequestFailureCode.CSV_UNREADABLE else ()),
        )
        .values(
            status=end.status,
            failure_code=end.failure,
            output_name=end.output_name,
            retry_at=case((_is_retryable(end), now_plus(end.retry_after_s)), else_=null()),
            cleanup_at=now_plus(TIDY_SECONDS),
            completed_at=now(),
            updated_at=now(),
            images_per_second=None,
            retry_scope=None,
            retry_cursor=None,
            sequence=requests.c.sequence + 1,
        )
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    if row.webhook_url:
        webhook_outbox.insert(connection, row.id, row.generation)
    quotas.add_stored_bytes(connection, row.tenant_id, row.output_bytes)
    return to_snapshot(row)


def _is_retryable(end: FinalState) -> ColumnElement[bool]:
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


@dataclass(frozen=True, slots=True)
class RequestLease:
    """A request that is ours, as it was when we took it."""

    request: Snapshot
    token: int


def held_by(hold: RequestLease) -> tuple[ColumnElement[bool], ...]:
    """For the WHERE of whatever is written under the hold."""
    return requests.c.id == hold.request.id, requests.c.lease_token == hold.token, is_open


def acquire(connection: Connection, request_id: UUID, lease_s: float) -> RequestLease | None:
    """Holds an open request for so long; None when another does, or when it is final."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.lease_until <= now(), is_open)
        .values(lease_until=now_plus(lease_s), lease_token=requests.c.lease_token + 1)
        .returning(*SNAPSHOT_COLUMNS, requests.c.lease_token)
    ).one_or_none()
    return RequestLease(to_snapshot(row), row.lease_token) if row else None


def renew(connection: Connection, hold: RequestLease, lease_s: float) -> bool:
    """Holds on for so long from now; False when the hold is lost. Who has ended the request has not lost it."""
    ours = requests.c.id == hold.request.id, requests.c.lease_token == hold.token
    return connection.execute(update(requests).where(*ours).values(lease_until=now_plus(lease_s))).rowcount == 1


def release(connection: Connection, hold: RequestLease) -> None:
    """Gives a hold back before its time."""
    connection.execute(update(requests).where(*held_by(hold)).values(lease_until=now()))


#: Products that are removed in one transaction, with their images.
REMOVAL_CHUNK = 500


def start_deletion(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Begins to remove a final request with its products, images and deliveries; False when it is open or not there.

    A small one is gone at once. What is left of a larger one is `delete_chunk`'s, now or after whatever happens.
    """
    begun = connection.execute(
        update(requests)
        .where(*request_of_tenant(tenant_id, request_id), ~is_open)
        .values(deletion_started_at=now(), retry_at=None)
    ).rowcount
    if begun:
        delete_chunk(connection, tenant_id, request_id)
    return begun == 1


def delete_chunk(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Removes some products of a request that is being removed, and itself with the last; whether any are left."""
    some = select(products.c.id).where(products.c.request_id == request_id, products.c.tenant_id == tenant_id)
    ids = connection.scalars(some.limit(REMOVAL_CHUNK)).all()
    connection.execute(delete(products).where(products.c.id.in_(ids)))
    if len(ids) == REMOVAL_CHUNK:
        return True
    freed = connection.execute(
        delete(requests)
        .where(*request_of_tenant(tenant_id, request_id), requests.c.deletion_started_at.is_not(None))
        .returning(requests.c.output_bytes)
    ).scalar_one_or_none()
    if freed is not None:
        quotas.add_stored_bytes(connection, tenant_id, -freed)
    return False


def list_deleting(connection: Connection, quiet_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of requests whose removal began longer ago than that: nobody may be at it any more."""
    statement = select(requests.c.tenant_id, requests.c.id).where(requests.c.deletion_started_at <= now_plus(-quiet_s))
    return [(row.tenant_id, row.id) for row in connection.execute(statement.limit(limit))]


def list_expired(connection: Connection, retention_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of final requests that ended longer ago than that, the oldest first."""
    statement = (
        select(requests.c.tenant_id, requests.c.id)
        .where(requests.c.completed_at <= now_plus(-retention_s), ~is_open)
        .order_by(requests.c.completed_at)
        .limit(limit)
    )
    return [(row.tenant_id, row.id) for row in connection.execute(statement)]


def filter_existing(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Those of the requests that there are."""
    return set(connection.scalars(select(requests.c.id).where(requests.c.id.in_(request_ids))))


def list_with_leftover_objects(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of final requests that ended a while ago and may have objects that no row names."""
    which = select(requests.c.tenant_id, requests.c.id).where(requests.c.cleanup_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(which.order_by(requests.c.cleanup_at).limit(limit))]


def mark_cleaned_up(connection: Connection, seen: Snapshot) -> None:
    """Says that it was looked after, unless it has been opened again since it was `seen`."""
    same = requests.c.id == seen.id, requests.c.generation == seen.generation
    connection.execute(update(requests).where(*same, ~is_open).values(cleanup_at=None))


def image_keys(connection: Connection, image_ids: Collection[UUID]) -> set[str]:
    """Keys of the objects that these images name."""
    statement = select(images.c.request_id, images.c.object_name).where(
        images.c.id.in_(image_ids), images.c.object_name.is_not(None)
    )
    return {image_key(row.request_id, row.object_name) for row in connection.execute(statement)}


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An open request as the sweep sees it."""

    request: Snapshot
    #: Whether nobody holds its ingestion or its finishing.
    free: bool
    #: Since it was made, or its failed images were retried.
    age_s: float


def iter_open_requests(connection: Connection, after: UUID | None, limit: int) -> list[OpenRequest]:
    """Open requests in the order of their identifiers, a page of them."""
    statement = (
        select(
            *SNAPSHOT_COLUMNS,
            (requests.c.lease_until <= now()).label("free"),
            seconds_since(func.coalesce(requests.c.retried_at, requests.c.created_at)).label("age_s"),
        )
        .where(is_open)
        .order_by(requests.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(requests.c.id > after)
    return [OpenRequest(to_snapshot(row), bool(row.free), row.age_s) for row in connection.execute(statement)]


def count_claimable(connection: Connection, request_id: UUID, limit: int) -> int:
    """How many products of a request could be claimed now, `limit` at the most."""
    due = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.due_at <= now())
        .limit(limit)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(due)).scalar_one()


def count_open_siblings(connection: Connection, request_id: UUID) -> int:
    """How many requests of a request's tenant are open."""
    tenant = select(requests.c.tenant_id).where(requests.c.id == request_id).scalar_subquery()
    siblings = requests.alias("siblings")
    open_ones = siblings.c.tenant_id == tenant, siblings.c.status.in_(OPEN)
    return connection.execute(select(func.count()).select_from(siblings).where(*open_ones)).scalar_one()


def list_open_of_tenant(connection: Connection, tenant_id: UUID, limit: int) -> list[tuple[UUID, Priority]]:
    """Open requests of a tenant, the oldest first, `limit` of them at the most."""
    which = select(requests.c.id, requests.c.priority).where(requests.c.tenant_id == tenant_id, is_open)
    return [(row.id, row.priority) for row in connection.execute(which.order_by(requests.c.id).limit(limit))]
