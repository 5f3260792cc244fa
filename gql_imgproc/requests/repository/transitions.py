"""Every UPDATE of a request's state: its phase, status, lease and reason to stop.

    insert_first_chunk
        │
        ├───────────┐          ┌──────────────start_retry────────────────┐
        v           v          v                                         │
    INGESTING ──> WORKING <── RETRYING                                   │
        │           │  │         │                                       │
        │           │  └─────────┼──start_finishing──> FINISHING ──────> DONE ──> DELETING ──> gone
        │           │            │                      │    ^   finish    start_    delete_
        └───────────┴────stop────┴──────────────────────┘    │              deletion  request
                          │                                  │
                          └──────> STOPPING ──add_cancelled──┘

INGESTING leads to WORKING with the last row (`add_ingested`), RETRYING with the last image (`add_reopened`), or back to
INGESTING if rows are missing. Workers claim in these three phases only. The phase is internal; the API returns the
status: PENDING until the first claim (`start`), then PROCESSING, final in DONE and DELETING.

Each transition names the phase that it leaves in its WHERE clause. A transition that returns None, or raises LeaseLost
and so rolls back the rows that were changed with it, lost to another one: the caller reads the request again. One
process at a time advances a request, under its lease; commands of the API need no lease. The other columns of a step
say how far it is: `ingested_products`, `retry_scope` and the other columns `retry_…`, `termination_reason`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, false, func, null, or_, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import CLAIMING, has_step, images, is_failed_for_now, requests
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import RequestFailureCode, RequestPhase, RequestStatus, RetryScope, TerminationReason
from gql_imgproc.errors import ImageErrorCode, LeaseLost
from gql_imgproc.requests.repository import cleanups, endpoint_outbox, webhook_outbox
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.webhook_event import final_event

#: Bytes of objects that are deleted with their request.
OWN_BYTES = func.coalesce(requests.c.own_bytes, requests.c.output_bytes)
#: The phases that a request can be stopped in.
STOPPABLE = (*CLAIMING, RequestPhase.FINISHING)


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
    #: Size of the output CSV, the report and the workbook.
    output_file_bytes: int = 0
    #: How often retryable failures are retried automatically, and the delay before each retry.
    max_auto_retries: int = 0
    retry_after_s: float = 0


@dataclass(frozen=True, slots=True)
class ReopenedChunk:
    """Counts of what a chunk of a retry reopened, and where the next chunk starts; no scope: it was the last one."""

    failed_images: int
    cancelled_images: int
    failed_products: int
    next_scope: RetryScope | None
    next_cursor: UUID | None


# --- The lease.


def acquire(connection: Connection, request_id: UUID, lease_s: float) -> RequestLease | None:
    """Acquires the lease of a request with a next step; None when there is none, or another process has the lease."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.lease_until <= now(), has_step)
        .values(lease_until=now_plus(lease_s), lease_token=requests.c.lease_token + 1)
        .returning(*SNAPSHOT_COLUMNS, requests.c.lease_token)
    ).one_or_none()
    return RequestLease(to_snapshot(row), row.lease_token) if row else None


def renew(connection: Connection, lease: RequestLease, lease_s: float) -> bool:
    """False when the lease is lost. It is not lost by finishing the request."""
    renewed = connection.execute(update(requests).where(*_owned(lease)).values(lease_until=now_plus(lease_s))).rowcount
    return renewed == 1


def release(connection: Connection, lease: RequestLease) -> None:
    connection.execute(update(requests).where(*_owned(lease)).values(lease_until=now()))


def owned(lease: RequestLease, *phases: RequestPhase) -> tuple[ColumnElement[bool], ...]:
    """WHERE terms of every write under the lease, which is made in one of these phases only."""
    return *_owned(lease), requests.c.phase.in_(phases)


def _owned(lease: RequestLease) -> tuple[ColumnElement[bool], ...]:
    return requests.c.id == lease.request.id, requests.c.lease_token == lease.token


# --- Ingesting and working.


def start(connection: Connection, request_id: UUID) -> Snapshot | None:
    """Records the first claim; None when the request has started."""
    not_started = requests.c.id == request_id, requests.c.status == RequestStatus.PENDING
    return _set(connection, *not_started, status=RequestStatus.PROCESSING, started_at=now(), rate_sampled_at=now())


