"""Work that is ours for a while only: the lease is extended as long as the work goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.repository import transitions
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)


@asynccontextmanager
async def renewing(extend: Callable[[], Awaitable[bool]], lease_s: float) -> AsyncIterator[None]:
    """Extends a lease of so many seconds while the block runs.

    The block is ended with LeaseLost when the lease is lost, or could not be extended before it ran out.
    """
    try:
        async with asyncio.timeout(None) as scope:
            keeper = asyncio.create_task(_keep(extend, lease_s, scope), name="lease")
            try:
                yield
            finally:
                keeper.cancel()
    except TimeoutError:
        if scope.expired():
            raise LeaseLost from None
        raise


async def _keep(extend: Callable[[], Awaitable[bool]], lease_s: float, scope: asyncio.Timeout) -> None:
    now = asyncio.get_running_loop().time
    ours_until = now() + lease_s
    while now() < ours_until:
        await asyncio.sleep(lease_s / 3)
        asked = now()
        try:
            if not await extend():
                break
            ours_until = asked + lease_s
        except Exception as error:
            log.warning("lease renewal failed", extra={"reason": str(error)})
    scope.reschedule(now())


@asynccontextmanager
async def lease_request(runtime: Runtime, request_id: UUID) -> AsyncIterator[RequestLease | None]:
    """The hold on an open request, given back after the block; None when another process has it.

    The block is ended with LeaseLost when the hold is lost.
    """
    lease_s = runtime.settings.lease_seconds
    hold = await runtime.db.write(transitions.acquire, request_id, lease_s)
    if hold is None:
        yield None
        return

    async def extend() -> bool:
        return await runtime.db.write(transitions.renew, hold, lease_s)

    try:
        async with renewing(extend, lease_s):
            yield hold
    finally:
        await runtime.db.write(transitions.release, hold)
