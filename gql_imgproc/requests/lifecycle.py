"""The end of a request: what is pending cancelled if it is being stopped, output CSV, final status, webhook."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from uuid import UUID

from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.enums import RequestFailureCode, RequestStatus, TerminationReason
from gql_imgproc.errors import InvalidCsv, LeaseLost, ObjectMissing, StorageError
from gql_imgproc.metrics import LEASES_LOST, REQUEST_SECONDS, REQUESTS_FINISHED
from gql_imgproc.requests.ingest import CHUNK_PAUSE_SECONDS
from gql_imgproc.requests.lease import lease_request
from gql_imgproc.requests.limits import tenant_limits
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish, share_out
from gql_imgproc.requests.repository import queries, retry, transitions, webhook_outbox
from gql_imgproc.requests.repository.output_rows import read_output_rows
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_path, input_key, output_key, output_name
from gql_imgproc.storage.response_headers import OUTPUT_CACHE, OUTPUT_TYPE, content_disposition, output_filename
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Products whose results are read at once while the output CSV is written.
RESULTS_PAGE = 1_000


async def finish(runtime: Runtime, request_id: UUID) -> None:
    """Brings a request to its final status when nothing of it is pending, or when it is being stopped.

    The output CSV is stored first, so that who sees a final status can download. Ends at once when another
    process holds the request.
    """
    async with request_span(runtime, "finish", request_id):
        await _finish(runtime, request_id)


async def _finish(runtime: Runtime, request_id: UUID) -> None:
    try:
        async with lease_request(runtime, request_id) as hold:
            if hold is None:
                return
            ended = await _end(runtime, hold)
    except LeaseLost:
        LEASES_LOST.labels("finishing").inc()
        log.info("finish skipped: lease lost", extra={"request": request_id})
        return
    except StorageError as error:
        log.warning("finish postponed until the next reconcile", extra={"request": request_id, "reason": str(error)})
        return
    if ended is None:
        await _take_next_step(runtime, hold.request)
        return
    _count(ended)
    await publish(runtime, ended)
    if delivery := await runtime.db.read(webhook_outbox.find_delivery, ended):
        await best_effort(runtime, lambda: runtime.queue.deliver(delivery))
    await share_out(runtime, ended.tenant_id)


def _count(ended: Snapshot) -> None:
    REQUESTS_FINISHED.labels(ended.status.value).inc()
    told: dict[str, object] = {"request": ended.id, "status": ended.status.value}
    if ended.started_at is not None and ended.completed_at is not None:
        seconds = (ended.completed_at - ended.started_at).total_seconds()
        REQUEST_SECONDS.observe(seconds)
        told["seconds"] = round(seconds, 3)
    images = {"processed_images": ended.processed_images, "failed_images": ended.failed_images}
    sizes = {"input_bytes": ended.input_bytes, "output_bytes": ended.output_bytes}
    log.info("request finished", extra=told | images | sizes)


async def _end(runtime: Runtime, hold: RequestLease) -> Snapshot | None:
    """The request with its final status; None when it is not ready for one."""
    request = hold.request
    if request.needs_rows:
        return None
    if request.termination_reason is not None:
        while await runtime.db.write(transitions.cancel_chunk, hold):  # noqa: ASYNC110 - see below
            # SQLite's write lock must be let go between chunks.
            await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        request = await _now(runtime, request)
    else:
        if request.generation > 1:
            request = await _reopen_rest(runtime, hold)
        if request.pending_images:
            return None
    output = await _store_output(runtime, hold, request)
    status, failure = final_status(request) if output else (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    settings = runtime.settings
    end = FinalState(status, failure, output, settings.auto_retries, settings.auto_retry_seconds)
    return await runtime.db.write(transitions.finish, hold, request, end)


async def _reopen_rest(runtime: Runtime, hold: RequestLease) -> Snapshot:
    """Opens what is left of a large request that is being opened again; the request as it is then."""
    request = hold.request
    while state := await runtime.db.write(retry.reset_chunk, hold):
        request = state
        await publish(runtime, request)
        await enqueue_workers(runtime, request.id, request.priority)
        # SQLite's write lock must be let go between chunks.
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    return request


async def _take_next_step(runtime: Runtime, seen: Snapshot) -> None:
    """Sees to the next step of a request that could not be finished; what nothing changed is left to the sweep."""
    request = await _now(runtime, seen)
    if request.needs_rows:
        await best_effort(runtime, lambda: runtime.queue.ingest(request.id))
    elif request.termination_reason is not seen.termination_reason or bool(request.pending_images) is not bool(
        seen.pending_images
    ):
        # It was stopped while its output was written, and that end is another one; or its last image ended while
        # we held it, and who was called for that found us.
        await best_effort(runtime, lambda: runtime.queue.finish(request.id))


async def _now(runtime: Runtime, seen: Snapshot) -> Snapshot:
    return await runtime.db.read(queries.get_request, seen.tenant_id, seen.id) or seen


def final_status(request: Snapshot) -> tuple[RequestStatus, RequestFailureCode | None]:
    """The final status of a request of which nothing is pending."""
    match request.termination_reason:
        case TerminationReason.CANCELLED:
            return RequestStatus.CANCELLED, None
        case TerminationReason.DEADLINE:
            return RequestStatus.FAILED, RequestFailureCode.DEADLINE
        case TerminationReason.CSV_UNREADABLE:
            return RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE
    if request.cancelled_images:
        # Its failed images were retried after it had been cancelled.
        return RequestStatus.CANCELLED, None
    if request.failed_images == request.total_images:
        return RequestStatus.FAILED, RequestFailureCode.ALL_IMAGES_FAILED
    if request.failed_images:
        return RequestStatus.COMPLETED_WITH_ERRORS, None
    return RequestStatus.COMPLETED, None


async def _store_output(runtime: Runtime, hold: RequestLease, request: Snapshot) -> str | None:
    """Name of the output CSV, once it is stored; None when the CSV that it extends cannot be read again."""
    if request.termination_reason is TerminationReason.CSV_UNREADABLE:
        return None
    name = output_name(hold.token)
    try:
        with temporary_file() as source, temporary_file() as output:
            await runtime.storage.download(input_key(request.id), source)
            await runtime.run_csv_io(write_output, source, output, tenant_limits(), _results(runtime, request))
            # As we would serve it: a bucket serves it too.
            headers = ObjectHeaders(
                OUTPUT_TYPE, OUTPUT_CACHE, content_disposition(output_filename(request.csv_filename))
            )
            await runtime.storage.put_file(output_key(request.id, name), output, headers)
    except (InvalidCsv, ObjectMissing, ValueError):
        # A ValueError says that it has not the rows any more that were counted.
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return None
    return name


def _results(runtime: Runtime, request: Snapshot) -> Iterator[tuple[list[str | None], list[str | None]]]:
    """Addresses and errors of the images of each product, in the order of the file."""
    public_url = runtime.settings.public_url
    for start in range(0, request.total_products, RESULTS_PAGE):
        page = runtime.db.read_now(
            lambda connection, start=start: list(read_output_rows(connection, request.id, start, RESULTS_PAGE))  # type: ignore[misc]  # bound per turn of the loop
        )
        for found in page:
            yield (
                [public_url + image_path(request.id, name) if name else None for name, _ in found],
                [error for _, error in found],
            )
