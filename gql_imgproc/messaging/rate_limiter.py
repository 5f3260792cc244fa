"""Counts calls for rate limits: in Redis for all processes, or in memory while Redis is unavailable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gql_imgproc.messaging import outage
from gql_imgproc.messaging.outage import UNAVAILABLE, Outage
from gql_imgproc.security.rate import RateLimit

PREFIX = "imgproc:rates"
#: Connections of one process.
MAX_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """The state of a rate limit of one caller."""

    limit: int
    remaining: int
    #: Unix time in seconds at which `remaining` grows again.
    resets_at: float


class RateLimiter:
    """Counts in moving windows, so the limit holds for every period of its length."""

    def __init__(self, url: str) -> None:
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=outage.TIMEOUT_S,
            socket_connect_timeout=outage.TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        # The pool has the URL of Redis. The library passes unknown options to the client.
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, **options)
        self._shared = MovingWindowRateLimiter(storage)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._outage = Outage("rate limiter")

    async def hit(self, limit: RateLimit, *key: str, locally: bool) -> RateLimitStatus | None:
        """Count a call and return None. If the limit is exceeded, return the status and do not count.

        `locally`: whether this process counts while Redis is unavailable. Otherwise all calls are allowed meanwhile.
        """
        item = _item(limit)

        async def count(counts: MovingWindowRateLimiter) -> RateLimitStatus | None:
            return None if await counts.hit(item, *key) else await _status(counts, limit, key)

        try:
            async with self._outage.guard():
                return await count(self._shared)
        except UNAVAILABLE:
            return await count(self._local) if locally else None

    async def status(self, limit: RateLimit, *key: str, locally: bool) -> RateLimitStatus | None:
        """Return the status; None while Redis is unavailable and this process does not count."""
        try:
            async with self._outage.guard():
                return await _status(self._shared, limit, key)
        except UNAVAILABLE:
            return await _status(self._local, limit, key) if locally else None

    async def aclose(self) -> None:
        await self._pool.disconnect()


def _item(limit: RateLimit) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(limit.amount, limit.seconds)


async def _status(counts: MovingWindowRateLimiter, limit: RateLimit, key: tuple[str, ...]) -> RateLimitStatus:
    stats = await counts.get_window_stats(_item(limit), *key)
    return RateLimitStatus(limit.amount, stats.remaining, stats.reset_time)
