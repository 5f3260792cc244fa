"""Reconcile: finds open requests and webhooks whose messages were lost, and sends the messages again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.enums import TerminationReason
from gql_imgproc.messaging.queue import DELIVER, FINISH, INGEST, Census
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish
from gql_imgproc.requests.repository import retry, transitions, webhook_outbox, work_queries
from gql_imgproc.requests.repository.work_queries import OpenRequest
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Open requests, or due webhooks, that are read with one statement.
PAGE_SIZE = 500


async def reconcile(runtime: Runtime) -> int:
    """Sends the messages that are missing to work, ingest, finish or deliver. Returns their number."""
    census = await runtime.run_blocking(runtime.queue.census)
    sent = 0
    async for found in _open_requests(runtime):
        try:
            sent += await _repair_request(runtime, found, census)
        except redis.RedisError:
            raise
        except Exception:
            # One broken request must not block the others.
            log.exception("reconcile of a request failed", extra={"request": found.request.id})
    due = await runtime.db.read(webhook_outbox.list_due, PAGE_SIZE)
    missing = [delivery_id for delivery_id in due if not census.control[DELIVER, delivery_id]]
    await best_effort(runtime, *(partial(runtime.queue.deliver, delivery_id) for delivery_id in missing))
    return sent + len(missing)


async def run_auto_retries(runtime: Runtime) -> int:
    """Starts the due automatic retries of requests with retryable failures. Returns their number."""
    started = 0
    for tenant_id, request_id in await runtime.db.read(retry.list_due_auto_retries, PAGE_SIZE):
        snapshot = await runtime.db.write(retry.start_auto_retry, tenant_id, request_id)
        if snapshot is not None:
            started += 1
            await publish(runtime, snapshot)
            await enqueue_workers(runtime, request_id, snapshot.priority)
            # The retry may have further chunks.
            await best_effort(runtime, partial(runtime.queue.finish, request_id))
    return started


async def _repair_request(runtime: Runtime, found: OpenRequest, census: Census) -> int:
    request, termination_reason, queue = found.request, found.request.termination_reason, runtime.queue
    if termination_reason is None and found.age_s > runtime.settings.request_deadline_seconds:
        termination_reason = TerminationReason.DEADLINE
        await runtime.db.write(transitions.mark_stopping, request.tenant_id, request.id, TerminationReason.DEADLINE)
    calls: list[Callable[[], object]] = []
    is_finishing = termination_reason is not None or not request.pending_images
    if found.is_lease_free and request.needs_rows:
        if not census.control[INGEST, request.id]:
            calls.append(lambda: queue.ingest(request.id))
    elif found.is_lease_free and is_finishing and not census.control[FINISH, request.id]:
        calls.append(lambda: queue.finish(request.id))
    if calls:
        await best_effort(runtime, *calls)
    return len(calls) + (0 if is_finishing else await enqueue_workers(runtime, request.id, request.priority, census))


async def _open_requests(runtime: Runtime) -> AsyncIterator[OpenRequest]:
    after: UUID | None = None
    while True:
        page = await runtime.db.read(work_queries.list_open_requests, after, PAGE_SIZE)
        for found in page:
            yield found
        if len(page) < PAGE_SIZE:
            return
        after = page[-1].request.id
