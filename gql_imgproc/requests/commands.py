"""Commands on a request: cancel it, retry its failed images, delete it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_log
from gql_imgproc.enums import AuditAction, TerminationReason
from gql_imgproc.errors import NothingToRetry, RequestAlreadyFinal, RequestNotFinal, RequestNotFound
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.ingest import CHUNK_PAUSE_SECONDS
from gql_imgproc.requests.lifecycle import finish
from gql_imgproc.requests.limits import quota_limits
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish
from gql_imgproc.requests.repository import queries, retry, transitions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.watch import watch
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.storage.paths import request_prefix

log = logging.getLogger(__name__)

#: How long `cancel` waits for a large request to finish before it returns.
CANCEL_WAIT_SECONDS = 10


async def cancel(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Cancels a request. Completed images stay, and the output CSV is written.

    A very large request may still be PROCESSING when this returns. Raises RequestNotFound or RequestAlreadyFinal.
    """

    def stop(connection: Connection) -> Snapshot | None:
        stopping = transitions.mark_stopping(connection, caller.tenant_id, request_id, TerminationReason.CANCELLED)
        if stopping:
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_CANCELLED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return stopping

    request = await runtime.db.write(stop) or await _get(runtime, caller, request_id)
    if request.status.is_terminal:
        raise RequestAlreadyFinal(request.status)
    try:
        async with asyncio.timeout(CANCEL_WAIT_SECONDS):
            await finish(runtime, request_id)
            async with aclosing(watch(runtime, caller.tenant_id, request_id)) as snapshots:
                async for snapshot in snapshots:
                    request = snapshot
    except TimeoutError:
        log.info("cancellation continues in the background", extra={"request": request_id})
        await best_effort(runtime, lambda: runtime.queue.finish(request_id))
    return request


async def retry_failed(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Retries the failed images of a final request. Raises RequestNotFound, NothingToRetry or QuotaExceeded."""
    limits = quota_limits(runtime.settings, caller)
    # The transaction may run again after a commit whose answer was lost.
    runs: list[Snapshot] = []

    def start(connection: Connection) -> Snapshot | None:
        retried = retry.start_retry(connection, caller.tenant_id, request_id, limits)
        if retried:
            runs.append(retried)
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_RETRIED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return retried

    request = await runtime.db.write(start)
    if request is None:
        request = await _get(runtime, caller, request_id)
        if request.generation not in {run.generation for run in runs}:
            raise NothingToRetry
    await publish(runtime, request)
    await enqueue_workers(runtime, request_id, request.priority)
    if request.failed_images or request.cancelled_images:
        # There may be more chunks to reset.
        await best_effort(runtime, lambda: runtime.queue.finish(request_id))
    return request


async def delete(runtime: Runtime, caller: Caller, request_id: UUID) -> None:
    """Deletes a final request and everything it stored. Raises RequestNotFound or RequestNotFinal."""
    # The transaction may run again after a commit whose answer was lost.
    runs: list[bool] = []

    def start(connection: Connection) -> bool:
        deleted = transitions.start_deletion(connection, caller.tenant_id, request_id)
        runs.append(deleted)
        if deleted:
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_DELETED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return deleted

    if not await runtime.db.write(start):
        try:
            raise RequestNotFinal((await _get(runtime, caller, request_id)).status)
        except RequestNotFound:
            # An earlier run of the transaction may have deleted a small request.
            if not any(runs):
                raise
    await delete_chunks(runtime, caller.tenant_id, request_id)


async def delete_chunks(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> None:
    """Finishes a deletion that was started."""
    while await runtime.db.write(transitions.delete_chunk, tenant_id, request_id):  # noqa: ASYNC110 - see below
        # Lets other writers acquire SQLite's lock between chunks.
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    # Rows are deleted first: objects without rows only take space, rows without objects would be wrong.
    await runtime.storage.delete_prefix(request_prefix(request_id))


async def _get(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, caller.tenant_id, request_id)
    if found is None:
        raise RequestNotFound
    return found
