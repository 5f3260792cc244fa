"""The time that one message may take when others wait."""

from __future__ import annotations

import asyncio

import redis

from gql_imgproc.messaging.queue import CONTROL_QUEUE
from gql_imgproc.runtime import Runtime

#: Time after which a message that works in steps lets others go first, in seconds.
SLICE_SECONDS = 2.0
#: How long to wait for Redis to say whether others wait, in seconds.
ANSWER_SECONDS = 1.0


class TimeSlice:
    """Starts now, and ends after `SLICE_SECONDS`; later if no message waits for the thread, at once at a stop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ends_at = asyncio.get_running_loop().time() + SLICE_SECONDS

    async def is_over(self) -> bool:
        if self._runtime.is_stopping:
            return True
        if asyncio.get_running_loop().time() < self._ends_at:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                lengths = await self._runtime.run_blocking(self._runtime.queue.lengths)
        except (redis.RedisError, TimeoutError):
            # No message could continue the work.
            return False
        return lengths[CONTROL_QUEUE] > 0
