"""Finishes requests: cancels or resets images in chunks, stores the output CSV, sets the final status."""

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
from gql_imgproc.requests.limits import accepted_csv_limits
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

#: Products whose results are read in one query while the output CSV is written.
RESULTS_PAGE_PRODUCTS = 1_000


async def finish(runtime: Runtime, request_id: UUID) -> None:
    """Finishes a request when nothing is pending, or when it is stopping.

    The output CSV is stored first, so it can be downloaded as soon as the status is final. Returns at once when another
    process holds the request's lease.
    """
    async with request_span(runtime, "finish", request_id):
        await _finish(runtime, request_id)


async def _finish(runtime: Runtime, request_id: UUID) -> None:
    try:
        async with lease_request(runtime, request_id) as lease:
            if lease is None:
                return
            finished = await _finish_leased(runtime, lease)
    except LeaseLost:
        LEASES_LOST.labels("finishing").inc()
        log.info("finish skipped: lease lost", extra={"request": request_id})
        return
    except StorageError as error:
        log.warning("finish postponed until the next reconcile", extra={"request": request_id, "reason": str(error)})
        return
    if finished is None:
        await _take_next_step(runtime, lease.request)
        return
    _log_finished(finished)
    await publish(runtime, finished)
    if delivery := await runtime.db.read(webhook_outbox.find_delivery, finished):
        await best_effort(runtime, lambda: runtime.queue.deliver(delivery))
    await share_out(runtime, finished.tenant_id)


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


async def _finish_leased(runtime: Runtime, lease: RequestLease) -> Snapshot | None:
    """The request with its final status; None when it cannot finish yet."""
    request = lease.request
    if request.needs_rows:
        return None
    if request.termination_reason is not None:
        while await runtime.db.write(transitions.cancel_chunk, lease):  # noqa: ASYNC110 - see below
            # Lets other writers acquire SQLite's lock between chunks.
            await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        request = await _reload(runtime, request)
    else:
        if request.generation > 1:
            request = await _reset_remaining_chunks(runtime, lease)
        if request.pending_images:
            return None
    output = await _store_output(runtime, lease, request)
    status, failure = final_status(request) if output else (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    settings = runtime.settings
    final = FinalState(status, failure, output, settings.auto_retries, settings.auto_retry_seconds)
    return await runtime.db.write(transitions.finish, lease, request, final)


async def _reset_remaining_chunks(runtime: Runtime, lease: RequestLease) -> Snapshot:
    """Resets the remaining chunks of a retry; returns the updated request."""
    request = lease.request
    while snapshot := await runtime.db.write(retry.reset_chunk, lease):
        request = snapshot
        await publish(runtime, request)
        await enqueue_workers(runtime, request.id, request.priority)
        # Lets other writers acquire SQLite's lock between chunks.
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    return request


async def _take_next_step(runtime: Runtime, seen: Snapshot) -> None:
    """Enqueues the next step of a request that could not finish, if its state has changed since it was `seen`."""
    request = await _reload(runtime, seen)
    if request.needs_rows:
        await best_effort(runtime, lambda: runtime.queue.ingest(request.id))
    elif request.termination_reason is not seen.termination_reason or bool(request.pending_images) is not bool(
        seen.pending_images
    ):
        # The request was stopped while its output was written. Or its last image finished while this process had the
        # lease, so the worker's own `finish` did nothing.
        await best_effort(runtime, lambda: runtime.queue.finish(request.id))


async def _reload(runtime: Runtime, seen: Snapshot) -> Snapshot:
    return await runtime.db.read(queries.get_request, seen.tenant_id, seen.id) or seen


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
    if request.failed_images == request.total_images:
        return RequestStatus.FAILED, RequestFailureCode.ALL_IMAGES_FAILED
    if request.failed_images:
        return RequestStatus.COMPLETED_WITH_ERRORS, None
    return RequestStatus.COMPLETED, None


async def _store_output(runtime: Runtime, lease: RequestLease, request: Snapshot) -> str | None:
    """Stores the output CSV and returns its name; None when the stored CSV cannot be read."""
    if request.termination_reason is TerminationReason.CSV_UNREADABLE:
        return None
    name = output_name(lease.token)
    try:
        with temporary_file() as source, temporary_file() as output:
            await runtime.storage.download(input_key(request.id), source)
            await runtime.run_csv_io(
                write_output, source, output, accepted_csv_limits(), _read_results(runtime, request)
            )
            # The same headers as in our own responses: a bucket may serve the object directly.
            headers = ObjectHeaders(
                OUTPUT_TYPE, OUTPUT_CACHE, content_disposition(output_filename(request.csv_filename))
            )
            await runtime.storage.put_file(output_key(request.id, name), output, headers)
    except (InvalidCsv, ObjectMissing, ValueError):
        # A ValueError means that the CSV has another number of rows than when it was accepted.
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return None
    return name


def _read_results(runtime: Runtime, request: Snapshot) -> Iterator[tuple[list[str | None], list[str | None]]]:
    """URLs and errors of the images of each product, in the order of the CSV."""
    public_url = runtime.settings.public_url
    for start in range(0, request.total_products, RESULTS_PAGE_PRODUCTS):
        for images in runtime.db.read_now(read_output_rows, request.id, start, RESULTS_PAGE_PRODUCTS):
            yield (
                [public_url + image_path(request.id, name) if name else None for name, _ in images],
                [error for _, error in images],
            )
