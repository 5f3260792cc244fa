"""SQL that changes the state of a request: its lease, stopping, finishing, deletion.

    insert_first_chunk ──> PENDING ──first claim──> PROCESSING ──finish──> COMPLETED | COMPLETED_WITH_ERRORS
                              │                       │    ^                | FAILED | CANCELLED
                              └────mark_stopping──────┘    │                            │
                                         │                 └────────start_retry─────────┤
                                         v                                              v
                        termination_reason is set;                          start_deletion, delete_chunk:
                        cancel_chunk until nothing is pending, then finish  the rows are gone

Besides `status`, a row says what a process has to do next: insert products (`ingested_products < total_products`),
reset failed images for a retry (`retry_scope`), stop (`termination_reason`) or delete (`deletion_started_at`). One
process at a time does this, under the request's lease. A final status changes only by a retry. See also `create` and
`retry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, false, func, null, or_, select, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import images, is_failed_for_now, is_open, products, requests
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import ImageStatus, ProductStatus, RequestFailureCode, RequestStatus, TerminationReason
from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.repository import webhook_outbox
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot

#: Products cancelled in one transaction: few enough to release SQLite's write lock soon.
CANCEL_CHUNK_PRODUCTS = 500
#: Products deleted in one transaction, with their images.
DELETE_CHUNK_PRODUCTS = 500
#: Delay after the end of a request, or after a lost lease, until its objects are compared with its rows. Objects that
#: were stored before are then past their grace time, and late workers have stopped.
CLEANUP_DELAY_SECONDS = 660.0


@dataclass(frozen=True, slots=True)
class RequestLease:
    """The exclusive right to advance a request, which is as it was when the lease was acquired."""

    request: Snapshot
    #: Fencing token: after another process has acquired the lease, writes with this one change nothing.
    token: int


@dataclass(frozen=True, slots=True)
class FinalState:
    """How a request ends."""

    status: RequestStatus
    failure_code: RequestFailureCode | None
    #: Name of the output CSV, which is already stored; None when there is none.
    output_name: str | None
    #: How often retryable failures are retried automatically, and the delay before each retry.
    max_auto_retries: int = 0
    retry_after_s: float = 0


def lease_terms(lease: RequestLease) -> tuple[ColumnElement[bool], ...]:
    """WHERE terms of every write under the lease."""
    return requests.c.id == lease.request.id, requests.c.lease_token == lease.token, is_open


def acquire(connection: Connection, request_id: UUID, lease_s: float) -> RequestLease | None:
    """Acquires the lease of an open request; None when another process holds it, or the request is final."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.lease_until <= now(), is_open)
        .values(lease_until=now_plus(lease_s), lease_token=requests.c.lease_token + 1)
        .returning(*SNAPSHOT_COLUMNS, requests.c.lease_token)
    ).one_or_none()
    return RequestLease(to_snapshot(row), row.lease_token) if row else None


def renew(connection: Connection, lease: RequestLease, lease_s: float) -> bool:
    """False when the lease is lost. It is not lost by finishing the request."""
    same_lease = requests.c.id == lease.request.id, requests.c.lease_token == lease.token
    return connection.execute(update(requests).where(*same_lease).values(lease_until=now_plus(lease_s))).rowcount == 1


def release(connection: Connection, lease: RequestLease) -> None:
    connection.execute(update(requests).where(*lease_terms(lease)).values(lease_until=now()))


