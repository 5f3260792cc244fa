"""The event loop of the tests."""

from __future__ import annotations

import asyncio
import time


async def test_timeout_does_not_expire_while_the_process_stands_still() -> None:
    async with asyncio.timeout(0.3):
        time.sleep(0.5)  # noqa: ASYNC251 - stands for a machine that is busy elsewhere
        await asyncio.sleep(0.01)
