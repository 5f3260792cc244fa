"""The life cycle of a request: `advance` does what its phase says has to be done next.

`requests/repository/transitions.py` has the diagram of the phases.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from uuid import UUID

from gql_imgproc.enums import RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.errors import DatabaseUnavailable, LeaseLost, StorageError
from gql_imgproc.metrics import LEASES_LOST, REQUEST_SECONDS, REQUESTS_FINISHED
from gql_imgproc.requests.ingest import CHUNK_PAUSE_SECONDS, ingest
from gql_imgproc.requests.lease import lease_request
from gql_imgproc.requests.notify import best_effort, permit_work, publish, publish_list
from gql_imgproc.requests.output_csv import StoredFiles, store_output
from gql_imgproc.requests.repository import endpoint_outbox, transitions
from gql_imgproc.requests.repository.cancel import cancel_chunk
from gql_imgproc.requests.repository.delete import delete_chunk
from gql_imgproc.requests.repository.retry import reopen_chunk
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.time_slice import TimeSlice
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage import store_marker
from gql_imgproc.storage.paths import request_prefix

log = logging.getLogger(__name__)


class _OutputsBusy(Exception):
    """This process writes as many output CSVs as it may."""


async def advance(runtime: Runtime, request_id: UUID) -> None:
    """Does the next steps of a request; returns at once when there is none, or another process does them.

    When other messages wait, sends itself again after a time slice.
    """
    try:
        await _advance(runtime, request_id, may_wait=False)
    except _OutputsBusy:
        # In the background, since the thread of this message has other work.
        runtime.background.start(("output", request_id), partial(_advance, runtime, request_id, may_wait=True))


async def _advance(runtime: Runtime, request_id: UUID, *, may_wait: bool) -> None:
    time_slice = TimeSlice(runtime)
    try:
        # Looks once more after each lease: a process that was called meanwhile found it taken.
        while await _advance_under_lease(runtime, request_id, time_slice, may_wait=may_wait):
            if await time_slice.is_over():
                await best_effort(runtime, partial(runtime.queue.advance, request_id))
                return
    except StorageError as error:
        log.warning("request postponed until the next reconcile", extra={"request": request_id, "reason": str(error)})


async def _advance_under_lease(runtime: Runtime, request_id: UUID, time_slice: TimeSlice, *, may_wait: bool) -> bool:
    """False when there is no next step, or another process has the lease."""
    try:
        async with lease_request(runtime, request_id) as lease:
            if lease is None:
                return False
            async with request_span(runtime, "advance", request_id):
                await _do_steps(runtime, lease, time_slice, may_wait=may_wait)
    except LeaseLost:
        LEASES_LOST.labels("request").inc()
        log.info("step of a request dropped: it was stopped, or the lease was lost", extra={"request": request_id})
    return True


async def _do_steps(runtime: Runtime, lease: RequestLease, time_slice: TimeSlice, *, may_wait: bool) -> None:
    request: Snapshot | None = lease.request
    while request is not None and request.has_step:
        match request.phase:
            case RequestPhase.INGESTING:
                request = await ingest(runtime, lease, request, time_slice)
            case RequestPhase.WORKING:
                request = await runtime.db.write(transitions.start_finishing, lease)
            case RequestPhase.RETRYING:
                request = await _reopen_chunk(runtime, lease)
            case RequestPhase.STOPPING if request.needs_rows:
                request = await ingest(runtime, lease, request, time_slice)
            case RequestPhase.STOPPING:
                request = await _cancel_chunk(runtime, lease)
            case RequestPhase.FINISHING:
                request = await _finish(runtime, lease, request, may_wait=may_wait)
            case RequestPhase.DELETING:
                request = await _delete_chunk(runtime, lease, request)
        # After a step, so that each message makes progress.
        if await time_slice.is_over():
            return


async def _reopen_chunk(runtime: Runtime, lease: RequestLease) -> Snapshot:
    request = await runtime.db.write(reopen_chunk, lease)
    publish(runtime, request)
    await permit_work(runtime)
    # Lets other writers acquire SQLite's lock between chunks.
    await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    return request


async def _cancel_chunk(runtime: Runtime, lease: RequestLease) -> Snapshot:
    request = await runtime.db.write(cancel_chunk, lease)
    if request.phase is RequestPhase.STOPPING:
        # After the last chunk, the final state follows.
        publish(runtime, request)
    await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    return request


async def _delete_chunk(runtime: Runtime, lease: RequestLease, request: Snapshot) -> Snapshot | None:
    if not await runtime.db.write(delete_chunk, lease):
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        return request
    publish_list(runtime, request.tenant_id)
    # Rows are deleted first: objects without rows only take space, rows without objects would be wrong. In the
    # background: a store may take minutes. The orphan cleanup deletes what is left.
    runtime.background.start(("objects", request.id), partial(_delete_objects, runtime, request.id))
    return None


async def _delete_objects(runtime: Runtime, request_id: UUID) -> None:
    try:
        await store_marker.check_marker(runtime.db, runtime.storage)
        await runtime.storage.delete_prefix(request_prefix(request_id))
    except (StorageError, DatabaseUnavailable) as error:
        log.warning("orphaned objects remain", extra={"request": request_id, "reason": str(error)})


async def _finish(runtime: Runtime, lease: RequestLease, request: Snapshot, *, may_wait: bool) -> Snapshot | None:
    """Stores the output CSV, then sets the final status: a request with a final status can be downloaded."""
    output: StoredFiles | None = None
    if request.termination_reason is not TerminationReason.CSV_UNREADABLE:
        if runtime.outputs.locked() and not may_wait:
            raise _OutputsBusy
        async with runtime.outputs:
            output = await store_output(runtime, lease, request)
    status, failure = final_status(request) if output else (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    final = FinalState(
        status,
        failure,
        output.name if output else None,
        output.size_bytes if output else 0,
        runtime.settings.auto_retries,
        runtime.settings.auto_retry_seconds,
    )
    finished = await runtime.db.write(transitions.finish, lease, final)
    if finished is not None:
        await _announce(runtime, finished)
    # Otherwise it was stopped while the output CSV was written.
    return finished


def final_status(request: Snapshot) -> tuple[RequestStatus, RequestFailureCode | None]:
    """The final status of a request without pending images."""
    match request.termination_reason:
        case TerminationReason.CANCELLED:
            return RequestStatus.CANCELLED, None
        case TerminationReason.DEADLINE:
            return RequestStatus.FAILED, RequestFailureCode.DEADLINE
        case TerminationReason.CSV_UNREADABLE:
            return RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE
    if request.cancelled_images:
        # Its failed images were retried after it was cancelled.
        return RequestStatus.CANCELLED, None
    if request.failed_images and request.failed_images == request.total_images:
        return RequestStatus.FAILED, RequestFailureCode.ALL_IMAGES_FAILED
    if request.failed_images:
        return RequestStatus.COMPLETED_WITH_ERRORS, None
    return RequestStatus.COMPLETED, None


async def _announce(runtime: Runtime, request: Snapshot) -> None:
    _log_finished(request)
    publish(runtime, request)
    deliveries = await runtime.db.read(endpoint_outbox.list_new, request)
    await best_effort(runtime, *(partial(runtime.queue.deliver, delivery) for delivery in deliveries))


def _log_finished(request: Snapshot) -> None:
    REQUESTS_FINISHED.labels(request.status.value).inc()
    fields: dict[str, object] = {"request": request.id, "status": request.status.value}
    if request.started_at is not None and request.completed_at is not None:
        seconds = (request.completed_at - request.started_at).total_seconds()
        REQUEST_SECONDS.observe(seconds)
        fields["seconds"] = round(seconds, 3)
    images = {"processed_images": request.processed_images, "failed_images": request.failed_images}
    sizes = {"input_bytes": request.input_bytes, "output_bytes": request.output_bytes}
    log.info("request finished", extra=fields | images | sizes)
