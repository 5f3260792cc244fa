"""Reconcile: finds requests and webhooks whose messages were lost, and sends the messages again."""

from __future__ import annotations

from functools import partial

from gql_imgproc.enums import TerminationReason
from gql_imgproc.requests.notify import best_effort, permit_work, publish
from gql_imgproc.requests.repository import lanes, retry, transitions, webhook_outbox, work_queries
from gql_imgproc.runtime import Runtime

#: Requests, or due webhooks, that are read with one statement.
PAGE_SIZE = 500


async def reconcile(runtime: Runtime) -> int:
    """Sends the messages that are missing to process, advance or deliver, and starts what is due.

    Returns their number. A message that is not missing does no harm: the lease of its subject is taken.
    """
    sent = await _start_auto_retries(runtime)
    await _stop_overdue_requests(runtime)
    sent += await _advance_waiting_requests(runtime)
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
            publish(runtime, snapshot)
    return started


async def _stop_overdue_requests(runtime: Runtime) -> None:
    deadline_s = runtime.settings.request_deadline_seconds
    while page := await runtime.db.read(work_queries.list_overdue, deadline_s, PAGE_SIZE):
        for tenant_id, request_id in page:
            await runtime.db.write(transitions.stop, tenant_id, request_id, TerminationReason.DEADLINE)


async def _advance_waiting_requests(runtime: Runtime) -> int:
    """Sends `advance` for each request with a next step that no process does. Returns their number."""
    sent, after = 0, None
    while page := await runtime.db.read(work_queries.list_waiting, after, PAGE_SIZE):
        await best_effort(runtime, *(partial(runtime.queue.advance, request_id) for request_id in page))
        sent, after = sent + len(page), page[-1]
    return sent
