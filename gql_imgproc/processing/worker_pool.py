"""The work of one message: claim a product, process its images, claim the next; then re-enqueue the message."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from uuid import UUID

from gql_imgproc import tracing
from gql_imgproc.enums import Priority
from gql_imgproc.errors import DatabaseUnavailable, LeaseLost
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import LEASES_LOST, PRODUCTS_CLAIMED
from gql_imgproc.processing.product import ProductProcessor
from gql_imgproc.requests.lease import auto_renew
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish, share_of
from gql_imgproc.requests.repository import claims, transitions
from gql_imgproc.requests.repository.claims import ClaimedProduct
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Share of a process's threads that one request may use: its image host may be slow or down. With half of them, a
#: request whose messages are spread unevenly over the processes would not get all its slots.
LARGEST_SHARE = 0.75
#: Delay until a product is retried after an unexpected exception, in seconds.
ERROR_DELAY_SECONDS = 10.0


async def drain(runtime: Runtime, request_id: UUID, slot: int = 0) -> None:
    """Processes due products of a request for one turn, then enqueues the slot's next turn.

    Ends when no product is due, or when the slot is no longer part of the request's share.

    A turn covers several products, since one message costs as much as a tenth of an image, and waiting for a message
    takes longer than a small image.
    """
    max_turns = max(1, int(LARGEST_SHARE * runtime.settings.worker_threads))
    turns = runtime.turns[request_id]
    if len(turns) >= max_turns or slot in turns:
        # The running turns enqueue the next ones; the other threads are for other requests. A slot has one turn at a
        # time: reconcile takes the message of a long turn for lost and sends it again.
        return
    turns.add(slot)
    try:
        async with request_span(runtime, "turn", request_id):
            await _work_once(runtime, request_id, slot)
    finally:
        turns.discard(slot)
        if not turns:
            del runtime.turns[request_id]


async def _work_once(runtime: Runtime, request_id: UUID, slot: int) -> None:
    now = asyncio.get_running_loop().time
    turn_ends_at = now() + runtime.settings.turn_seconds
    lease_s, window = runtime.settings.lease_seconds, runtime.settings.window
    while claim := await runtime.db.write(claims.claim_product, request_id, lease_s):
        PRODUCTS_CLAIMED.inc()
        with tracing.start_span("product", product=encode_global_id(IdPrefix.PRODUCT, claim.product_id)):
            await _process_product(runtime, claim, slot)
        if now() >= turn_ends_at:
            if slot < share_of(window, claim.open_requests):
                await best_effort(runtime, partial(runtime.queue.enqueue_work, request_id, claim.priority, [slot]))
            return


async def _process_product(runtime: Runtime, claim: ClaimedProduct, slot: int) -> None:
    """Processes a claimed product, and releases it if some of its images must be retried."""
    lease_s = runtime.settings.lease_seconds
    if claim.started is not None:
        await publish(runtime, claim.started)

    async def renew() -> bool:
        return await runtime.db.write(claims.renew_lease, claim, lease_s)

    product = ProductProcessor(runtime, claim)
    ids: dict[str, object] = {"request": claim.request_id, "product": claim.product_id}
    try:
        async with auto_renew(renew, lease_s):
            delay_s = await product.work()
    except LeaseLost:
        LEASES_LOST.labels("product").inc()
        # It may have stored objects after the claim of its successor.
        with suppress(DatabaseUnavailable):
            await runtime.db.write(transitions.plan_cleanup, claim.request_id)
        log.info("lease lost", extra=ids)
        return
    except asyncio.CancelledError:
        # The worker stops: release the lease, so that others need not wait until it expires.
        await _release(runtime, claim, 0)
        await best_effort(runtime, partial(runtime.queue.enqueue_work, claim.request_id, claim.priority, [slot]))
        raise
    except Exception:
        # Released at once: an expired lease would make its images crash suspects.
        await _release(runtime, claim, ERROR_DELAY_SECONDS)
        raise
    counts = {"completed_images": product.completed, "failed_images": product.failed}
    if delay_s is None:
        log.info("product processed", extra=ids | counts)
    else:
        await _release(runtime, claim, delay_s)
        log.info("product retry scheduled", extra=ids | counts | {"next_try_in_s": delay_s})
        _enqueue_later(runtime, claim, delay_s)


async def _release(runtime: Runtime, claim: ClaimedProduct, delay_s: float) -> None:
    await runtime.db.write(claims.release_product, claim, delay_s)


def _enqueue_later(runtime: Runtime, claim: ClaimedProduct, delay_s: float) -> None:
    """Enqueues work when the images are due again. Reconcile handles long delays and lost timers."""
    if delay_s <= runtime.settings.sweep_seconds:
        runtime.background.start(
            ("wake", claim.request_id), partial(_enqueue_after, runtime, claim.request_id, claim.priority, delay_s)
        )


async def _enqueue_after(runtime: Runtime, request_id: UUID, priority: Priority, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await enqueue_workers(runtime, request_id, priority)
