"""The memory budget of downloaded images."""

from __future__ import annotations

import asyncio

from gql_imgproc.system.memory_budget import MemoryBudget


async def test_downloads_wait_while_the_budget_is_used_up() -> None:
    budget = MemoryBudget(10)

    with budget.reserve(b"12345"), budget.reserve(b"12345") as data:
        assert data == b"12345"
        waiting = asyncio.create_task(budget.wait_for_room())
        await asyncio.sleep(0.01)
        assert not waiting.done()

    await asyncio.wait_for(waiting, 5)
