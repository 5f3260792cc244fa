"""Outages of Redis: each part that can do without it logs the start and the end, and makes no call in between."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import redis

log = logging.getLogger(__name__)

#: Timeout of a call whose caller waits, in seconds.
TIMEOUT_S = 1.0
#: Pause after an error of Redis, without calls to it, in seconds.
PAUSE_S = 2.0
#: What a call raises while Redis is unavailable.
UNAVAILABLE = (redis.RedisError, OSError, TimeoutError)


class Outage:
    """Whether Redis is available to one part of the process, whose name is logged."""

    def __init__(self, part: str, pause_s: float = PAUSE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_down = False
        self._part = part
        self._pause_s = pause_s
        self._clock = clock
        self._paused_until = float("-inf")

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Runs a call within `TIMEOUT_S`. Raises one of `UNAVAILABLE`, without the call during the pause."""
        if self._clock() < self._paused_until:
            raise TimeoutError
        try:
            async with asyncio.timeout(TIMEOUT_S):
                yield
        except UNAVAILABLE as error:
            self._paused_until = self._clock() + self._pause_s
            if not self.is_down:
                self.is_down = True
                log.warning("%s: Redis unavailable", self._part, extra={"reason": str(error) or type(error).__name__})
            raise
        if self.is_down:
            self.is_down = False
            log.info("%s: Redis available again", self._part)
