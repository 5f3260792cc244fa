"""A lease is renewed while its block runs; losing it cancels the block."""

from __future__ import annotations

import asyncio

import pytest

from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.lease import auto_renew


async def test_lease_is_renewed_while_the_block_runs() -> None:
    renewals, renewed_often = [], asyncio.Event()

    async def renew() -> bool:
        renewals.append(True)
        if len(renewals) == 5:
            renewed_often.set()
        return True

    async with auto_renew(renew, 0.03):
        await renewed_often.wait()
    count = len(renewals)
    await asyncio.sleep(0.05)

    assert len(renewals) == count


async def test_lost_lease_cancels_the_block() -> None:
    async def renew() -> bool:
        return False

    with pytest.raises(LeaseLost):
        async with asyncio.timeout(5), auto_renew(renew, 0.03):
            await asyncio.Event().wait()


async def test_lease_that_cannot_be_renewed_is_lost_when_it_expires() -> None:
    renewals = []

    async def renew() -> bool:
        renewals.append(True)
        raise OSError("the database is unavailable")

    with pytest.raises(LeaseLost):
        async with asyncio.timeout(5), auto_renew(renew, 0.06):
            await asyncio.Event().wait()

    # Not at the first failure: the database may be back before the lease expires.
    assert len(renewals) >= 2


async def test_timeout_in_the_block_is_not_a_lost_lease() -> None:
    async def renew() -> bool:
        return True

    with pytest.raises(TimeoutError):
        async with auto_renew(renew, 60), asyncio.timeout(0.01):
            await asyncio.Event().wait()
