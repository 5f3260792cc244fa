"""Reconcile: finds requests and webhooks whose messages were lost, and sends the messages again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.database.tables import CLAIMING
from gql_imgproc.enums import TerminationReason
from gql_imgproc.requests.notify import best_effort, permit_work, publish
from gql_imgproc.requests.repository import lanes, retry, transitions, webhook_outbox, work_queries
from gql_imgproc.requests.repository.work_queries import UnfinishedRequest
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Requests, or due webhooks, that are read with one statement.
PAGE_SIZE = 500


async def reconcile(runtime: Runtime) -> int:
    """Sends the messages that are missing to process, advance or deliver, and starts what is due.

    Returns their number. A message that is not missing does no harm: the lease of its subject is taken.
    """
    sent = await _start_auto_retries(runtime)
    async for found in _unfinished_requests(runtime):
        try:
            sent += await _repair_request(runtime, found)
        except redis.RedisError:
            raise
        except Exception:
            # One broken request must not block the others.
            log.exception("reconcile of a request failed", extra={"request": found.request.id})
    due = await runtime.db.read(webhook_outbox.list_due, PAGE_SIZE)
    await best_effort(runtime, *(partial(runtime.queue.deliver, delivery_id) for delivery_id in due))
    return sent + len(due) + await _permit_waiting_work(runtime)


async def _permit_waiting_work(runtime: Runtime) -> int:
    """Wakes lanes whose time has come, and keeps one permit waiting while a lane is ready."""
    while await runtime.db.write(lanes.wake_due_lanes) == lanes.WAKE_CHUNK:
        pass
    permits = await runtime.run_blocking(runtime.queue.count_permits)
    if permits or not await runtime.db.read(lanes.list_tenants):
        return 0
    await permit_work(runtime)
    return 1


async def _start_auto_retries(runtime: Runtime) -> int:
    """Starts the due automatic retries of requests with retryable failures. Returns their number."""
    started = 0
    for tenant_id, request_id in await runtime.db.read(retry.list_due_auto_retries, PAGE_SIZE):
        snapshot = await runtime.db.write(retry.start_auto_retry, tenant_id, request_id)
        if snapshot is not None:
            started += 1
            await publish(runtime, snapshot)
    return started


async def _repair_request(runtime: Runtime, found: UnfinishedRequest) -> int:
    request, sent = found.request, 0
    if request.phase in CLAIMING and found.age_s > runtime.settings.request_deadline_seconds:
        stopped = await runtime.db.write(transitions.stop, request.tenant_id, request.id, TerminationReason.DEADLINE)
        request = stopped or request
    if found.is_lease_free and request.has_step:
        await best_effort(runtime, partial(runtime.queue.advance, request.id))
        sent += 1
    return sent


async def _unfinished_requests(runtime: Runtime) -> AsyncIterator[UnfinishedRequest]:
    after: UUID | None = None
    while True:
        page = await runtime.db.read(work_queries.list_unfinished, after, PAGE_SIZE)
        for found in page:
            yield found
        if len(page) < PAGE_SIZE:
            return
        after = page[-1].request.id
