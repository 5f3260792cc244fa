"""What callers have done of late, counted: in Redis for all processes, or in this process's memory while it is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gql_imgproc.security.rate import RateLimit

T = TypeVar("T")

log = logging.getLogger(__name__)

PREFIX = "imgproc:rates"
#: Connections of one process, and how long Redis may take for one count, in seconds: a caller waits meanwhile.
CONNECTIONS, ANSWER_SECONDS = 16, 1.0
#: For so long Redis is not asked again after it did not answer, in seconds.
REDIS_RETRY_SECONDS = 2.0
_AWAY = (redis.RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """How much is left of a rate: so many, and more at a moment in seconds since 1970."""

    limit: int
    remaining: int
    resets_at: float


class RateLimiter:
    """Counts in moving windows, so that no span of that length ever has more."""

    def __init__(self, url: str) -> None:
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        # The address is that of the pool; the library passes what it does not know on to the client.
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, **options)
        self._shared = MovingWindowRateLimiter(storage)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._away = False

    async def hit(self, rate: RateLimit, *who: str, locally: bool) -> RateLimitStatus | None:
        """Counts one more; None when it fits, else nothing is counted, and what is left.

        `locally`: whether it is counted in this process while Redis is away; otherwise everything fits meanwhile.
        """
        item = _item(rate)

        async def count(counts: MovingWindowRateLimiter) -> RateLimitStatus | None:
            return None if await counts.hit(item, *who) else await _left(counts, rate, who)

        try:
            return await self._ask(count(self._shared))
        except _AWAY:
            return await count(self._local) if locally else None

    async def left(self, rate: RateLimit, *who: str, locally: bool) -> RateLimitStatus | None:
        """What is left; None when Redis is away and it is not counted here."""
        try:
            return await self._ask(_left(self._shared, rate, who))
        except _AWAY:
            return await _left(self._local, rate, who) if locally else None

    async def _ask(self, asking: Coroutine[Any, Any, T]) -> T:
        """An answer of Redis. Raises one of `_AWAY`, for a while without asking."""
        if time.monotonic() < self._away_until:
            asking.close()
            raise TimeoutError
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await asking
        except _AWAY as error:
            self._away_until = time.monotonic() + REDIS_RETRY_SECONDS
            if not self._away:
                self._away = True
                log.warning("rate limiter: Redis unavailable", extra={"reason": str(error) or type(error).__name__})
            raise
        if self._away:
            self._away = False
            log.info("rate limiter: Redis available again")
        return answer

    async def aclose(self) -> None:
        await self._pool.disconnect()


def _item(rate: RateLimit) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(rate.amount, rate.seconds)


async def _left(counts: MovingWindowRateLimiter, rate: RateLimit, who: tuple[str, ...]) -> RateLimitStatus:
    found = await counts.get_window_stats(_item(rate), *who)
    return RateLimitStatus(rate.amount, found.remaining, found.reset_time)
