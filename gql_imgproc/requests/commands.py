"""Commands on a request: cancel it, retry its failed images, delete it.

A command sets the phase of the request and wakes a worker, which does the rest; the caller waits for it for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_log
from gql_imgproc.enums import AuditAction, RequestPhase, TerminationReason
from gql_imgproc.errors import (
    DatabaseUnavailable,
    ImageErrorCode,
    NothingToRetry,
    RequestAlreadyFinal,
    RequestNotFinal,
    RequestNotFound,
)
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.limits import quota_limits
from gql_imgproc.requests.notify import best_effort, publish
from gql_imgproc.requests.repository import queries, retry, transitions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller

log = logging.getLogger(__name__)

#: How long a command waits for the workers before it returns, in seconds: a large request takes longer.
WAIT_SECONDS = 10.0
#: Interval between two looks at the request while a command waits, in seconds.
POLL_SECONDS = 0.05


async def cancel(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    """Cancels a request. Completed images stay, and the output CSV is written.

    A very large request may still be PROCESSING when this returns. Raises RequestNotFound or RequestAlreadyFinal.
    """

    def stop(connection: Connection) -> Snapshot | None:
        stopping = transitions.stop(connection, caller.tenant_id, request_id, TerminationReason.CANCELLED)
        if stopping:
            _audit(connection, caller, AuditAction.REQUEST_CANCELLED, request_id)
        return stopping

    request = await runtime.db.write(stop) or await _get(runtime, caller, request_id)
    if request.status.is_terminal:
        raise RequestAlreadyFinal(request.status)
    return await _advance(runtime, request, lambda current: current.status.is_terminal) or request


async def retry_failed(
    runtime: Runtime,
    caller: Caller,
    request_id: UUID,
    error_code: ImageErrorCode | None = None,
    host: str | None = None,
) -> Snapshot:
    """Retries the failed images of a final request, or only those with this error and of this host.

    Raises RequestNotFound, NothingToRetry or QuotaExceeded.

    The failed images of a very large request may not all be pending yet when this returns.
    """
    limits = quota_limits(runtime.settings, caller)
    # The transaction may run again after a commit whose answer was lost.
    runs: list[Snapshot] = []

    def start(connection: Connection) -> Snapshot | None:
        retried = retry.start_retry(connection, caller.tenant_id, request_id, limits, error_code, host)
        if retried:
            runs.append(retried)
            _audit(connection, caller, AuditAction.REQUEST_RETRIED, request_id, errorCode=error_code, host=host)
        return retried

    request = await runtime.db.write(start)
    if request is None:
        request = await _get(runtime, caller, request_id)
        if request.generation not in {run.generation for run in runs}:
            raise NothingToRetry
    publish(runtime, request)
    return await _advance(runtime, request, lambda current: current.phase is not RequestPhase.RETRYING) or request


async def delete(runtime: Runtime, caller: Caller, request_id: UUID) -> None:
    """Deletes a final request and everything it stored. Raises RequestNotFound or RequestNotFinal.

    Rows of a very large request may be left when this returns.
    """
    request = await start_deletion(runtime, caller, request_id)
    if request is not None:
        await _wait(runtime, request, lambda current: False)


async def start_deletion(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot | None:
    """Starts to delete a final request, and does not wait; None when it is deleted already.

    Raises RequestNotFound or RequestNotFinal.
    """
    # The transaction may run again after a commit whose answer was lost.
    runs: list[Snapshot] = []

    def start(connection: Connection) -> Snapshot | None:
        deleting = transitions.start_deletion(connection, caller.tenant_id, request_id)
        if deleting:
            runs.append(deleting)
            _audit(connection, caller, AuditAction.REQUEST_DELETED, request_id)
        return deleting

    request = await runtime.db.write(start)
    if request is None:
        request = await runtime.db.read(queries.get_request, caller.tenant_id, request_id)
        if request is None:
            if runs:
                return None
            raise RequestNotFound
        if request.phase is not RequestPhase.DELETING:
            raise RequestNotFinal(request.status)
    await best_effort(runtime, lambda: runtime.queue.advance(request_id))
    return request


def _audit(
    connection: Connection, caller: Caller, action: AuditAction, request_id: UUID, **details: str | None
) -> None:
    audit_log.record_event(connection, caller, action, encode_global_id(IdPrefix.REQUEST, request_id), **details)


async def _advance(runtime: Runtime, request: Snapshot, is_reached: Callable[[Snapshot], bool]) -> Snapshot | None:
    await best_effort(runtime, lambda: runtime.queue.advance(request.id))
    return await _wait(runtime, request, is_reached)


async def _wait(runtime: Runtime, seen: Snapshot, is_reached: Callable[[Snapshot], bool]) -> Snapshot | None:
    """The request once the condition holds, or as it is after `WAIT_SECONDS`; None when it was deleted.

    Polls the database: this also works without Redis, and a small request takes less than one interval of a watcher.
    """
    request: Snapshot | None = seen
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while request is not None and not is_reached(request):
                await asyncio.sleep(POLL_SECONDS)
                # The command is committed: the caller need not repeat it.
                with suppress(DatabaseUnavailable):
                    request = await runtime.db.read(queries.get_request, seen.tenant_id, seen.id)
    except TimeoutError:
        log.info("workers continue a command in the background", extra={"request": seen.id})
    return request


async def _get(runtime: Runtime, caller: Caller, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, caller.tenant_id, request_id)
    if found is None:
        raise RequestNotFound
    return found
