"""Waits for what another task or thread does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Far more than a slow machine needs, in seconds.
TIMEOUT_SECONDS = 30.0


async def until(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110 - the tests set no event for it
            await asyncio.sleep(0.005)
