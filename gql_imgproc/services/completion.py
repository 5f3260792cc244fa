"""The end of a request: output CSV, final status, webhook; and what a caller may do to it: stop, retry, delete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import aclosing
from uuid import UUID

from gql_imgproc.core.locations import image_path, input_key, output_key, request_prefix
from gql_imgproc.core.output import write_output
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import ending, intake
from gql_imgproc.errors import NothingToRetry, RequestAlreadyFinal, RequestNotFinal, RequestNotFound
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import publish, tell, wake
from gql_imgproc.services.ingestion import CHUNK_PAUSE_SECONDS
from gql_imgproc.services.limits import accepted_limits
from gql_imgproc.services.progress import watch
from gql_imgproc.services.spool import spooled
from gql_imgproc.states import RequestFailureCode, RequestStatus, StopReason

log = logging.getLogger(__name__)

#: How long `cancel` waits for the end of a large request before it answers all the same, in seconds.
CANCEL_WAIT_SECONDS = 10
#: Products whose results are read at once while the output CSV is written.
RESULTS_PAGE = 1_000


async def finish(resources: Resources, request_id: UUID) -> None:
    """Brings a request to its final status when nothing of it is pending, or when it is being stopped.

    The output CSV is stored first, so that who sees a final status can download. Ends at once when another
    process holds the request.
    """
    lease_s = resources.settings.lease_seconds
    request = await resources.db.write(lambda connection: intake.hold(connection, request_id, lease_s=lease_s))
    if request is None:
        return
    try:
        async with asyncio.TaskGroup() as group:
            renewal = group.create_task(_keep_hold(resources, request_id))
            ended = await _finish_held(resources, request)
            renewal.cancel()
    except BaseException:
        await resources.db.write(lambda connection: intake.release(connection, request_id))
        raise
    if ended is None:
        await resources.db.write(lambda connection: intake.release(connection, request_id))
        return
    log.info("request ended", extra={"request": str(request_id), "status": ended.status.value})
    await publish(resources, ended)
    if delivery := await resources.db.read(lambda connection: ending.delivery_of(connection, ended)):
        await tell(resources, lambda: resources.queue.deliver(delivery))


async def _keep_hold(resources: Resources, request_id: UUID) -> None:
    lease_s = resources.settings.lease_seconds
    while True:
        await asyncio.sleep(lease_s / 3)
        await resources.db.write(lambda connection: intake.renew(connection, request_id, lease_s=lease_s))


async def _finish_held(resources: Resources, request: Snapshot) -> Snapshot | None:
    readable = request.stop_reason is not StopReason.CSV_UNREADABLE
    if readable and request.ingested_products < request.total_products:
        await tell(resources, lambda: resources.queue.ingest(request.id))
        return None
    if request.stop_reason is not None:
        while await resources.db.write(lambda connection: ending.cancel_chunk(connection, request.id)):  # noqa: ASYNC110 - see below
            # SQLite's write lock must be let go between chunks.
            await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        request = await _get(resources, request.id)
    elif request.pending_images:
        return None
    if readable:
        await _store_output(resources, request)
    status, failure = verdict(request)
    ended = await resources.db.write(
        lambda connection: ending.finish(connection, request, status, failure, has_output=readable)
    )
    if ended is None:
        # It was stopped while its output was written; that end is another one.
        await tell(resources, lambda: resources.queue.finish(request.id))
    return ended


def verdict(request: Snapshot) -> tuple[RequestStatus, RequestFailureCode | None]:
    """The final status of a request of which nothing is pending."""
    match request.stop_reason:
        case StopReason.CANCELLED:
            return RequestStatus.CANCELLED, None
        case StopReason.DEADLINE:
            return RequestStatus.FAILED, RequestFailureCode.DEADLINE
        case StopReason.CSV_UNREADABLE:
            return RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE
    if request.cancelled_images:
        # Its failed images were retried after it had been cancelled.
        return RequestStatus.CANCELLED, None
    if request.failed_images == request.total_images:
        return RequestStatus.FAILED, RequestFailureCode.ALL_IMAGES_FAILED
    if request.failed_images:
        return RequestStatus.COMPLETED_WITH_ERRORS, None
    return RequestStatus.COMPLETED, None


async def _store_output(resources: Resources, request: Snapshot) -> None:
    with spooled() as source, spooled() as output:
        await resources.storage.download(input_key(request.id), source)
        await resources.blocking(write_output, source, output, accepted_limits(), _results(resources, request))
        await resources.storage.put_file(output_key(request.id), output, "text/csv")


def _results(resources: Resources, request: Snapshot) -> Iterator[tuple[list[str | None], list[str | None]]]:
    """Addresses and errors of the images of each product, in the order of the file."""
    public_url = resources.settings.public_url
    for start in range(0, request.total_products, RESULTS_PAGE):
        page = resources.db.read_now(
            lambda connection, start=start: list(ending.results(connection, request.id, start, RESULTS_PAGE))  # type: ignore[misc]  # bound per turn of the loop
        )
        for _, found in page:
            yield (
                [public_url + image_path(request.id, name) if name else None for name, _ in found],
                [error for _, error in found],
            )


async def _get(resources: Resources, request_id: UUID) -> Snapshot:
    found = await resources.db.read(lambda connection: ending.get(connection, request_id))
    if found is None:
        raise RequestNotFound
    return found


async def cancel(resources: Resources, request_id: UUID) -> Snapshot:
    """Stops a request; what is done stays, and its output CSV is written.

    A very large one may still be PROCESSING when this answers. Raises RequestNotFound or RequestAlreadyFinal.
    """
    stopped = await resources.db.write(lambda connection: ending.stop(connection, request_id, StopReason.CANCELLED))
    request = stopped or await _get(resources, request_id)
    if request.status.final:
        raise RequestAlreadyFinal(request.status)
    try:
        async with asyncio.timeout(CANCEL_WAIT_SECONDS):
            await finish(resources, request_id)
            async with aclosing(watch(resources, request_id)) as states:
                async for state in states:
                    request = state
    except TimeoutError:
        log.info("cancelled request ends in the background", extra={"request": str(request_id)})
    return request


async def retry_failed(resources: Resources, request_id: UUID) -> Snapshot:
    """Does the failed images of a final request again. Raises RequestNotFound or NothingToRetry."""
    reopened = await resources.db.write(lambda connection: ending.reopen_failed(connection, request_id))
    if reopened is None:
        await _get(resources, request_id)
        raise NothingToRetry
    await publish(resources, reopened)
    await wake(resources, request_id, reopened.priority)
    return reopened


async def delete(resources: Resources, request_id: UUID) -> None:
    """Removes a final request and all it stored. Raises RequestNotFound or RequestNotFinal."""
    if not await resources.db.write(lambda connection: ending.delete_final(connection, request_id)):
        raise RequestNotFinal((await _get(resources, request_id)).status)
    # The rows went first: objects without rows are only waste, rows without objects would be lies.
    await resources.storage.delete_prefix(request_prefix(request_id))
