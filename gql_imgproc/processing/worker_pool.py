"""The work of a turn: claim a product, do its pictures, record each; then to the back of the line."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from uuid import UUID

from gql_imgproc import tracing
from gql_imgproc.enums import Priority
from gql_imgproc.errors import LeaseLost
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import LEASES_LOST, PRODUCTS_CLAIMED
from gql_imgproc.processing.product import ProductProcessor
from gql_imgproc.requests.lease import renewing
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish, share_of
from gql_imgproc.requests.repository import claims
from gql_imgproc.requests.repository.claims import ClaimedProduct
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Share of a process's places that one request may take: its pictures' host may be slow, or dead. With half of them a
#: request whose calls are spread unevenly over the processes would miss some.
LARGEST_SHARE = 0.75
#: Pause before a product is tried again whose work failed in a way that nobody foresaw, in seconds.
FAULT_PAUSE_SECONDS = 10.0


async def drain(runtime: Runtime, request_id: UUID, slot: int = 0) -> None:
    """Does products of a request for a turn, then wakes a worker for the slot's next turn.

    Ends when no product is due, or the slot is beyond what is the request's share by now.

    A turn is more than one product, since a message costs as much as a tenth of a picture, and waiting for one longer
    than a small picture takes.
    """
    most = max(1, int(LARGEST_SHARE * runtime.settings.worker_threads))
    turns = runtime.turns[request_id]
    if len(turns) >= most or slot in turns:
        # Those that have their turn here will wake the next; the places are for other requests. A slot has one turn at
        # a time: the sweep takes the call of one that lasts for lost.
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
    turn_ends = now() + runtime.settings.turn_seconds
    lease_s, window = runtime.settings.lease_seconds, runtime.settings.window
    while claim := await runtime.db.write(claims.claim_product, request_id, lease_s):
        PRODUCTS_CLAIMED.inc()
        with tracing.start_span("product", product=encode_global_id(IdPrefix.PRODUCT, claim.product_id)):
            await _do(runtime, claim, slot)
        if now() >= turn_ends:
            if slot < share_of(window, claim.open_requests):
                await best_effort(runtime, partial(runtime.queue.enqueue_work, request_id, claim.priority, [slot]))
            return


async def _do(runtime: Runtime, claim: ClaimedProduct, slot: int) -> None:
    """Does a claimed product, and gives it back if some of its pictures are to be tried again."""
    lease_s = runtime.settings.lease_seconds
    if claim.started is not None:
        await publish(runtime, claim.started)

    async def extend() -> bool:
        return await runtime.db.write(claims.extend_lease, claim, lease_s)

    product = ProductProcessor(runtime, claim)
    named: dict[str, object] = {"request": claim.request_id, "product": claim.product_id}
    try:
        async with renewing(extend, lease_s):
            delay_s = await product.work()
    except LeaseLost:
        LEASES_LOST.labels("product").inc()
        log.info("lease lost", extra=named)
        return
    except asyncio.CancelledError:
        # The worker is to stop: others need not wait for the lease to run out.
        await _give_back(runtime, claim, 0)
        await best_effort(runtime, partial(runtime.queue.enqueue_work, claim.request_id, claim.priority, [slot]))
        raise
    except Exception:
        # Told at once that nothing crashed, or its pictures would be suspected.
        await _give_back(runtime, claim, FAULT_PAUSE_SECONDS)
        raise
    told = {"completed_images": product.completed, "failed_images": product.failed}
    if delay_s is None:
        log.info("product done", extra=named | told)
    else:
        await _give_back(runtime, claim, delay_s)
        log.info("product is tried again", extra=named | told | {"next_try_in_s": delay_s})
        _wake_later(runtime, claim, delay_s)


async def _give_back(runtime: Runtime, claim: ClaimedProduct, delay_s: float) -> None:
    await runtime.db.write(claims.release_product, claim, delay_s)


def _wake_later(runtime: Runtime, claim: ClaimedProduct, delay_s: float) -> None:
    """Wakes a worker when the pictures are due again. A long delay, or a lost timer, is the sweep's to notice."""
    if delay_s <= runtime.settings.sweep_seconds:
        runtime.background.start(
            ("wake", claim.request_id), partial(_wake_after, runtime, claim.request_id, claim.priority, delay_s)
        )


async def _wake_after(runtime: Runtime, request_id: UUID, priority: Priority, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await enqueue_workers(runtime, request_id, priority)
