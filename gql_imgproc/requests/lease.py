"""Leases: renewed while the work they protect runs."""

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
async def auto_renew(renew: Callable[[], Awaitable[bool]], lease_s: float) -> AsyncIterator[None]:
    """Renews a lease while the block runs.

    Cancels the block with LeaseLost when the lease is lost, or could not be renewed before it expired.
    """
    try:
        async with asyncio.timeout(None) as scope:
            renewal = asyncio.create_task(_renew_periodically(renew, lease_s, scope), name="lease")
            try:
                yield
            finally:
                renewal.cancel()
    except TimeoutError:
        if scope.expired():
            raise LeaseLost from None
        raise


async def _renew_periodically(renew: Callable[[], Awaitable[bool]], lease_s: float, scope: asyncio.Timeout) -> None:
    now = asyncio.get_running_loop().time
    expires_at = now() + lease_s
    while now() < expires_at:
        await asyncio.sleep(lease_s / 3)
        started_at = now()
        try:
            if not await renew():
                break
            expires_at = started_at + lease_s
        except Exception as error:
            log.warning("lease renewal failed", extra={"reason": str(error)})
    scope.reschedule(now())


@asynccontextmanager
async def lease_request(runtime: Runtime, request_id: UUID) -> AsyncIterator[RequestLease | None]:
    """The lease of a request with a next step, released after the block; None when another process has it.

    Cancels the block with LeaseLost when the lease is lost.
    """
    lease_s = runtime.settings.lease_seconds
    lease = await runtime.db.write(transitions.acquire, request_id, lease_s)
    if lease is None:
        yield None
        return

    async def renew() -> bool:
        return await runtime.db.write(transitions.renew, lease, lease_s)

    try:
        async with auto_renew(renew, lease_s):
            yield lease
    finally:
        await runtime.db.write(transitions.release, lease)