def add_ingested(
    connection: Connection, lease: RequestLease, phase: RequestPhase, rows: range, cancelled_images: int = 0
) -> Snapshot:
    """Records that rows were inserted, in INGESTING or, as cancelled ones, in STOPPING. Raises LeaseLost."""
    is_next = requests.c.ingested_products == rows.start, requests.c.total_products >= rows.stop
    is_last = requests.c.total_products == rows.stop
    working = case((is_last, RequestPhase.WORKING), else_=RequestPhase.INGESTING)
    return _set_or_lose(
        connection,
        *owned(lease, phase),
        *is_next,
        phase=working if phase is RequestPhase.INGESTING else phase,
        ingested_products=rows.stop,
        cancelled_images=requests.c.cancelled_images + cancelled_images,
    )


def start_finishing(connection: Connection, lease: RequestLease) -> Snapshot | None:
    """Ends the phase WORKING of a request without pending images."""
    return _set(connection, *owned(lease, RequestPhase.WORKING), has_step, phase=RequestPhase.FINISHING)


# --- Stopping.


def stop(connection: Connection, tenant_id: UUID, request_id: UUID, reason: TerminationReason) -> Snapshot | None:
    """Stops claims and results of the request from now on; None when it is final or already stopping."""
    stoppable = *request_of_tenant(tenant_id, request_id), requests.c.phase.in_(STOPPABLE)
    return _set(connection, *stoppable, phase=RequestPhase.STOPPING, termination_reason=reason)


def mark_unreadable(connection: Connection, lease: RequestLease) -> Snapshot | None:
    """Stops a request whose stored CSV cannot be read, even if it is already stopping for another reason.

    With any other reason the missing rows are inserted first, which is impossible here.
    """
    return _set(
        connection,
        *owned(lease, RequestPhase.INGESTING, RequestPhase.STOPPING),
        phase=RequestPhase.STOPPING,
        termination_reason=TerminationReason.CSV_UNREADABLE,
    )


def add_cancelled(connection: Connection, lease: RequestLease, cancelled_images: int, *, is_last: bool) -> Snapshot:
    """Records that images were cancelled; after the last ones, the request can finish. Raises LeaseLost."""
    is_complete = or_(
        requests.c.ingested_products == requests.c.total_products,
        requests.c.termination_reason == TerminationReason.CSV_UNREADABLE,
    )
    finishing = case((is_complete, RequestPhase.FINISHING), else_=RequestPhase.STOPPING)
    return _set_or_lose(
        connection,
        *owned(lease, RequestPhase.STOPPING),
        phase=finishing if is_last else RequestPhase.STOPPING,
        cancelled_images=requests.c.cancelled_images + cancelled_images,
    )


# --- The end.


def finish(connection: Connection, lease: RequestLease, final: FinalState) -> Snapshot | None:
    """Sets the final status and plans webhooks, in one transaction; None when the request was stopped meanwhile."""
    # In place of the files of the end before a retry.
    added_bytes = final.output_file_bytes - func.coalesce(requests.c.output_file_bytes, 0)
    request = _set(
        connection,
        *owned(lease, RequestPhase.FINISHING),
        phase=RequestPhase.DONE,
        status=final.status,
        failure_code=final.failure_code,
        output_name=final.output_name,
        output_file_bytes=final.output_file_bytes,
        stored_bytes=func.coalesce(requests.c.stored_bytes, requests.c.output_bytes) + added_bytes,
        own_bytes=OWN_BYTES + added_bytes,
        retry_at=case((_is_retryable(final), now_plus(final.retry_after_s)), else_=null()),
        completed_at=now(),
        images_per_second=None,
        retry_scope=None,
        retry_cursor=None,
        retry_error_code=None,
        retry_lane_id=None,
    )
    if request is None:
        return None
    if request.webhook_url:
        webhook_outbox.insert(connection, request.id, request.generation)
    endpoint_outbox.insert_events(connection, [(request, final_event(request))])
    cleanups.postpone(connection, request.id)
    quotas.add_stored_bytes(connection, request.tenant_id, request.counted_bytes)
    return request


