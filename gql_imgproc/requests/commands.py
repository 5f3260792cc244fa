"""What a caller may order to be done with a request: stop it, retry what failed, delete it."""

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

#: How long `cancel` waits for the end of a large request before it answers all the same, in seconds.
CANCEL_WAIT_SECONDS = 10


async def cancel(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Stops a request; what is done stays, and its output CSV is written.

    A very large one may still be PROCESSING when this answers. Raises RequestNotFound or RequestAlreadyFinal.
    """

    def stop(connection: Connection) -> Snapshot | None:
        stopped = transitions.mark_stopping(connection, caller.tenant_id, request_id, TerminationReason.CANCELLED)
        if stopped:
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_CANCELLED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return stopped

    stopped = await runtime.db.write(stop)
    request = stopped or await _get(runtime, caller, request_id)
    if request.status.is_terminal:
        raise RequestAlreadyFinal(request.status)
    try:
        async with asyncio.timeout(CANCEL_WAIT_SECONDS):
            await finish(runtime, request_id)
            async with aclosing(watch(runtime, caller.tenant_id, request_id)) as states:
                async for state in states:
                    request = state
    except TimeoutError:
        log.info("cancellation continues in the background", extra={"request": request_id})
        await best_effort(runtime, lambda: runtime.queue.finish(request_id))
    return request


async def retry_failed(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Does the failed images of a final request again. Raises RequestNotFound, NothingToRetry or QuotaExceeded."""
    limits = quota_limits(runtime.settings, caller)
    tries: list[Snapshot] = []

    def reopen(connection: Connection) -> Snapshot | None:
        reopened = retry.start_retry(connection, caller.tenant_id, request_id, limits)
        if reopened:
            tries.append(reopened)
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_RETRIED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return reopened

    reopened = await runtime.db.write(reopen)
    if reopened is None:
        reopened = await _get(runtime, caller, request_id)
        if reopened.generation not in {made.generation for made in tries}:
            raise NothingToRetry
        # Our own commit, whose answer was lost.
    await publish(runtime, reopened)
    await enqueue_workers(runtime, request_id, reopened.priority)
    if reopened.failed_images or reopened.cancelled_images:
        # There may be further chunks.
        await best_effort(runtime, lambda: runtime.queue.finish(request_id))
    return reopened


async def delete(runtime: Runtime, caller: Caller, request_id: UUID) -> None:
    """Removes a final request and all it stored. Raises RequestNotFound or RequestNotFinal."""
    tries: list[bool] = []

    def begin(connection: Connection) -> bool:
        deleted = transitions.start_deletion(connection, caller.tenant_id, request_id)
        tries.append(deleted)
        if deleted:
            audit_log.record_event(
                connection, caller, AuditAction.REQUEST_DELETED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return deleted

    if not await runtime.db.write(begin):
        try:
            raise RequestNotFinal((await _get(runtime, caller, request_id)).status)
        except RequestNotFound:
            # Our own commit, whose answer was lost, removed a small one.
            if not any(tries):
                raise
    await delete_chunks(runtime, caller.tenant_id, request_id)


async def delete_chunks(runtime: Runtime, tenant_id: UUID, request_id: UUID) -> None:
    """Goes on with a removal that has begun, to its end."""
    while await runtime.db.write(transitions.delete_chunk, tenant_id, request_id):  # noqa: ASYNC110 - see below
        # SQLite's write lock must be let go between chunks.
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    # The rows went first: objects without rows are only waste, rows without objects would be lies.
    await runtime.storage.delete_prefix(request_prefix(request_id))


async def _get(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, caller.tenant_id, request_id)
    if found is None:
        raise RequestNotFound
    return found
