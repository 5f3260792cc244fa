"""The sweep: finds what was forgotten, whatever forgot it, and wakes somebody up for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.enums import TerminationReason
from gql_imgproc.messaging.queue import DELIVER, FINISH, INGEST, Census
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish
from gql_imgproc.requests.repository import retry, transitions, webhook_outbox
from gql_imgproc.requests.repository.transitions import OpenRequest
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Open requests, and due webhooks, that are looked at together.
PAGE = 500


async def reconcile(runtime: Runtime) -> int:
    """Sends the wake-up calls that are missing: to work, to ingest, to finish, to deliver; how many."""
    census = await runtime.run_blocking(runtime.queue.census)
    sent = 0
    async for found in _open_requests(runtime):
        try:
            sent += await _repair_request(runtime, found, census)
        except redis.RedisError:
            raise
        except Exception:
            # The others are not to wait for the one that cannot be helped.
            log.exception("sweep of one request failed", extra={"request": found.request.id})
    due = await runtime.db.read(webhook_outbox.list_due, PAGE)
    missing = [delivery_id for delivery_id in due if not census.control[DELIVER, delivery_id]]
    await best_effort(runtime, *(partial(runtime.queue.deliver, delivery_id) for delivery_id in missing))
    return sent + len(missing)


async def run_auto_retries(runtime: Runtime) -> int:
    """Opens requests again whose failures may have been temporary, when their time has come; how many."""
    reopened = 0
    for tenant_id, request_id in await runtime.db.read(retry.list_due_auto_retries, PAGE):
        state = await runtime.db.write(
            lambda connection, which=(tenant_id, request_id): retry.reopen_retryable(connection, *which)  # type: ignore[misc]  # bound per turn of the loop
        )
        if state is not None:
            reopened += 1
            await publish(runtime, state)
            await enqueue_workers(runtime, request_id, state.priority)
            # There may be further chunks.
            await best_effort(runtime, partial(runtime.queue.finish, request_id))
    return reopened


async def _repair_request(runtime: Runtime, found: OpenRequest, census: Census) -> int:
    request, termination_reason, queue = found.request, found.request.termination_reason, runtime.queue
    if termination_reason is None and found.age_s > runtime.settings.request_deadline_seconds:
        termination_reason = TerminationReason.DEADLINE
        await runtime.db.write(transitions.mark_stopping, request.tenant_id, request.id, TerminationReason.DEADLINE)
    calls: list[Callable[[], object]] = []
    ends = termination_reason is not None or not request.pending_images
    if found.free and request.needs_rows:
        if not census.control[INGEST, request.id]:
            calls.append(lambda: queue.ingest(request.id))
    elif found.free and ends and not census.control[FINISH, request.id]:
        calls.append(lambda: queue.finish(request.id))
    if calls:
        await best_effort(runtime, *calls)
    return len(calls) + (0 if ends else await enqueue_workers(runtime, request.id, request.priority, census))


async def _open_requests(runtime: Runtime) -> AsyncIterator[OpenRequest]:
    after: UUID | None = None
    while True:
        page = await runtime.db.read(
            transitions.iter_open_requests,
            after,
            PAGE,
        )
        for found in page:
            yield found
        if len(page) < PAGE:
            return
        after = page[-1].request.id