def _is_retryable(final: FinalState) -> ColumnElement[bool]:
    """Whether to retry automatically: the request was not stopped, and a failure may be temporary."""
    if final.status not in (RequestStatus.COMPLETED_WITH_ERRORS, RequestStatus.FAILED) or final.failure_code not in (
        None,
        RequestFailureCode.ALL_IMAGES_FAILED,
    ):
        return false()
    has_temporary_failure = exists().where(images.c.request_id == requests.c.id, is_failed_for_now)
    return and_(requests.c.auto_retries < final.max_auto_retries, has_temporary_failure)


# --- Retry.


def start_retry(
    connection: Connection,
    request_id: UUID,
    scope: RetryScope,
    error_code: ImageErrorCode | None = None,
    lane_id: UUID | None = None,
) -> Snapshot | None:
    """Opens a final request again. The images in scope are reopened in chunks.

    `error_code` and `lane_id` limit the failed images.
    """
    is_automatic = scope is RetryScope.TEMPORARY
    return _set(
        connection,
        requests.c.id == request_id,
        requests.c.phase == RequestPhase.DONE,
        phase=RequestPhase.RETRYING,
        status=RequestStatus.PROCESSING,
        retry_scope=scope,
        retry_cursor=None,
        retry_error_code=error_code,
        retry_lane_id=lane_id,
        generation=requests.c.generation + 1,
        termination_reason=None,
        failure_code=None,
        completed_at=None,
        retry_at=None,
        auto_retries=requests.c.auto_retries + 1 if is_automatic else 0,
        retried_at=now(),
        rate_sampled_at=now(),
        rate_sampled_images=requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images,
        **_NEW_LEASE,
    )


def add_reopened(connection: Connection, lease: RequestLease, chunk: ReopenedChunk) -> Snapshot:
    """Records that images were reopened; after the last ones, the request is as any other. Raises LeaseLost."""
    is_complete = requests.c.ingested_products == requests.c.total_products
    opened = case((is_complete, RequestPhase.WORKING), else_=RequestPhase.INGESTING)
    return _set_or_lose(
        connection,
        *owned(lease, RequestPhase.RETRYING),
        phase=opened if chunk.next_scope is None else RequestPhase.RETRYING,
        retry_scope=chunk.next_scope,
        retry_cursor=chunk.next_cursor,
        failed_images=requests.c.failed_images - chunk.failed_images,
        cancelled_images=requests.c.cancelled_images - chunk.cancelled_images,
        failed_products=requests.c.failed_products - chunk.failed_products,
        rate_sampled_images=requests.c.rate_sampled_images - chunk.failed_images - chunk.cancelled_images,
    )


# --- Deletion.


def start_deletion(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    """Starts to delete a final request with its products, images and deliveries; a deletion is always completed."""
    done = *request_of_tenant(tenant_id, request_id), requests.c.phase == RequestPhase.DONE
    return _set(connection, *done, phase=RequestPhase.DELETING, retry_at=None, **_NEW_LEASE)


def delete_request(connection: Connection, lease: RequestLease) -> None:
    """Deletes the row of a request whose products are deleted. Raises LeaseLost."""
    freed_bytes = connection.execute(
        delete(requests).where(*owned(lease, RequestPhase.DELETING)).returning(OWN_BYTES)
    ).scalar_one_or_none()
    if freed_bytes is None:
        raise LeaseLost
    # The objects of its images are deleted with their renditions, and what late workers store with the next cleanup.
    cleanups.postpone(connection, lease.request.id)
    quotas.add_stored_bytes(connection, lease.request.tenant_id, -freed_bytes)


#: The process that finished the request may have died with its lease.
_NEW_LEASE: dict[str, Any] = {"lease_until": now(), "lease_token": requests.c.lease_token + 1}


def _set(connection: Connection, *where: ColumnElement[bool], **values: Any) -> Snapshot | None:
    """Changes one request. Watchers order its states by the sequence."""
    row = connection.execute(
        update(requests)
        .where(*where)
        .values(sequence=requests.c.sequence + 1, updated_at=now(), **values)
        .returning(*SNAPSHOT_COLUMNS)
    ).one_or_none()
    return to_snapshot(row) if row else None


def _set_or_lose(connection: Connection, *where: ColumnElement[bool], **values: Any) -> Snapshot:
    request = _set(connection, *where, **values)
    if request is None:
        raise LeaseLost
    return request