def mark_stopping(
    connection: Connection, tenant_id: UUID, request_id: UUID, reason: TerminationReason
) -> Snapshot | None:
    """Stops claims and results of the request from now on; None when it is final or already stopping."""
    row = connection.execute(
        update(requests)
        .where(*request_of_tenant(tenant_id, request_id), is_open, requests.c.termination_reason.is_(None))
        .values(termination_reason=reason, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return to_snapshot(row) if row else None


def mark_unreadable(connection: Connection, lease: RequestLease) -> Snapshot | None:
    """Stops a request whose stored CSV cannot be read, even if it is already stopping for another reason.

    With any other reason the missing rows are inserted first, which is impossible here. None when the lease is lost.
    """
    row = connection.execute(
        update(requests)
        .where(*lease_terms(lease), requests.c.termination_reason.is_distinct_from(TerminationReason.CSV_UNREADABLE))
        .values(termination_reason=TerminationReason.CSV_UNREADABLE, sequence=requests.c.sequence + 1, updated_at=now())
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return to_snapshot(row) if row else None


def cancel_chunk(connection: Connection, lease: RequestLease) -> bool:
    """Cancels the pending images of some products of a stopping request; False when no product was pending.

    Raises LeaseLost, which must roll the transaction back.
    """
    pending_products = (
        select(products.c.id)
        .where(products.c.request_id == lease.request.id, products.c.due_at.is_not(None))
        .order_by(products.c.position)
        .limit(CANCEL_CHUNK_PRODUCTS)
        .with_for_update()
    )
    product_ids = connection.scalars(pending_products).all()
    if not product_ids:
        return False
    cancelled_images = _cancel_products(connection, product_ids)
    updated = connection.execute(
        update(requests)
        .where(*lease_terms(lease), requests.c.termination_reason.is_not(None))
        .values(
            cancelled_images=requests.c.cancelled_images + cancelled_images,
            sequence=requests.c.sequence + 1,
            updated_at=now(),
        )
    ).rowcount
    if not updated:
        raise LeaseLost
    return True


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


def finish(connection: Connection, lease: RequestLease, seen: Snapshot, final: FinalState) -> Snapshot | None:
    """Sets the final status and plans the webhook, in one transaction.

    None, and nothing is written, when the lease is lost or the request has changed since it was `seen`: it was stopped
    meanwhile, or has pending images.
    """
    finished_images = requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images
    is_complete = (
        requests.c.ingested_products == requests.c.total_products,
        finished_images == requests.c.total_images,
    )
    row = connection.execute(
        update(requests)
        .where(
            *lease_terms(lease),
            requests.c.termination_reason.is_not_distinct_from(seen.termination_reason),
            # A request that is stopping does not wait for the rest of a retry.
            or_(requests.c.retry_scope.is_(None), requests.c.termination_reason.is_not(None)),
            *(is_complete if final.failure_code is not RequestFailureCode.CSV_UNREADABLE else ()),
        )
        .values(
            status=final.status,
            failure_code=final.failure_code,
            output_name=final.output_name,
            retry_at=case((_is_retryable(final), now_plus(final.retry_after_s)), else_=null()),
            cleanup_at=now_plus(CLEANUP_DELAY_SECONDS),
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


def _is_retryable(final: FinalState) -> ColumnElement[bool]:
    """Whether to retry automatically: the request was not stopped, and a failure may be temporary."""
    if final.status not in (RequestStatus.COMPLETED_WITH_ERRORS, RequestStatus.FAILED) or final.failure_code not in (
        None,
        RequestFailureCode.ALL_IMAGES_FAILED,
    ):
        return false()
    has_temporary_failure = exists().where(images.c.request_id == requests.c.id, is_failed_for_now)
    return and_(requests.c.auto_retries < final.max_auto_retries, has_temporary_failure)


def start_deletion(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Starts to delete a final request with its products, images and deliveries; False when it is open or not found.

    A small request is deleted at once. `delete_chunk` deletes the rest of a larger one, now or after an interruption.
    """
    started = connection.execute(
        update(requests)
        .where(*request_of_tenant(tenant_id, request_id), ~is_open)
        .values(deletion_started_at=now(), retry_at=None)
    ).rowcount
    if started:
        delete_chunk(connection, tenant_id, request_id)
    return started == 1


def delete_chunk(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Deletes some products of a request whose deletion was started, and the request with the last ones.

    True while products are left.
    """
    of_request = select(products.c.id).where(products.c.request_id == request_id, products.c.tenant_id == tenant_id)
    product_ids = connection.scalars(of_request.limit(DELETE_CHUNK_PRODUCTS)).all()
    connection.execute(delete(products).where(products.c.id.in_(product_ids)))
    if len(product_ids) == DELETE_CHUNK_PRODUCTS:
        return True
    freed_bytes = connection.execute(
        delete(requests)
        .where(*request_of_tenant(tenant_id, request_id), requests.c.deletion_started_at.is_not(None))
        .returning(requests.c.output_bytes)
    ).scalar_one_or_none()
    if freed_bytes is not None:
        quotas.add_stored_bytes(connection, tenant_id, -freed_bytes)
    return False


def plan_cleanup(connection: Connection, request_id: UUID) -> None:
    """Plans a cleanup of the request's objects: a worker that lost its lease may have stored one that no row names.

    A planned cleanup stays. One that is due may be running and have missed the object, so it is due again.
    """
    due_at = case(
        (requests.c.cleanup_at <= now(), now()),
        else_=func.coalesce(requests.c.cleanup_at, now_plus(CLEANUP_DELAY_SECONDS)),
    )
    connection.execute(update(requests).where(requests.c.id == request_id).values(cleanup_at=due_at))


def end_cleanup(connection: Connection, request_id: UUID, seen_at: datetime, recheck_s: float | None) -> None:
    """Records a cleanup, unless another one was planned since `seen_at`. `recheck_s`: the delay of the next, if any."""
    next_at = null() if recheck_s is None else now_plus(recheck_s)
    same_plan = requests.c.id == request_id, requests.c.cleanup_at <= seen_at
    connection.execute(update(requests).where(*same_plan).values(cleanup_at=next_at))
