"""Limits concurrent downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _HostLimit:
    semaphore: asyncio.Semaphore
    users: int = 0


class DownloadLimiter:
    """Limits downloads per host and in total. The host's limit comes first, so a slow host does not block others."""

    def __init__(self, concurrency: int, per_host: int, wait_s: float) -> None:
        self._all = asyncio.Semaphore(concurrency)
        self._per_host = per_host
        self._wait_s = wait_s
        self._hosts: dict[str, _HostLimit] = {}

    def __len__(self) -> int:
        """The number of hosts in use. Others are removed, or a large catalogue would fill the memory."""
        return len(self._hosts)

    @asynccontextmanager
    async def acquire(self, host: str) -> AsyncIterator[None]:
        """Raises TimeoutError if no download could start in time. Errors in the body pass through."""
        limit = self._hosts.get(host)
        if limit is None:
            limit = self._hosts[host] = _HostLimit(asyncio.Semaphore(self._per_host))
        limit.users += 1
        acquired: list[asyncio.Semaphore] = []
        try:
            # Without a timer if there is nothing to wait for: timers cost CPU.
            is_busy = limit.semaphore.locked() or self._all.locked()
            async with asyncio.timeout(self._wait_s if is_busy else None):
                for semaphore in (limit.semaphore, self._all):
                    await semaphore.acquire()
                    acquired.append(semaphore)
            yield
        finally:
            for semaphore in acquired:
                semaphore.release()
            limit.users -= 1
            if not limit.users:
                del self._hosts[host]
