"""Work goes on while its lease is ours, and not a moment longer."""

from __future__ import annotations

import asyncio

import pytest

from gql_imgproc.errors import LeaseLost
from gql_imgproc.requests.lease import renewing


async def test_a_lease_is_extended_while_the_work_goes_on() -> None:
    asked, often = [], asyncio.Event()

    async def extend() -> bool:
        asked.append(True)
        if len(asked) == 5:
            often.set()
        return True

    async with renewing(extend, 0.03):
        await often.wait()
    count = len(asked)
    await asyncio.sleep(0.05)
    assert len(asked) == count


def test_a_lost_lease_ends_the_work() -> None:
    async def extend() -> bool:
        return False

    async def story() -> None:
        with pytest.raises(LeaseLost):
            async with renewing(extend, 0.03):
                await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(story(), 5))


def test_a_lease_that_cannot_be_extended_is_lost_when_it_has_run_out() -> None:
    asked = []

    async def extend() -> bool:
        asked.append(True)
        raise OSError("the database is away")

    async def story() -> None:
        with pytest.raises(LeaseLost):
            async with renewing(extend, 0.06):
                await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(story(), 5))
    # Not at the first failure: the database may be back before the lease runs out.
    assert len(asked) >= 2


def test_a_timeout_of_the_work_itself_is_no_lost_lease() -> None:
    async def extend() -> bool:
        return True

    async def story() -> None:
        async with renewing(extend, 60), asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(story())
