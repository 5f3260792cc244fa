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


async def cancel(resources: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Stops a request; what is done stays, and its output CSV is written.

    A very large one may still be PROCESSING when this answers. Raises RequestNotFound or RequestAlreadyFinal.
    """

    def stop(connection: Connection) -> Snapshot | None:
        stopped = transitions.mark_stopping(connection, caller.tenant_id, request_id, TerminationReason.CANCELLED)
        if stopped:
            audit_log.note(
                connection, caller, AuditAction.REQUEST_CANCELLED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return stopped

    stopped = await resources.db.write(stop)
    request = stopped or await _get(resources, caller, request_id)
    if request.status.final:
        raise RequestAlreadyFinal(request.status)
    try:
        async with asyncio.timeout(CANCEL_WAIT_SECONDS):
            await finish(resources, request_id)
            async with aclosing(watch(resources, caller.tenant_id, request_id)) as states:
                async for state in states:
                    request = state
    except TimeoutError:
        log.info("cancelled request ends in the background", extra={"request": request_id})
        await best_effort(resources, lambda: resources.queue.finish(request_id))
    return request


async def retry_failed(resources: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Does the failed images of a final request again. Raises RequestNotFound, NothingToRetry or QuotaExceeded."""
    limits = quota_limits(resources.settings, caller)
    tries: list[Snapshot] = []

    def reopen(connection: Connection) -> Snapshot | None:
        reopened = retry.start_retry(connection, caller.tenant_id, request_id, limits)
        if reopened:
            tries.append(reopened)
            audit_log.note(
                connection, caller, AuditAction.REQUEST_RETRIED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return reopened

    reopened = await resources.db.write(reopen)
    if reopened is None:
        reopened = await _get(resources, caller, request_id)
        if reopened.generation not in {made.generation for made in tries}:
            raise NothingToRetry
        # Our own commit, whose answer was lost.
    await publish(resources, reopened)
    await enqueue_workers(resources, request_id, reopened.priority)
    if reopened.failed_images or reopened.cancelled_images:
        # There may be further chunks.
        await best_effort(resources, lambda: resources.queue.finish(request_id))
    return reopened


async def delete(resources: Runtime, caller: Caller, request_id: UUID) -> None:
    """Removes a final request and all it stored. Raises RequestNotFound or RequestNotFinal."""
    tries: list[bool] = []

    def begin(connection: Connection) -> bool:
        deleted = transitions.delete_final(connection, caller.tenant_id, request_id)
        tries.append(deleted)
        if deleted:
            audit_log.note(
                connection, caller, AuditAction.REQUEST_DELETED, encode_global_id(IdPrefix.REQUEST, request_id)
            )
        return deleted

    if not await resources.db.write(begin):
        try:
            raise RequestNotFinal((await _get(resources, caller, request_id)).status)
        except RequestNotFound:
            # Our own commit, whose answer was lost, removed a small one.
            if not any(tries):
                raise
    await delete_chunks(resources, caller.tenant_id, request_id)


async def delete_chunks(resources: Runtime, tenant_id: UUID, request_id: UUID) -> None:
    """Goes on with a removal that has begun, to its end."""
    while await resources.db.write(lambda connection: transitions.remove_chunk(connection, tenant_id, request_id)):  # noqa: ASYNC110 - see below
        # SQLite's write lock must be let go between chunks.
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    # The rows went first: objects without rows are only waste, rows without objects would be lies.
    await resources.storage.delete_prefix(request_prefix(request_id))


async def _get(resources: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    found = await resources.db.read(lambda connection: queries.request(connection, caller.tenant_id, request_id))
    if found is None:
        raise RequestNotFound
    return found
